"""An evaluation beside an earlier one: whether networks trained again do as well as was written of them."""

from pathlib import Path

from colorlab.evaluation.estimates import Report
from colorlab.evaluation.evaluator import BASELINES
from colorlab.evaluation.report import interval, write_number
from colorlab.metrics import SCALES

SAME = ("fingerprint", "protocol", "split")
"""The facts without which two evaluations cannot be compared."""


def compare(report: Report, written: Report, source: str) -> list[str]:
    """What was found now, against the intervals that were written; for a person, line by line.

    Models are matched by the names of their runs' folders: a run's checkpoint is called after its loss.

    Args:
        report: the findings of now.
        written: those of before, as `report.read_report` reads them.
        source: what to call those.
    """
    if other := [fact for fact in SAME if report.facts[fact] != written.facts[fact]]:
        return [f"not compared with {source}: it has another {' and '.join(other)}"]
    found, before = _by_run(report), _by_run(written)
    if not (both := [run for run in before if run in found]):
        return [f"not compared with {source}: it judged {', '.join(before)}, this one {', '.join(found)}"]
    within, outside = 0, []
    for run in both:
        now, then = report.estimates[found[run]], written.estimates[before[run]]
        for metric, estimate in then.items():
            if metric not in now or estimate.low is None:
                continue
            if estimate.low <= now[metric].value <= estimate.high:
                within += 1
            else:
                digits = SCALES[metric].digits
                outside.append(
                    f"  {run}: {SCALES[metric].title} {write_number(now[metric].value, digits)}, written "
                    f"{write_number(estimate.value, digits)} ({interval(estimate, digits)})"
                )
    missing = [f"  {run}: not judged now" for run in before if run not in found]
    total = within + len(outside)
    return [f"against {source}: {within} of {total} values lie within the written intervals", *outside, *missing]


def _by_run(report: Report) -> dict[str, str]:
    """The models of a report, but for the baselines, by the names of their runs; those of no run by their own."""
    names = {}
    for model in report.estimates.keys() - BASELINES:
        checkpoint = Path(report.facts["checkpoints"][model]["checkpoint"])
        names[checkpoint.parts[-3] if checkpoint.parent.name == "checkpoints" else model] = model
    return dict(sorted(names.items()))

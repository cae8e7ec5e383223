"""An evaluation beside an earlier one: whether networks trained again do as well as was written of them."""

from colorlab.evaluate.estimates import Report
from colorlab.evaluate.evaluator import BASELINES
from colorlab.evaluate.report import interval, write_number
from colorlab.metrics import METRICS

SAME = ("fingerprint", "protocol", "split")
"""The facts without which two evaluations cannot be compared."""


def compare(report: Report, written: Report, source: str) -> list[str]:
    """What was found now, against the intervals that were written; for a person, line by line.

    Args:
        report: the findings of now.
        written: those of before, as `report.read_report` reads them; its models have the same names, as
            run folders in two sweeps have.
        source: what to call those.
    """
    if other := [fact for fact in SAME if report.facts[fact] != written.facts[fact]]:
        return [f"not compared with {source}: it has another {' and another '.join(other)}"]
    within, outside = 0, []
    models = [model for model in written.estimates if model not in BASELINES]
    for model in models:
        now = report.estimates.get(model, {})
        for metric, estimate in written.estimates[model].items():
            if metric not in now or estimate.low is None:
                continue
            if estimate.low <= now[metric].value <= estimate.high:
                within += 1
            else:
                digits = METRICS[metric].digits
                outside.append(
                    f"  {model}: {METRICS[metric].title} {write_number(now[metric].value, digits)}, written "
                    f"{write_number(estimate.value, digits)} ({interval(estimate, digits)})"
                )
    missing = [f"  {model}: not judged now" for model in models if model not in report.estimates]
    total = within + len(outside)
    return [f"against {source}: {within} of {total} values lie within the written intervals", *outside, *missing]

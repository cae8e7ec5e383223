"""Comparison with an earlier evaluation: whether retrained models reach the values that were written of them."""

from colorlab.evaluate.estimates import Report
from colorlab.evaluate.evaluator import BASELINES
from colorlab.evaluate.report import interval, write_number
from colorlab.metrics import METRICS

REQUIRED_EQUAL = ("fingerprint", "protocol", "split")
"""The facts that two comparable evaluations have in common."""


def compare(report: Report, written: Report, source: str) -> list[str]:
    """Compare values with the intervals of an earlier evaluation; return lines for the screen.

    Args:
        report: the new evaluation.
        written: the earlier one, from `read_report`; models are matched by name, such as the run folders of a sweep.
        source: the name of the earlier evaluation in the lines.
    """
    if different := [fact for fact in REQUIRED_EQUAL if report.facts[fact] != written.facts[fact]]:
        return [f"not compared with {source}: it has another {' and another '.join(different)}"]
    within, outside = 0, []
    models = [model for model in written.estimates if model not in BASELINES]
    for model in models:
        now = report.estimates.get(model, {})
        for metric, estimate in written.estimates[model].items():
            if metric not in now or estimate.low is None or estimate.high is None:
                continue
            if estimate.low <= now[metric].value <= estimate.high:
                within += 1
                continue
            digits = METRICS[metric].digits
            outside.append(
                f"  {model}: {METRICS[metric].title} {write_number(now[metric].value, digits)}, written "
                f"{write_number(estimate.value, digits)} ({interval(estimate, digits)})"
            )
    missing = [f"  {model}: not judged now" for model in models if model not in report.estimates]
    total = within + len(outside)
    return [f"against {source}: {within} of {total} values lie within the written intervals", *outside, *missing]

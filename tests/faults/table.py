"""Write the results of `make faults` into a page: `python tests/faults/table.py RECORD docs/reliability.md`."""

import json
import re
import sys
from collections import Counter
from pathlib import Path

BEGIN, END = "<!-- made by make faults -->\n", "<!-- end -->"


def table(record: str) -> str:
    """Return a Markdown table with one row for each fault, in the order in which faults were first recorded.

    Args:
        record: JSON lines with the keys fault, injected and survived, as written by `conftest.Tally`.
    """
    injected, survived = Counter(), Counter()
    for line in record.splitlines():
        row = json.loads(line)
        injected[row["fault"]] += row["injected"]
        survived[row["fault"]] += row["survived"]
    rows = ["| what happened | times | survived | lost |", "|---|--:|--:|--:|"]
    rows += [f"| {fault} | {n:,} | {survived[fault]:,} | {n - survived[fault]:,} |" for fault, n in injected.items()]
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    record, page = map(Path, sys.argv[1:])
    between_marks = re.compile(f"(?<={re.escape(BEGIN)}).*(?={re.escape(END)})", re.DOTALL)
    page.write_text(between_marks.sub(lambda _: table(record.read_text()), page.read_text()))

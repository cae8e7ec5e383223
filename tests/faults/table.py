"""Make the README's table of what `make faults` recorded: python tests/faults/table.py RECORD README"""

import json
import re
import sys
from collections import Counter
from pathlib import Path

BEGIN, END = "<!-- made by make faults -->\n", "<!-- end -->"


def table(record: str) -> str:
    """The lines of a record as a table in Markdown: a row each fault, in the order they were first recorded."""
    injected, survived = Counter(), Counter()
    for line in record.splitlines():
        row = json.loads(line)
        injected[row["fault"]] += row["injected"]
        survived[row["fault"]] += row["survived"]
    rows = ["| what happened | times | survived | lost |", "|---|--:|--:|--:|"]
    rows += [f"| {fault} | {n:,} | {survived[fault]:,} | {n - survived[fault]:,} |" for fault, n in injected.items()]
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    record, readme = map(Path, sys.argv[1:])
    inside = re.compile(f"(?<={re.escape(BEGIN)}).*(?={re.escape(END)})", re.DOTALL)
    readme.write_text(inside.sub(lambda _: table(record.read_text()), readme.read_text()))

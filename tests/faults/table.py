"""Make the README's table of what `make faults` recorded: python tests/faults/table.py RECORD README"""

import json
import re
import sys
from pathlib import Path

BEGIN, END = "<!-- made by make faults -->\n", "<!-- end -->"


def table(record: str) -> str:
    """The lines of a record as a table in Markdown, in the order they were recorded."""
    rows = ["| what happened | times | survived | lost |", "|---|--:|--:|--:|"]
    for line in record.splitlines():
        row = json.loads(line)
        injected, survived = row["injected"], row["survived"]
        rows.append(f"| {row['fault']} | {injected:,} | {survived:,} | {injected - survived:,} |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    record, readme = map(Path, sys.argv[1:])
    inside = re.compile(f"(?<={re.escape(BEGIN)}).*(?={re.escape(END)})", re.DOTALL)
    readme.write_text(inside.sub(lambda _: table(record.read_text()), readme.read_text()))

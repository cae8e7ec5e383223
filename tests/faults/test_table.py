"""The table that the README shows of the fault-injection suite."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("table.py")


def test_the_table_replaces_that_of_the_last_time_and_nothing_else(tmp_path: Path) -> None:
    record, readme = tmp_path / "faults.jsonl", tmp_path / "README.md"
    lines = [("killed", 1000, 999), ("asked to leave", 5, 5), ("killed", 50, 50)]
    lines = [dict(zip(("fault", "injected", "survived"), line, strict=True)) for line in lines]
    record.write_text("".join(json.dumps(line) + "\n" for line in lines))
    readme.write_text("before\n<!-- made by make faults -->\nold\n<!-- end -->\nafter\n")
    subprocess.run([sys.executable, SCRIPT, record, readme], check=True)
    table = "| what happened | times | survived | lost |\n|---|--:|--:|--:|\n| killed | 1,050 | 1,049 | 1 |\n"
    table += "| asked to leave | 5 | 5 | 0 |\n"
    assert readme.read_text() == f"before\n<!-- made by make faults -->\n{table}<!-- end -->\nafter\n"

"""The table of injected faults in docs/reliability.md."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).with_name("table.py")


def test_the_table_is_replaced_and_the_rest_of_the_page_stays(tmp_path: Path) -> None:
    record, page = tmp_path / "faults.jsonl", tmp_path / "page.md"
    lines = [("killed", 1000, 999), ("stopped", 5, 5), ("killed", 50, 50)]
    lines = [dict(zip(("fault", "injected", "survived"), line, strict=True)) for line in lines]
    record.write_text("".join(json.dumps(line) + "\n" for line in lines))
    page.write_text("before\n<!-- made by make faults -->\nold\n<!-- end -->\nafter\n")
    subprocess.run([sys.executable, SCRIPT, record, page], check=True)
    table = "| what happened | times | survived | lost |\n|---|--:|--:|--:|\n| killed | 1,050 | 1,049 | 1 |\n"
    table += "| stopped | 5 | 5 | 0 |\n"
    assert page.read_text() == f"before\n<!-- made by make faults -->\n{table}<!-- end -->\nafter\n"

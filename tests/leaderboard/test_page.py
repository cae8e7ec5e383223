"""Links of the leaderboard's page."""

import json
from pathlib import Path

import pytest

from colorlab.leaderboard.page import links
from colorlab.leaderboard.summary import read_run
from colorlab.runs.folder import RunFolder


@pytest.mark.parametrize(
    ("trackers", "names"),
    [
        ('{"wandb": "https://wandb.example/1", "odd": "http://[x", "evil": "javascript:alert(1)"}', ["wandb", "odd"]),
        (json.dumps(["https://wandb.example"]), []),
        ("{", []),
    ],
)
def test_only_http_addresses_of_trackers_become_links(trackers: str, names: list[str], tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    folder.trackers.write_text(trackers)
    assert [link["text"] for link in links(read_run(folder), tmp_path)] == ["folder", *names]

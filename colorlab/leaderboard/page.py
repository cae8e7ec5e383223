"""The leaderboard as one self-contained HTML file."""

import base64
import contextlib
import io
import json
import math
import os
import shlex
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

from PIL import Image

from colorlab.errors import UserError
from colorlab.files import read_json, relative, write_text
from colorlab.images.contact_sheet import Row, read_sheet
from colorlab.leaderboard.board import NUMBERS, Board, cell
from colorlab.leaderboard.summary import RunSummary

EDGE = 144
"""The long side of an embedded picture, in pixels. 50 runs with ten photographs each make a page of about 3 MB."""

POINTS = 400
"""The number of points of a curve; longer curves are thinned to about as many."""

NOT_CURVES = ("test/", "epoch", "step")
"""Beginnings of the names of logged values that have no course over the epochs."""


def write_page(board: Board, path: Path) -> None:
    """Write the page, atomically."""
    template = Path(__file__).with_name("page.html").read_text(encoding="utf-8")
    # The page's script inserts the names in this JSON as text, so that no name can become markup. It is all ASCII, as
    # names of files and JSON may hold characters that UTF-8 does not have.
    content = json.dumps(content_of(board, path.parent.resolve()), allow_nan=False)
    write_text(path, template.replace('"CONTENT"', content.replace("<", "\\u003c")), shared=True)


def content_of(board: Board, here: Path) -> dict[str, Any]:
    """Return the data that the page's script draws; `here` is the folder that its links are relative to."""
    return {
        "title": board.root.name,
        "written": datetime.now().astimezone().isoformat(timespec="minutes"),
        "notes": board.notes(),
        "keys": board.keys,
        "columns": [
            {"key": key, "title": number.title, "direction": number.direction, "hint": number.hint}
            for key, number in NUMBERS.items()
        ],
        "sort": board.sort,
        "metrics": _metrics(board),
        "runs": [
            {
                "name": board.name(run), "label": label, "status": run.status, "reason": run.reason,
                "settings": [run.setting(key) for key in board.keys],
                "cells": {key: [_finite(number.value(run)), cell(run, key)] for key, number in NUMBERS.items()},
                "best": run.best_epoch, "links": links(run, here),
                "curves": {name: _thin(course) for name, course in run.metrics.items() if _is_curve(name)},
            }
            for run, label in zip(board.runs, board.labels(), strict=True)
        ],
        "sheets": _sheets(board),
    }  # fmt: skip


def _finite(value: float | None) -> float | None:
    """Return a number that JSON can hold; None for NaN and infinity."""
    return value if value is not None and math.isfinite(value) else None


# -- curves ------------------------------------------------------------------------------------------


def _is_curve(name: str) -> bool:
    return not name.startswith(NOT_CURVES) and not name.endswith(("_true", "_gray"))


def _metrics(board: Board) -> list[str]:
    """Return the names of the curves: the monitored values first, then those of each group in turn."""
    groups = ("val", "train", "optim", "speed")
    names = {name for run in board.runs for name in run.metrics if _is_curve(name)}
    monitored = [run.monitor[0] for run in board.runs]

    def place(name: str) -> tuple[bool, int, str]:
        group = name.partition("/")[0]
        return name not in monitored, groups.index(group) if group in groups else len(groups), name

    return sorted(names, key=place)


def _thin(course: dict[int, float]) -> list[list[float]]:
    points = [[epoch, float(f"{value:.5g}")] for epoch, value in course.items() if _finite(value) is not None]
    step = max(1, len(points) // POINTS)
    return points[:-1:step] + points[-1:]


# -- links -------------------------------------------------------------------------------------------


def links(run: RunSummary, here: Path) -> list[dict[str, str]]:
    """Return links to the files of the run's folder that exist, and to the trackers."""
    folder = run.folder
    places: dict[str, Path | None] = {"folder": folder.path}
    with contextlib.suppress(UserError):  # the run has no checkpoint
        places |= {"best checkpoint": folder.checkpoints.best(), "last checkpoint": folder.checkpoints.newest()}
    places |= {"configuration": folder.config, "log": folder.path / "train.log", "curves": folder.curves}
    places |= {"comparison": folder.newest_sheet(), "tensorboard": folder.path / "tensorboard"}
    found = [
        {"text": text, "href": quote(os.fsencode(os.path.relpath(place.resolve(), here)))}
        for text, place in places.items()
        if place is not None and place.exists()
    ]
    return found + _trackers(run)


def _trackers(run: RunSummary) -> list[dict[str, str]]:
    """Return links to the trackers, or the command that uploads what was logged offline."""
    folder = run.folder
    try:
        addresses = {str(name): str(address) for name, address in (read_json(folder.trackers) or {}).items()}
    except (OSError, UserError):
        addresses = {}
    shown = [
        {"text": name, "href": address}
        for name, address in addresses.items()
        if address.startswith(("http://", "https://"))  # other schemes, such as javascript:, could run a script
    ]
    if "wandb" not in addresses and any(folder.path.glob("wandb/offline-run-*")):
        command = f"wandb sync {shlex.quote(relative(folder.path / 'wandb'))}/offline-run-*"
        shown.append({"text": "wandb (offline)", "copy": command})
    return shown


# -- pictures ----------------------------------------------------------------------------------------


def _sheets(board: Board) -> list[dict[str, Any]]:
    """Return the newest validation pictures of all runs, one sheet for each set of photographs that runs share."""
    shared: dict[tuple[str, ...], dict[str, Any]] = {}
    for index, run in enumerate(board.runs):
        path = run.folder.newest_validation_sheet()
        if path is None:
            continue
        try:
            rows = read_sheet(path)
        except Exception:  # a file that is cut off, or whose text says something else than save_sheet's
            continue
        if not rows:
            continue
        names = tuple(name for name, _ in rows)
        sheet = shared.setdefault(names, {"names": names, "true": _column(rows, "true"), "runs": []})
        captions = [row.captions.get("predicted", "") for _, row in rows]
        epoch = path.stem.removeprefix("epoch").lstrip("0") or "0"
        sheet["runs"].append(
            {"run": index, "epoch": epoch, "pictures": _column(rows, "predicted"), "captions": captions}
        )
    return list(shared.values())


def _column(rows: list[tuple[str, Row]], heading: str) -> list[str]:
    return [_embed(row.pictures[heading]) if heading in row.pictures else "" for _, row in rows]


def _embed(picture: Image.Image) -> str:
    small = picture.convert("RGB")
    small.thumbnail((EDGE, EDGE), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    small.save(content, "WEBP", quality=80, method=4)
    return "data:image/webp;base64," + base64.b64encode(content.getvalue()).decode()

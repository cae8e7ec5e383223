"""The layout of the package: which room may import which, and how long files and classes may be.

A room is a package in colorlab/ or a module there; docs/architecture.md lists the rooms and their layers. Imports
inside functions count; imports for type checkers do not.
"""

import ast
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
FILES = sorted(file for file in (ROOT / "colorlab").rglob("*.py") if file != ROOT / "colorlab" / "__init__.py")
"""All but colorlab/__init__.py, which offers functions of other rooms."""

BETWEEN_COMMANDS = {
    ("benchmark", "colorize"): "it measures the command's own code",
    ("benchmark", "train"): "it measures the command's own code",
    ("leaderboard", "train"): "switches of a run, such as model.compile, are not arguments of the model",
    ("export", "evaluate"): "the model card quotes an evaluation's report",
    ("study", "evaluate"): "it shows the pictures that an evaluation compares, with the same statistics",
}
"""Commands that import another command's room, with the reason."""

LONG_FILES: dict[str, str] = {}
LONG_CLASSES = {"colorlab.runs.folder.RunFolder": "16 short methods: to read and to write each file of a run"}
"""What exceeds a limit, with the reason."""


def module_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def room_of(module: str) -> str:
    return module.split(".")[1]


ROOMS = {room_of(module_of(file)) for file in FILES}
COMMANDS = {room for room in ROOMS if (ROOT / "colorlab" / room / "__main__.py").exists()} | {
    "dashboard", "decay", "prior",
}  # fmt: skip


def imported(node: ast.AST) -> Iterator[str]:
    """Yield the modules, or names in modules, that the code imports when it runs."""
    match node:
        case ast.If(test=ast.Name(id="TYPE_CHECKING")):
            return
        case ast.Import():
            yield from (alias.name for alias in node.names)
        case ast.ImportFrom():
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
    for child in ast.iter_child_nodes(node):
        yield from imported(child)


@cache
def imports() -> dict[tuple[str, str], list[str]]:
    """Return the imports between rooms: {(importer, imported): ["file imports name", …]}."""
    found: dict[tuple[str, str], list[str]] = {}
    for file in FILES:
        importer = room_of(module_of(file))
        for name in imported(ast.parse(file.read_text(encoding="utf-8"))):
            if name.startswith("colorlab.") and (room := room_of(name)) in ROOMS - {importer}:
                found.setdefault((importer, room), []).append(f"{file.relative_to(ROOT)} imports {name}")
    return found


def layers() -> dict[str, int]:
    """Return the layer of each room; rooms that the page does not name are commands, in the last layer."""
    lines = re.findall(r"^(\d)\. (.*)$", PAGE, re.MULTILINE)
    named = {room: int(number) for number, line in lines for room in re.findall(r"`(\w+)`", line)}
    return {room: int(lines[-1][0]) for room in COMMANDS} | named


def test_the_page_names_every_room() -> None:
    tree = PAGE.split("```")[1]
    assert [room for room in ROOMS if not re.search(rf"\b{room}(/|\.py)", tree)] == []
    assert layers().keys() == ROOMS


def test_no_room_imports_from_a_later_layer() -> None:
    layer = layers()
    later = [lines for (importer, room), lines in imports().items() if layer[room] > layer[importer]]
    assert later == []


def test_rooms_do_not_import_in_a_circle() -> None:
    left = set(ROOMS)
    while first := {room for room in left if not any((room, other) in imports() for other in left)}:
        left -= first
    assert not left, {pair: lines for pair, lines in imports().items() if set(pair) <= left}


def test_commands_do_not_import_each_other() -> None:
    between = {pair: lines for pair, lines in imports().items() if set(pair) <= COMMANDS}
    assert {pair: lines for pair, lines in between.items() if pair not in BETWEEN_COMMANDS} == {}
    assert BETWEEN_COMMANDS.keys() <= between.keys(), "an exception is no longer needed"


def test_main_modules_are_not_imported() -> None:
    names = {name for file in FILES for name in imported(ast.parse(file.read_text(encoding="utf-8")))}
    assert [name for name in names if name.startswith("colorlab.") and "__main__" in name.split(".")] == []


def test_the_root_has_at_most_12_modules() -> None:
    assert len([file for file in FILES if file.parent == ROOT / "colorlab"]) <= 12


def test_files_have_at_most_350_lines() -> None:
    lines = {str(file.relative_to(ROOT)): len(file.read_text(encoding="utf-8").splitlines()) for file in FILES}
    assert {file for file, count in lines.items() if count > 350} == LONG_FILES.keys()


def test_classes_have_at_most_150_lines_and_15_methods() -> None:
    long = set()
    for file in FILES:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                methods = sum(isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef) for child in node.body)
                if methods > 15 or node.end_lineno - node.lineno >= 150:
                    long.add(f"{module_of(file)}.{node.name}")
    assert long == LONG_CLASSES.keys()

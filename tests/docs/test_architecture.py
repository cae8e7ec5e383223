"""docs/architecture.md describes the code as it is: its layers and its layout."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "colorlab"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
PARTS = {path.stem for path in PACKAGE.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}


def layers() -> dict[str, int]:
    """Return the layer of each part of the package; parts that the list does not name are commands, the last one."""
    lines = re.findall(r"^(\d)\. (.*)$", PAGE, re.MULTILINE)
    named = {name: int(number) for number, line in lines for name in re.findall(r"`(\w+)`", line)}
    return {part: named.get(part, int(lines[-1][0])) for part in PARTS - {"__init__"}}


def imports(file: Path) -> Iterator[str]:
    """Yield the parts of the package that a file imports from, inside its functions too."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("colorlab."):
            yield node.module.split(".")[1]
        elif isinstance(node, ast.ImportFrom) and node.module == "colorlab":
            yield from (alias.name for alias in node.names if alias.name in PARTS)


def test_no_module_imports_from_a_later_layer() -> None:
    layer = layers()
    files = [(file.relative_to(PACKAGE).parts[0].removesuffix(".py"), file) for file in PACKAGE.glob("*/**/*.py")]
    files += [(file.stem, file) for file in PACKAGE.glob("*.py") if file.stem != "__init__"]
    wrong = [
        f"{file.relative_to(ROOT)}: {other}"
        for part, file in files
        for other in imports(file)
        if layer[other] > layer[part]
    ]
    assert not wrong


def test_the_layout_names_every_part() -> None:
    tree = PAGE.split("```")[1]
    assert not [part for part in PARTS - {"__init__"} if not re.search(rf"\b{part}(/|\.py)", tree)]

"""Write docs/reference.md, the list of all configuration keys, from conf/ and the constructors: `make reference`."""

import importlib
import inspect
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin, get_type_hints

import yaml
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from colorlab.config import Filing, conf_folder
from colorlab.config.help import GROUPS
from colorlab.train.experiment import SWITCHES, Settings

PAGE = Path(__file__).with_name("reference.md")

COMMANDS = ("evaluate", "study", "prior", "shards")
"""The other commands that are configured by a file in conf/."""

INTRODUCTION = """\
# Reference of all configuration keys

`make reference` writes this page from `conf/` and from the constructors, and a test fails if it is out of date.
Do not edit it by hand.

Keys are given after a command: `python -m colorlab.train model=cunet model.width=32`. The choices of a group are
the files in `conf/GROUP/`, and the keys of a choice are the constructor arguments of its `_target_`. A default of
`???` means that a value must be given. `python -m colorlab.train --cfg job` prints the whole configuration.
"""

Tree = dict[str, Any]
"""A configuration in plain containers."""


class Argument(NamedTuple):
    """An argument of a constructor."""

    kind: str  # its type, in words
    default: Any
    meaning: str


def reference() -> str:
    """Return the text of the page."""
    with initialize_config_dir(str(conf_folder()), version_base=None):
        sections = [
            INTRODUCTION,
            _settings(),
            *map(_group, list(GROUPS)[:-1]),
            _experiments(),
            *map(_command, COMMANDS),
        ]
    return "\n".join(sections).rstrip() + "\n"


# -- sections ----------------------------------------------------------------------------------------


def _settings() -> str:
    defaults = _read(conf_folder() / "train.yaml")
    tables = _table(_arguments(Settings), defaults), _table(_arguments(Filing), defaults["run"], "run.")
    return f"## Top level\n\n{tables[0]}\n`run` is how the trackers file a run:\n\n{tables[1]}"


def _group(group: str) -> str:
    parts = [f"## {group}\n\n{GROUPS[group]}\n"]
    if group in SWITCHES:
        parts.append(f"Keys of every {group}:\n\n{_table(_arguments(SWITCHES[group]), {}, f'{group}.')}")
    described: dict[Any, Any] = {}
    for choice in _choices(group):
        file = conf_folder() / group / f"{choice}.yaml"
        parts.append("\n".join([f"### {group}={choice}\n", *_head_comment(file), *_choice(group, choice, described)]))
    return "\n".join(parts)


def _choices(group: str) -> list[str]:
    """Return the names of a group's files, those that build on another file last."""
    builds_on = {file.stem: "defaults" in (_read(file) or {}) for file in (conf_folder() / group).glob("*.yaml")}
    return sorted(builds_on, key=lambda name: (builds_on[name], name))


def _choice(group: str, choice: str, described: dict[Any, Any]) -> Iterator[str]:
    """Yield what a choice adds to the choices before it.

    Args:
        described: the nodes and values that are already on the page, by path (and target); this adds to them.
    """
    composed, standard = _composed(f"{group}={choice}"), _composed()
    if group == "sweep":  # it has no target: its keys are described by the comments in conf/sweep
        comments = _comments(conf_folder() / group / f"{choice}.yaml")
        comments |= {f"sweep.{path}": comment for path, comment in comments.items()}
        new = {path: value for path, value in _leaves(composed["sweep"], "sweep") if described.get(path, ...) != value}
        described |= new
        if new:
            yield _table_of_values(new, comments)
    added = dict(_nodes(composed)).keys() - dict(_nodes(standard)).keys()
    for path, node in _nodes(composed):
        if path.split(".")[0] == group or path in added:
            yield from _node(path, node, described)
    on_the_page = tuple(f"{path}." for path in (group, *added))
    values = dict(_leaves(standard))
    settings = {path: value for path, value in _leaves(composed) if values.get(path, ...) != value}
    settings = {path: value for path, value in settings.items() if not path.startswith(on_the_page)}
    if settings:
        yield "Also sets " + ", ".join(f"`{path}={_text(value)}`" for path, value in settings.items()) + ".\n"


def _node(path: str, node: Tree, described: dict[Any, Any]) -> Iterator[str]:
    """Yield a node's target, what it is for, and its keys; of one already described, the values that changed."""
    given = {key: _shown(value) for key, value in node.items() if key != "_target_"}
    before = described.get((path, node["_target_"]))
    described[path, node["_target_"]] = given
    prefix = f"{path}."
    if before is not None:
        changed = {f"{prefix}{key}": value for key, value in given.items() if before.get(key, ...) != value}
        if changed:
            yield f"`{path}`, with other defaults:\n\n{_table_of_values(changed)}"
        return
    target = _target(node["_target_"])
    purpose = f": {_first_line(target)}" if _is_ours(target) else "."
    yield f"`{path}` is `{node['_target_']}`{purpose}\n"
    base = _base(target)
    arguments = _arguments(target) if _own_arguments(target) else {}
    if arguments:
        yield _table(arguments, given, prefix)
    if base is not None:
        if more := {f"{prefix}{key}": value for key, value in given.items() if key not in arguments}:
            yield _table_of_values(more)
        package = base.__module__.split(".")[0]
        library = {"lightning": "Lightning", "torch": "PyTorch"}.get(package, package)
        yield f"All arguments of {library}'s `{base.__name__}` are keys; its documentation describes them.\n"


def _experiments() -> str:
    rows = [f"## experiment\n\n{GROUPS['experiment']}\n"]
    for file in sorted((conf_folder() / "experiment").glob("*.yaml")):
        content = _read(file)
        chosen = [
            f"{name.split('/')[-1]}={value}" for item in content.pop("defaults", []) for name, value in item.items()
        ]
        chosen += [f"{path}={_text(value)}" for path, value in _leaves(content)]
        words = ", ".join(f"`{word.removeprefix('override ')}`" for word in chosen)
        rows.append("\n".join([f"### experiment={file.stem}\n", *_head_comment(file), f"Sets {words}.\n"]))
    return "\n".join(rows)


def _command(command: str) -> str:
    file = conf_folder() / f"{command}.yaml"
    content = _read(file)
    groups = [name for item in content.pop("defaults") if isinstance(item, dict) for name in item if " " not in name]
    content = {key: value for key, value in content.items() if key not in ("hydra", *groups)}
    words = ", ".join(f"`{name}`" for name in groups)
    table = _table_of_values(dict(_leaves(content)), _comments(file))
    return f"## python -m colorlab.{command}\n\nKeys beside those of the groups {words}:\n\n{table}"


# -- configuration -----------------------------------------------------------------------------------


@cache
def _composed(*overrides: str) -> Tree:
    return OmegaConf.to_container(compose("train", overrides=list(overrides)), resolve=False)


def _read(file: Path) -> Tree:
    return yaml.safe_load(file.read_text())


def _shown(value: Any) -> Any:
    """Return a value as a table shows it: a node, which has a table of its own, by the name of its class."""
    return value["_target_"].rpartition(".")[2] if isinstance(value, dict) and "_target_" in value else value


def _nodes(tree: Tree, prefix: str = "") -> Iterator[tuple[str, Tree]]:
    """Yield each node with a `_target_`, with its path."""
    for key, value in tree.items():
        if isinstance(value, dict):
            if "_target_" in value:
                yield f"{prefix}{key}", value
            yield from _nodes(value, f"{prefix}{key}.")


def _leaves(tree: Tree, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield each value, with its path."""
    for key, value in tree.items():
        path = f"{place}.{key}" if place else key
        if isinstance(value, dict) and value:
            yield from _leaves(value, path)
        else:
            yield path, value


def _head_comment(file: Path) -> list[str]:
    """Return the comment at the beginning of a file, as a paragraph, if there is one."""
    lines = []
    for line in file.read_text().splitlines():
        if line.startswith("# @package"):
            continue
        if not line.startswith("#"):
            break
        lines.append(line.removeprefix("#").strip())
    sentences = re.sub(r"([^.:,;])\n(?=[A-Z])", r"\1. ", "\n".join(lines))
    return [sentences.replace("\n", " ") + "\n"] if lines else []


def _comments(file: Path) -> dict[str, str]:
    """Return the comments behind the keys of a file, by the keys' paths."""
    comments, path = {}, []
    for line in file.read_text().splitlines():
        if found := re.match(r"( *)([\w.]+):(?:[^#]*?)(?:\s+#\s*(.*))?$", line):
            indent, key, comment = found.groups()
            path = [*path[: len(indent) // 2], key]
            if comment:
                comments[".".join(path)] = comment
    return comments


# -- constructors ------------------------------------------------------------------------------------


def _target(name: str) -> Callable[..., Any]:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def _is_ours(target: Callable[..., Any]) -> bool:
    return target.__module__.startswith("colorlab.")


def _base(target: Callable[..., Any]) -> Callable[..., Any] | None:
    """Return the class of a library whose arguments a target takes too; None if it takes only its own."""
    if not _is_ours(target):
        return target
    bases = [kind for kind in getattr(target, "__mro__", ()) if "__init__" in vars(kind) and kind is not object]
    parameters = inspect.signature(target).parameters.values()
    if bases and _is_ours(bases[0]) and not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return next((kind for kind in bases if not _is_ours(kind)), None)


def _own_arguments(target: Callable[..., Any]) -> bool:
    """Return whether the constructor or function is ours, and not inherited from a library."""
    made_by = target.__init__ if inspect.isclass(target) else target
    return getattr(made_by, "__module__", "").startswith("colorlab.")


def _arguments(target: Callable[..., Any]) -> dict[str, Argument]:
    """Return the arguments of a constructor or function of ours."""
    parameters = inspect.signature(target).parameters.values()
    hints = get_type_hints(target.__init__ if inspect.isclass(target) else target)
    meanings = _meanings(target)
    return {
        parameter.name: Argument(
            _kind(hints.get(parameter.name, Any)), parameter.default, meanings.get(parameter.name, "")
        )
        for parameter in parameters
        if parameter.kind not in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
    }


def _first_line(target: Callable[..., Any]) -> str:
    return " ".join(inspect.cleandoc(target.__doc__ or "").split("\n\n")[0].split())


def _meanings(target: Callable[..., Any]) -> dict[str, str]:
    """Return what the `Args:` of a docstring says of each argument; "as in …" is looked up in the base classes."""
    meanings: dict[str, str] = {}
    for kind in target.__mro__ if inspect.isclass(target) else [target]:
        section = re.search(r"^Args:\n((?: {4}.*\n?|\n)+)", inspect.cleandoc(kind.__doc__ or ""), re.MULTILINE)
        for entry in re.findall(r"^ {4}(\S.*(?:\n {8}.*)*)", section[1] if section else "", re.MULTILINE):
            names, _, meaning = entry.partition(":")
            for name in names.split(", "):
                if meanings.get(name.strip(), "as ").startswith("as "):
                    meanings[name.strip()] = re.sub(r"\bNone\b", "null", " ".join(meaning.split()))
    return meanings


def _kind(hint: Any) -> str:
    """Return a type as a reader of the page knows it."""
    origin, inside = get_origin(hint), get_args(hint)
    if origin in (Union, UnionType):
        return " or ".join(map(_kind, inside))
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in inside)
    if hasattr(hint, "__metadata__"):  # Annotated, such as pydantic's strict types
        return _kind(inside[0])
    if origin is tuple:
        return f"({', '.join(map(_kind, inside))})"
    if origin is list:
        return f"list of {', '.join(map(_kind, inside))}"
    return {NoneType: "null", Any: ""}.get(hint, getattr(hint, "__name__", str(hint)))


# -- Markdown ----------------------------------------------------------------------------------------


def _table(arguments: dict[str, Argument], given: Tree, prefix: str = "") -> str:
    """Return a table of arguments; values `given` in YAML are the defaults of those that they are of."""
    rows = [
        [f"`{prefix}{name}`", argument.kind, f"`{_text(given.get(name, argument.default))}`", argument.meaning]
        for name, argument in arguments.items()
    ]
    return _markdown(["key", "type", "default", "meaning"], rows)


def _table_of_values(values: Tree, comments: dict[str, str] | None = None) -> str:
    rows = [[f"`{path}`", f"`{_text(value)}`", (comments or {}).get(path, "")] for path, value in values.items()]
    if not comments:
        return _markdown(["key", "default"], [row[:2] for row in rows])
    return _markdown(["key", "default", "meaning"], rows)


def _markdown(header: list[str], rows: list[list[str]]) -> str:
    lines = [header, ["---"] * len(header), *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _text(value: Any) -> str:
    """Return a value as it is typed in a command."""
    if value is inspect.Parameter.empty:
        return "???"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(_text, value))}]"
    if isinstance(value, float):
        return f"{value:.6g}"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return str(value) or '""'


if __name__ == "__main__":
    PAGE.write_text(reference(), encoding="utf-8")
    print(PAGE)

"""Type hints of constructors: what they allow, in words for messages, and the classes in them."""

import inspect
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints


def hints_of(target: Callable[..., Any]) -> dict[str, Any]:
    """Return the type hints of the arguments of a class or function, and of what a function returns."""
    try:
        return get_type_hints(target.__init__ if inspect.isclass(target) else target, include_extras=True)
    except (NameError, TypeError):  # hints that cannot be evaluated outside their own module
        return {}


def classes_in(hint: Any) -> Iterator[type]:
    """Yield the classes in a type hint that are not plain data."""
    if get_origin(hint) in (Union, UnionType, Annotated):
        for inner in get_args(hint):
            yield from classes_in(inner)
    elif inspect.isclass(hint) and not is_plain(hint) and hint not in (Any, object):
        yield hint


def is_plain(hint: Any) -> bool:
    """Return whether an argument takes plain data, which no target makes."""
    if get_origin(hint) is Annotated:
        return is_plain(get_args(hint)[0])
    if get_origin(hint) in (Union, UnionType):
        return all(map(is_plain, get_args(hint)))
    return hint in (int, float, str, bool, NoneType, Path, timedelta) or get_origin(hint) in (Literal, dict, list)


def wanted(hint: Any) -> str:
    words = {
        list[str]: "a list of texts",
        int: "a whole number",
        float: "a number",
        str: "a text",
        bool: "true or false",
        NoneType: "null",
    }
    if get_origin(hint) is Annotated:
        return wanted(get_args(hint)[0])
    if hint in words:
        return words[hint]
    if get_origin(hint) is Literal:
        return "one of " + ", ".join(map(str, get_args(hint)))
    if get_origin(hint) in (Union, UnionType):
        kinds = [kind for kind in get_args(hint) if kind in words or get_origin(kind) is not None]
        return " or ".join(dict.fromkeys(map(wanted, kinds or get_args(hint))))
    return f"of type {hint.__name__ if inspect.isclass(hint) and not get_args(hint) else hint}"

"""Type hints of constructors: what they allow, in words for messages, and the classes in them."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

NOUNS = {
    int: ("a whole number", "whole numbers"),
    float: ("a number", "numbers"),
    str: ("a text", "texts"),
    bool: ("true or false", "truth values"),
    NoneType: ("null", "nulls"),
    Path: ("a path", "paths"),
    timedelta: ("a time", "times"),
}
"""Plain types in words, one and several."""


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
    """Return what a type hint allows, in words for a message: "a list of numbers or null"."""
    if get_origin(hint) is Annotated:
        kind, *limits = get_args(hint)
        return " and ".join([wanted(kind), *(text for limit in limits if (text := _limit(limit)))]).replace(
            " and ", " ", 1
        )
    if get_origin(hint) in (Union, UnionType):
        kinds = get_args(hint)
        if any(is_plain(kind) and kind is not NoneType for kind in kinds):  # an object is not what is typed then
            kinds = tuple(filter(is_plain, kinds))
        choices = [f"one of {', '.join(texts)}"] if (texts := choices_in(hint)) else []
        return " or ".join(
            dict.fromkeys([*choices, *(wanted(kind) for kind in kinds if get_origin(kind) is not Literal)])
        )
    if get_origin(hint) is Literal:
        return f"one of {', '.join(choices_in(hint))}"
    if hint in NOUNS:
        return NOUNS[hint][0]
    container = get_origin(hint) or hint
    if not inspect.isclass(container) or container.__module__ not in ("builtins", "collections.abc"):
        return f"of type {hint.__name__ if inspect.isclass(hint) else hint}"
    if issubclass(container, Mapping):
        return "a dictionary"
    return _list_of(get_args(hint)) if issubclass(container, Iterable) else f"of type {hint}"


def choices_in(hint: Any) -> list[str]:
    """Return the values that the Literals of a type hint allow, as texts."""
    kinds = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    return list(dict.fromkeys(str(value) for kind in kinds if get_origin(kind) is Literal for value in get_args(kind)))


def _limit(limit: Any) -> str:
    """Return the words for a limit in an Annotated hint, such as pydantic's PositiveInt has; "" for anything else."""
    for name, text in (("gt", "above"), ("ge", "of at least"), ("lt", "below"), ("le", "of at most")):
        if (bound := getattr(limit, name, None)) is not None:
            return f"{text} {bound}"
    return ""


def _list_of(kinds: tuple[Any, ...]) -> str:
    """Return the words for a list, or for a tuple with its length."""
    fixed = f"{len(kinds)} " if len(kinds) > 1 and kinds[-1] is not Ellipsis else ""
    nouns = dict.fromkeys(_plural(kind) for kind in kinds if kind is not Ellipsis)
    return f"a list of {fixed}{' or '.join(nouns)}" if nouns else "a list"


def _plural(hint: Any) -> str:
    """Return what the elements of a list are."""
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(dict.fromkeys(map(_plural, get_args(hint))))
    if hint in NOUNS:
        return NOUNS[hint][1]
    container = get_origin(hint) or hint
    if inspect.isclass(container) and issubclass(container, Mapping):
        return "dictionaries"
    return f"{hint.__name__}s" if inspect.isclass(hint) and hint is not Any and not get_args(hint) else "values"

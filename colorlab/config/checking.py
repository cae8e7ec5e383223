"""From configuration to plans of objects: everything is checked before anything is built.

The constructor is the schema: the keys of a node are the argument names of its target, and the values have
the arguments' types. A mistake is answered in one sentence.
"""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from types import UnionType
from typing import Any, Union, get_args, get_origin

from pydantic import ConfigDict, PydanticSchemaGenerationError, TypeAdapter, ValidationError

from colorlab.config.plan import Plan
from colorlab.config.settings import Filing
from colorlab.config.targets import locate
from colorlab.config.type_hints import choices_in, hints_of, is_plain, wanted
from colorlab.errors import UserError, did_you_mean, nearest


def check(
    node: Mapping[str, Any],
    path: str,
    given: tuple[str, ...] = (),
    kind: Any = None,
    switches: Iterable[str] = (),
) -> Plan:
    """Check a node against the signature and the type hints of its target.

    Args:
        node: plain containers with a `_target_`.
        path: the node's place in the configuration, for messages.
        given: arguments that are passed to `build`, and so may not be in the node.
        kind: the type hint of what the node must make; None for any part of an experiment.
        switches: keys of the group that the node does not hold; a misspelled one is suggested.

    Raises:
        UserError: an unknown target or key, a value of the wrong type, a missing argument.
    """
    if not isinstance(node, Mapping) or "_target_" not in node:
        raise UserError(f"{path} has no _target_: choose one of its group's files, {path}=NAME.")
    arguments = {key: value for key, value in node.items() if key != "_target_"}
    target = locate(node["_target_"], f"{path}._target_=", kind)
    return replace(check_arguments(target, arguments, path, given, switches), name=node["_target_"])


def check_arguments(
    target: Callable[..., Any],
    values: Mapping[str, Any],
    path: str = "",
    given: tuple[str, ...] = (),
    switches: Iterable[str] = (),
) -> Plan:
    """Check arguments against the signature and the type hints of their target, as `check` does.

    Raises:
        UserError: an unknown key, a value of the wrong type, a missing argument.
    """
    prefix = f"{path}." if path else ""
    if not isinstance(values, Mapping):
        raise UserError(f"{path}={values} must be keys and their values.")
    parameters = inspect.signature(target).parameters
    hints = hints_of(target)
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values())
    arguments = {}
    for key, value in values.items():
        if (key not in parameters and not open_ended) or key in given:
            raise UserError(f"Unknown key {prefix}{key}: {did_you_mean(key, [*parameters, *switches], prefix)}")
        arguments[key] = _check_value(value, hints.get(key, Any), f"{prefix}{key}")
    for key, parameter in parameters.items():
        variadic = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
        if parameter.default is parameter.empty and not variadic and key not in arguments and key not in given:
            raise UserError(f"{prefix}{key} is missing: add {prefix}{key}=… to the command.")
    return Plan(target, arguments, path)


def _check_value(value: Any, hint: Any, path: str) -> Any:
    """Return the value in the type of its argument, with nested targets as plans."""
    if isinstance(value, Mapping) and "_target_" in value:
        if is_plain(hint):
            raise UserError(f"{path} must be {wanted(hint)}, and not what a _target_ makes.")
        return check(value, path, kind=hint)
    if isinstance(value, Mapping | list) and has_target(value):
        element = _element_hint(type(value), hint, path)
        if isinstance(value, Mapping):
            return {key: _check_value(each, element, f"{path}.{key}") for key, each in value.items()}
        return [_check_value(each, element, f"{path}[{place}]") for place, each in enumerate(value)]
    try:
        typed = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True)).validate_python(value)
    except PydanticSchemaGenerationError:
        return value
    except ValidationError as error:
        near = nearest(str(value), choices_in(hint))
        hinted = f": did you mean {near}?" if near else "."
        raise UserError(f"{path}={value} must be {wanted(hint)}{hinted}") from error
    return value if isinstance(typed, Iterator) else typed  # for an Iterable hint pydantic gives a lazy iterator


def _element_hint(kind: type, hint: Any, path: str) -> Any:
    """Return the type hint of the elements if an argument's hint allows a list or a dict, the `kind`."""
    options = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
    for option in options:
        container = get_origin(option) or option
        if option is Any or (inspect.isclass(container) and issubclass(kind, container)):
            return (get_args(option) or (Any,))[-1]
    raise UserError(f"{path} must be {wanted(hint)}, and not a {kind.__name__} of what _target_s make.")


def has_target(value: Any) -> bool:
    """Return whether plain containers hold a node with a `_target_`, at any depth."""
    if isinstance(value, Mapping):
        return "_target_" in value or any(map(has_target, value.values()))
    return isinstance(value, list | tuple) and any(map(has_target, value))


def check_filing(run: Mapping[str, Any]) -> Filing:
    """Check the group `run` of a configuration.

    Raises:
        UserError: an unknown key, or a value of the wrong type.
    """
    return check_arguments(Filing, run, "run").build()

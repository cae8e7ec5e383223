"""Plan: a checked node of the configuration, from which an object is built."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from types import NoneType
from typing import Any

from colorlab.errors import UserError


@dataclass(frozen=True)
class Plan:
    """A checked node of the configuration: an object that can be built.

    Args:
        target: the class or function to call.
        arguments: its arguments in the types that it wants; nested nodes are plans.
        path: the node's place in the configuration, for messages.
        name: the target as the configuration writes it.
    """

    target: Callable[..., Any]
    arguments: dict[str, Any]
    path: str = ""
    name: str = ""

    def with_arguments(self, **arguments: Any) -> "Plan":
        """Return the plan with these arguments added or replaced."""
        return replace(self, arguments=self.arguments | arguments)

    def with_nested(self, change: Callable[["Plan"], "Plan"]) -> "Plan":
        """Return the plan with `change` applied to it, after the plans in its arguments."""
        arguments = {
            key: _with_plans(value, lambda plan: plan.with_nested(change)) for key, value in self.arguments.items()
        }
        return change(replace(self, arguments=arguments))

    def targets(self) -> list[Callable[..., Any]]:
        """Return the target of the plan, after those of the plans in its arguments."""
        found: list[Callable[..., Any]] = []

        def noted(plan: Plan) -> Plan:
            found.append(plan.target)
            return plan

        self.with_nested(noted)
        return found

    def node(self) -> dict[str, Any]:
        """Return the plan as a node of the configuration, in plain containers."""
        return {"_target_": self.name} | {key: _plain(value) for key, value in self.arguments.items()}

    def build(self, **more: Any) -> Any:
        """Build the object: call the target with its arguments and `more`, nested plans first.

        Raises:
            UserError: a library refuses the values.
        """
        return self._call({key: _build(value) for key, value in self.arguments.items()} | more)

    def _call(self, arguments: dict[str, Any], *first: Any) -> Any:
        try:
            return self.target(*first, **arguments)
        except Exception as error:
            if not _refuses(error, by_us=self.target.__module__.split(".")[0] == "colorlab"):
                raise
            raise UserError(f"{self.path}: {str(error).strip().splitlines()[0]}") from error

    def accepts(self, argument: str) -> bool:
        """Return whether the target has an argument of this name."""
        return argument in inspect.signature(self.target).parameters

    def partial(self) -> Callable[..., Any]:
        """Return the target with its arguments bound but the first, as an optimizer needs the parameters first."""
        return partial(self._call, {key: _build(value) for key, value in self.arguments.items()})


def _refuses(error: Exception, by_us: bool) -> bool:
    """Return whether an exception is a library's refusal of a value; anything else is a defect of ours."""
    from lightning.fabric.utilities.exceptions import MisconfigurationException

    if by_us:
        return isinstance(error, MisconfigurationException)  # raised by a base class of Lightning
    refusals = ValueError | TypeError | RuntimeError | ModuleNotFoundError | MisconfigurationException
    return isinstance(error, refusals) and bool(str(error).strip())


def _build(value: Any) -> Any:
    return _with_plans(value, Plan.build)


def _with_plans(value: Any, change: Callable[[Plan], Any]) -> Any:
    """Return an argument with each plan in it, also one in a list or a dict, replaced by what `change` returns."""
    if isinstance(value, Plan):
        return change(value)
    if type(value) is dict:
        return {key: _with_plans(each, change) for key, each in value.items()}
    return [_with_plans(each, change) for each in value] if type(value) is list else value


def _plain(value: Any) -> Any:
    if isinstance(value, Plan):
        return value.node()
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple | set):
        return [_plain(each) for each in value]
    return value if isinstance(value, str | int | float | bool | NoneType) else str(value)

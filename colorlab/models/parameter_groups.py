"""Which parameters are trained, in which groups, and with which weight decay; what is frozen."""

from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from itertools import chain, count
from typing import TYPE_CHECKING, Any, Self

from torch import nn

from colorlab.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from colorlab.models.network import ColorNetwork

Group = dict[str, Any]
"""A parameter group of an optimizer: `params` and settings of the group. Beside the optimizer's own settings it may
have `name`, `lr_factor` and `weight_decay_factor`, which multiply the learning rate and the weight decay."""

OURS = ("params", "name", "lr_factor", "weight_decay_factor")
"""Keys of a group that every optimizer takes."""


class TrainableModule(nn.Module):
    """A module whose parameters are trained in groups, and parts of which can be frozen."""

    frozen: tuple[nn.Module, ...] = ()
    """Submodules that are not trained."""

    encoder_lr: float = 1.0
    """Learning rate of the submodule `encoder`, if there is one, relative to that of the others; 0 freezes it."""

    def parameter_groups(self) -> list[Group]:
        """Return the groups of parameters that are trained; by default one, or two with an `encoder_lr`.

        A group is {"params": parameters} with, as needed, `lr_factor` and `weight_decay_factor`, which multiply the
        learning rate and the weight decay, a `name` for the logs, and settings of the optimizer. An `lr_factor` of 0
        freezes the group, and the statistics of norms in it too.
        """
        encoder = getattr(self, "encoder", None)
        if encoder is None or self.encoder_lr == 1:
            return [{"params": list(self.parameters())}]
        inside = {id(weight) for weight in encoder.parameters()}
        return [
            {"params": [weight for weight in self.parameters() if id(weight) not in inside]},
            {"params": list(encoder.parameters()), "name": "encoder", "lr_factor": self.encoder_lr},
        ]

    def train(self, mode: bool = True) -> Self:
        """Set training or evaluation mode; frozen submodules stay in evaluation mode."""
        super().train(mode)
        for module in self.frozen:
            module.eval()
        return self


def freeze(model: "ColorNetwork", patterns: Sequence[str]) -> None:
    """Freeze submodules by name: their parameters, the statistics of their norms, and their dropout.

    Args:
        model: the model that is about to be trained.
        patterns: names of submodules, such as "encoder" or "encoder.0", or shell patterns, such as "encoder.*".

    Raises:
        UserError: a pattern matches no submodule, or nothing is left to train.
    """
    modules = {name: module for name, module in model.named_modules() if name}
    for pattern in patterns:
        matched = [module for name, module in modules.items() if fnmatchcase(name, pattern)]
        if not matched:
            hint = did_you_mean(pattern, modules)
            if not hint.startswith("did"):  # the list of all submodules would fill the screen
                hint = f"choose from: {', '.join(name for name, _ in model.named_children())}."
            raise UserError(f"model.freeze={pattern} is no part of {model.title}: {hint}")
        for module in matched:
            _freeze(model, module)
    if patterns and not any(weight.requires_grad for weight in model.parameters()):
        raise UserError(f"model.freeze=[{','.join(patterns)}] leaves nothing of {model.title} to train.")


def freeze_groups(model: "ColorNetwork") -> None:
    """Freeze the parameter groups with an `lr_factor` of 0, and the modules that have no other parameters."""
    frozen = [
        weight for group in _checked_groups(model) if group.get("lr_factor", 1) == 0 for weight in group["params"]
    ]
    for weight in frozen:
        weight.requires_grad_(False)
    for module in _largest_modules_of({id(weight) for weight in frozen}, model):
        _freeze(model, module)


def optimizer_groups(model: "ColorNetwork", decay_norms_and_biases: bool = True) -> list[Group]:
    """Return the parameter groups for an optimizer: those of the model, without what is frozen.

    Args:
        model: the model.
        decay_norms_and_biases: whether biases, parameters of norms, and other parameters of one dimension take part
            in the weight decay. If not, they form groups of their own.

    Raises:
        UserError: a key of a group is unknown, or a parameter that can be trained is in no group.
    """
    groups: list[Group] = []
    exempt = set() if decay_norms_and_biases else set(_norms_and_biases(model))
    for group in _checked_groups(model):
        if group.get("lr_factor", 1) == 0:
            continue
        trained = [weight for weight in group["params"] if weight.requires_grad]
        name = "_".join(filter(None, (group.get("name"), "no_decay")))
        groups.append(group | {"params": [weight for weight in trained if id(weight) not in exempt]})
        without = [weight for weight in trained if id(weight) in exempt]
        groups.append(group | {"params": without, "name": name, "weight_decay_factor": 0.0})
    return [group for group in groups if group["params"]]


def check_settings(groups: Iterable[Group], known: Iterable[str], title: str) -> None:
    """Refuse a setting of a group that is neither ours nor the optimizer's.

    Raises:
        UserError: there is one; torch would ignore it.
    """
    for group in groups:
        for key in group:
            if key not in (*OURS, *known):
                hint = did_you_mean(key, [*OURS, *known])
                raise UserError(f"parameter_groups() of {title} has a group with an unknown {key}: {hint}")


def parameter_names(groups: Iterable[Group], model: nn.Module) -> list[list[str]]:
    """Return the names of the parameters of each group; an empty name for one that is not the model's."""
    names = {id(weight): name for name, weight in model.named_parameters()}
    return [[names.get(id(weight), "") for weight in group["params"]] for group in groups]


def regroup(checkpoint: dict[str, Any], model: nn.Module, groups: Iterable[Group]) -> None:
    """Rearrange the state of a checkpoint's optimizer for other groups, as on a resume with other frozen parts.

    Parameters keep their state by name. New ones begin without, as in a new training.

    Args:
        checkpoint: its state is replaced in place; one of an earlier version had all parameters in one group.
        model: the model that it is loaded into.
        groups: those of the optimizer that will take the state.
    """
    if not checkpoint.get("optimizer_states"):
        return
    state = checkpoint["optimizer_states"][0]
    before: list[list[str]] = checkpoint.get("parameter_groups", [[name for name, _ in model.named_parameters()]])
    now = parameter_names(groups, model)
    if before == now or len(before) != len(state["param_groups"]):
        return
    states = {name: state["state"].get(place) for place, name in enumerate(chain(*before))}
    if any("old_dirs" in each for each in states.values() if each):
        states = {}  # LBFGS's history is about all parameters together
    settings = {key: value for key, value in state["param_groups"][0].items() if key not in OURS}
    places = count()
    checkpoint["optimizer_states"][0] = {
        "state": {place: states[name] for place, name in enumerate(chain(*now)) if states.get(name)},
        "param_groups": [settings | {"params": [next(places) for _ in group]} for group in now],
    }


def _checked_groups(model: "ColorNetwork") -> list[Group]:
    groups = [group | {"params": list(group["params"])} for group in model.parameter_groups()]
    names = [group["name"] for group in groups if "name" in group]
    if len(names) != len(set(names)):
        raise UserError(f"parameter_groups() of {model.title} has groups of the same name: {', '.join(names)}.")
    grouped = {id(weight) for group in groups for weight in group["params"]}
    for name, weight in model.named_parameters():
        if weight.requires_grad and id(weight) not in grouped:
            raise UserError(
                f"parameter_groups() of {model.title} leaves out {name}: a group with lr_factor 0 would freeze it."
            )
    return groups


def _freeze(model: TrainableModule, module: nn.Module) -> None:
    module.requires_grad_(False)
    module.eval()
    model.frozen = (*model.frozen, module)


def _largest_modules_of(weights: set[int], module: nn.Module) -> Iterator[nn.Module]:
    """Yield the modules that have only these parameters, but not the modules inside of those."""
    own = [id(weight) for weight in module.parameters()]
    if own and weights.issuperset(own):
        yield module
    elif own:
        for child in module.children():
            yield from _largest_modules_of(weights, child)


def _norms_and_biases(model: nn.Module) -> Iterator[int]:
    for module in model.modules():
        norm = "norm" in type(module).__name__.lower()
        for name, weight in module.named_parameters(recurse=False):
            if norm or weight.ndim <= 1 or name.endswith("bias"):
                yield id(weight)

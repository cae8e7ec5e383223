"""PretrainedMixin: loads and saves the weights of a network."""

from pathlib import Path
from typing import TYPE_CHECKING, Self, cast

from torch import Tensor

from colorlab.errors import UserError

if TYPE_CHECKING:
    from colorlab.models.network import ColorNetwork


class PretrainedMixin:
    """Loads and saves a `ColorNetwork`, under the names that Hugging Face's libraries use."""

    def load_pretrained_parts(self, weights: Path | None = None) -> None:
        """Load weights that others have trained into parts of the network, such as an encoder.

        Called once, when a training starts without `model.weights`; a checkpoint holds these weights, so it is
        loaded without the package or the file that they came from. The constructor must not load them. The default
        loads nothing.

        Args:
            weights: the file of `model.encoder_weights`; passed only if it is given.

        Raises:
            UserError: the weights are not available, or a file is given and the network has no such part.
        """
        if weights is not None:
            title = cast("ColorNetwork", self).title
            raise UserError(f"model.encoder_weights={weights}: {title} has no part with weights of its own.")

    @classmethod
    def from_pretrained(cls, path: str | Path) -> Self:
        """Load a model of this class from a folder or a file, as `colorlab.load` does; nothing is downloaded.

        Raises:
            UserError: there is no such model at `path`.
        """
        from colorlab.models.weights import load  # it imports this module

        model = load(path)
        if not isinstance(model, cls):
            raise UserError(f"{path} holds a {model.title}, not a {cls.__name__.lower()}.")
        return model

    def save_pretrained(self, folder: str | Path) -> None:
        """Write the model into a folder in Hugging Face's layout: config.json and model.safetensors."""
        from colorlab.models.weights import write_folder  # it imports this module

        write_folder(cast("ColorNetwork", self), Path(folder))

    def published_weights(self, fold_temperature: bool = False) -> dict[str, Tensor]:
        """Return the weights in the layout in which the architecture's authors published theirs.

        Args:
            fold_temperature: divide the logits by the model's temperature, so that a plain softmax decodes them.

        Raises:
            UserError: the architecture has no published weights.
        """
        raise UserError(f"{cast('ColorNetwork', self).title} has no published layout.")

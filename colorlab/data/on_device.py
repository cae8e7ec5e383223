"""OnDeviceDataModule: batches of pictures are augmented and split into L and ab on their device."""

from collections.abc import Mapping, Sequence

from lightning import LightningDataModule, Trainer

from colorlab.data.augmentation import Augmentation, Augmentations
from colorlab.data.batch import Batch, split_lab
from colorlab.data.photographs import Photographs, Pictures, SkippedPhotographs
from colorlab.data.splits import Root, Split
from colorlab.errors import UserError


class OnDeviceDataModule(LightningDataModule):
    """A datamodule whose loaders deliver `Pictures`, which it augments (in training) and splits on the device.

    Args:
        seed: of the augmentation.
        augment: what training pictures go through, one or several in this order; None for nothing.
        size: side of the pictures, in pixels; None if they have sizes of their own.

    Raises:
        UserError: augment cannot be called with such pictures.
    """

    trainer: Trainer
    root: Root
    photographs: Mapping[Split, Photographs]
    skipped: SkippedPhotographs

    def __init__(self, seed: int, augment: Augmentation | Sequence[Augmentation] | None, size: int | None) -> None:
        super().__init__()
        self.seed = seed
        steps = [] if augment is None else augment if isinstance(augment, Sequence) else [augment]
        self.augment = Augmentations(steps, size or 256)

    def on_before_batch_transfer(self, batch: Pictures, dataloader_idx: int) -> Pictures:
        """Keep the photographs' numbers while they are on the CPU: reading them later would wait for the device."""
        self._transferred = batch.index
        return batch

    def on_after_batch_transfer(self, batch: Pictures, dataloader_idx: int) -> Batch:
        """Augment and split a batch on its device, outside autocast, so that Lab stays exact."""
        trainer = self.trainer
        split: Split = "train" if trainer.training else "test" if trainer.testing else "val"
        self.skipped.note(batch, self.photographs[split])
        if trainer.training and not len(batch.index):
            raise UserError(f"data.root={self.root} holds no photograph with color to learn from.")
        rgb = batch.rgb
        if trainer.training:
            rgb = self.augment(rgb, batch.index, self._transferred.tolist(), self.seed, trainer.current_epoch)
        return split_lab(rgb, batch.index % max(1, len(self.photographs[split])))

"""OnDeviceDataModule: batches of pictures are augmented and split into L and ab on their device."""

from collections.abc import Mapping

from lightning import LightningDataModule, Trainer
from torch import Tensor, nn

from colorlab.data.augmentation import Augmentation, AugmentationModule, takes_index
from colorlab.data.batch import Batch, split_lab
from colorlab.data.photographs import Photographs, Pictures, SkippedPhotographs
from colorlab.data.splits import Root, Split
from colorlab.errors import UserError


class OnDeviceDataModule(LightningDataModule):
    """A datamodule whose loaders deliver `Pictures`, which it augments (in training) and splits on the device.

    Args:
        seed: of the augmentation.
        augment: what training pictures go through; None for nothing.
        size: side of the pictures, in pixels; None if they have sizes of their own.

    Raises:
        UserError: augment cannot be called with such pictures.
    """

    trainer: Trainer
    root: Root
    photographs: Mapping[Split, Photographs]
    skipped: SkippedPhotographs

    def __init__(self, seed: int, augment: Augmentation | None, size: int | None) -> None:
        super().__init__()
        self.seed = seed
        self.augment: Augmentation | AugmentationModule | None = augment
        if isinstance(augment, nn.Module) and not takes_index(augment):
            self.augment = AugmentationModule(augment, size or 256)

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
        rgb = self._augmented(batch) if trainer.training else batch.rgb
        return split_lab(rgb, batch.index % max(1, len(self.photographs[split])))

    def _augmented(self, batch: Pictures) -> Tensor:
        epoch = self.trainer.current_epoch
        if self.augment is None:
            return batch.rgb
        if isinstance(self.augment, AugmentationModule):
            return self.augment(batch.rgb, self._transferred.tolist(), self.seed, epoch)
        return self.augment(batch.rgb, batch.index, self.seed, epoch)

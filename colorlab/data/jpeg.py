"""JPEGs that the device decodes: the workers only read them.

nvImageCodec decodes them: by nvJPEG on CUDA, and by libjpeg-turbo on a CPU. Where a card decodes in
hardware (an H100, say), the pixels of baseline JPEGs are those of libjpeg-turbo, give or take a level;
where its kernels do, and of progressive JPEGs, give or take three. torchvision and torchcodec call nvJPEG, too,
but repeat the color of four pixels where libjpeg interpolates it. In 196 photographs of 256 pixels that moves
a and b by 0.4 on the mean, by up to 30, and by more than 5 in 0.8 % of the pixels: another truth to learn from.
"""

import contextlib
import importlib
import io
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from colorlab.color import has_color, rgb_to_lab
from colorlab.data.photographs import Photographs, Pictures, resize
from colorlab.errors import UserError
from colorlab.images.decoding import TURNS, orientation_of_common_jpeg, read_file

NEW, COLORFUL, FOR_WORKERS = range(3)

MOST_BYTES = 2**24
"""Of files decoded at a time: a large batch of large photographs need not lie on the device whole."""


class Jpeg(NamedTuple):
    """A photograph as it lies on the disk."""

    content: Tensor  # [bytes] uint8
    orientation: int  # as EXIF counts it
    index: int  # into Photographs.names


class EncodedBatch(NamedTuple):
    """A batch whose JPEGs are still to be decoded; in few tensors, as each that a worker sends is an open file."""

    content: Tensor  # [bytes] uint8 on the CPU, one JPEG behind the other
    lengths: list[int]
    orientations: list[int]
    index: list[int]
    others: Pictures | None  # what the workers decoded
    places: list[int]  # in the batch: of each JPEG, then of each other picture


class EncodedPhotographs(Photographs):
    """Photographs whose common JPEGs are delivered as files; all others the workers decode.

    A JPEG without color, and one that the device cannot decode, are the workers' from the next time on:
    they fill their place as they do for all. Which these are, a process and its workers share.

    Args:
        root, names, size, fill: as for Photographs.
    """

    def __init__(self, root: Path, names: Iterable[str], size: int | None, fill: bool) -> None:
        super().__init__(root, names, size, fill)
        self.known = torch.full([len(self)], NEW, dtype=torch.uint8).share_memory_()

    def __getitem__(self, index: int) -> Jpeg | Pictures:
        if self.known[index] == FOR_WORKERS:
            return self.decoded(index)
        try:
            content = read_file(self.root / self.name(index))
            orientation = orientation_of_common_jpeg(content)
        except Exception:  # whatever is wrong, with the file or the disk, is met again
            return self.decoded(index)
        if orientation is None:
            self.known[index] = FOR_WORKERS
            return self.decoded(index)
        return Jpeg(torch.frombuffer(bytearray(content), dtype=torch.uint8), orientation, index)

    def decoded(self, index: int) -> Pictures:
        """As the workers deliver it that decode."""
        return super().__getitem__(index)

    @staticmethod
    def collate(samples: list[Jpeg | Pictures]) -> EncodedBatch:
        """Join samples into a batch."""
        jpegs = [sample for sample in samples if isinstance(sample, Jpeg)]
        others = [sample for sample in samples if isinstance(sample, Pictures)]
        places = [place for place, sample in enumerate(samples) if isinstance(sample, Jpeg)]
        places += [place for place, sample in enumerate(samples) if isinstance(sample, Pictures) for _ in sample.index]
        return EncodedBatch(
            torch.cat([torch.empty(0, dtype=torch.uint8), *(jpeg.content for jpeg in jpegs)]),
            [len(jpeg.content) for jpeg in jpegs],
            [jpeg.orientation for jpeg in jpegs],
            [jpeg.index for jpeg in jpegs],
            Photographs.collate(others) if others else None,
            places,
        )


class Decoder:
    """Decodes the JPEGs of batches on a device.

    Raises:
        UserError: nvImageCodec is missing.
    """

    def __init__(self) -> None:
        os.environ.setdefault("PYNVIMGCODEC_VERBOSITY", "0")  # what cannot be decoded is reported by us
        try:
            with _silence():
                self._library = importlib.import_module("nvidia.nvimgcodec")
        except ImportError as error:
            raise UserError(
                "data.decode=device needs nvImageCodec, which there is for Linux and Windows:"
                " pip install 'colorlab[nvjpeg]'."
            ) from error
        self._decoders: dict[torch.device, list[Any]] = {}

    def __call__(self, batch: EncodedBatch, photographs: EncodedPhotographs, device: torch.device) -> Pictures:
        """The pictures of a batch, on the device, in the order in which they were drawn."""
        pictures = self._pictures(batch, photographs, device)
        places = [place for place, each in zip(batch.places, pictures, strict=False) for _ in each.index]
        if batch.others is not None:
            pictures.append(batch.others._replace(rgb=batch.others.rgb.to(device, non_blocking=True)))
            places += batch.places[len(batch.lengths) :]
        joined = Photographs.collate(pictures)
        if places == sorted(places):
            return joined
        order = sorted(range(len(places)), key=places.__getitem__)
        return joined._replace(rgb=joined.rgb[order], index=joined.index[order])

    def _pictures(self, batch: EncodedBatch, photographs: EncodedPhotographs, device: torch.device) -> list[Pictures]:
        """For each JPEG what the workers would have delivered: itself, another in its place, or none."""
        found = {}
        for index, orientation, rgb in zip(
            batch.index, batch.orientations, self.decode(batch.content.split(batch.lengths), device), strict=True
        ):
            if rgb is None:
                photographs.known[index] = FOR_WORKERS
            else:
                found[index] = _resize(_upright(rgb, orientation), photographs.size)
        if photographs.fill:
            _look_for_color(found, photographs.known)
        pictures = []
        for index in batch.index:
            if photographs.known[index] == FOR_WORKERS:
                other = photographs.decoded(index)
                pictures.append(other._replace(rgb=other.rgb.to(device)))
            else:
                pictures.append(Pictures(found[index][None], torch.tensor([index]), []))
        return pictures

    def decode(self, contents: Iterable[Tensor], device: torch.device) -> Iterator[Tensor | None]:
        """JPEGs [bytes] uint8 on the CPU → pictures [3, H, W] uint8 on the device, not turned; None for no picture."""
        part: list[np.ndarray] = []
        for content in contents:
            if part and sum(map(len, part)) + len(content) > MOST_BYTES:
                yield from self._decode(part, device)
                part = []
            part.append(content.numpy())
        if part:
            yield from self._decode(part, device)

    def _decode(self, contents: list[np.ndarray], device: torch.device) -> Iterator[Tensor | None]:
        settings = {"params": self._library.DecodeParams(apply_exif_orientation=False)}
        if device.type == "cuda":
            settings["cuda_stream"] = torch.cuda.current_stream(device).cuda_stream
        images: list[Any] = [None] * len(contents)
        for decoder in self.decoders(device):
            if left := [place for place, image in enumerate(images) if image is None]:
                again = decoder.decode([contents[place] for place in left], **settings)
                for place, image in zip(left, again, strict=True):
                    images[place] = image
        for image in images:
            if image is None:
                yield None
            elif device.type == "cuda":
                yield torch.from_dlpack(image).permute(2, 0, 1)
            else:
                yield torch.from_numpy(np.asarray(image)).permute(2, 0, 1).to(device)

    def decoders(self, device: torch.device) -> list[Any]:
        """The library's decoders for a device, the most exact first; made when they are first asked for.

        Raises:
            UserError: there are none.
        """
        if device not in self._decoders:
            kinds, place = self._library.BackendKind, device.index
            if device.type != "cuda":
                place, chosen = self._library.NVIMGCODEC_DEVICE_CPU_ONLY, [[kinds.CPU_ONLY]]
            else:  # each by itself: given the choice, the library mixes them
                place = self._library.NVIMGCODEC_DEVICE_CURRENT if place is None else place
                chosen = [[kinds.HW_GPU_ONLY], [kinds.HYBRID_CPU_GPU, kinds.GPU_ONLY]]
            made = [self._make(place, backends) for backends in chosen]
            self._decoders[device] = [decoder for decoder in made if decoder is not None]
        if not self._decoders[device]:
            raise UserError(
                f"data.decode=device finds no nvJPEG that decodes on {device}, for want of its package or of a newer"
                " driver: take data.decode=workers."
            )
        return self._decoders[device]

    def _make(self, place: int, kinds: list[Any]) -> Any | None:
        """A decoder; None where it decodes nothing."""
        Image.new("RGB", (256, 256), "teal").save(trial := io.BytesIO(), "jpeg")
        backends = [self._library.Backend(kind) for kind in kinds]
        try:
            with _silence():
                decoder = self._library.Decoder(place, torch.get_num_threads(), backends, ":fancy_upsampling=1")
                return decoder if decoder.decode([trial.getvalue()])[0] is not None else None
        except RuntimeError:
            return None


def _resize(rgb: Tensor, size: int | None) -> Tensor:
    """As `resize`; on a GPU, where the calls cost more than the work, with fewer of them."""
    if size is None or rgb.device.type != "cuda":
        return resize(rgb, size)
    return F.interpolate(rgb[None].float(), (size, size), mode="bilinear", antialias=True)[0].round_().byte()


def _upright(rgb: Tensor, orientation: int) -> Tensor:
    """Turn [3, H, W] as EXIF's orientation says."""
    rows, columns, swapped = TURNS.get(orientation, (False, False, False))
    turned = rgb.flip([1] * rows + [2] * columns) if rows or columns else rgb
    return turned.transpose(1, 2) if swapped else turned


def _look_for_color(found: dict[int, Tensor], known: Tensor) -> None:
    """Note of each new picture whether it has color, by asking the device once."""
    new = [index for index in found if known[index] == NEW]
    if new:
        seen = torch.stack([found[index][:, ::4, ::4] for index in new])
        colorful = has_color(rgb_to_lab(seen)[1]).cpu()
        known[new] = torch.where(colorful, COLORFUL, FOR_WORKERS).to(torch.uint8)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep from the terminal what a library writes there that nobody can turn off: which others it does not find."""
    try:
        kept = os.dup(2)
    except OSError:  # nobody listens
        yield
        return
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)

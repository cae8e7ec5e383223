"""JPEGs that the device decodes: the workers only read them.

nvImageCodec decodes them: by nvJPEG on CUDA, where cards that have a decoder in hardware use it, and by
libjpeg-turbo on a CPU. torchvision and torchcodec call nvJPEG, too, but repeat the color of four
pixels where libjpeg interpolates it. In 196 photographs of 256 pixels that moves a and b by 0.4 on
the mean, by up to 30, and by more than 5 in 0.8 % of the pixels: another truth to learn from.
"""

import contextlib
import importlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from colorlab.color import GRAY_AB, rgb_to_lab
from colorlab.data.decoding import is_plain_jpeg, read_file
from colorlab.data.images import Photographs, Pictures, resize
from colorlab.errors import UserError

UNKNOWN, COLORFUL, FOR_WORKERS = range(3)


class Jpeg(NamedTuple):
    """A photograph as it lies on the disk."""

    content: Tensor  # [bytes] uint8
    index: int  # into Photographs.names


class Files(NamedTuple):
    """A batch whose JPEGs are still to be decoded; in few tensors, as each that a worker sends is an open file."""

    content: Tensor  # [bytes] uint8 on the CPU, one file behind the other
    lengths: list[int]
    index: list[int]
    others: Pictures | None  # what the workers decoded
    places: list[int]  # in the batch: of each JPEG, then of each other picture


class Undecoded(Photographs):
    """Photographs whose plain JPEGs are delivered as files; what else there is, the workers decode.

    A JPEG without color, and one that the device cannot decode, are the workers' from then on: they
    fill their place as they do for all. Which these are, all processes of a run on one GPU share.

    Args:
        root, names, size, fill: as for Photographs.
    """

    def __init__(self, root: Path, names: Iterable[str], size: int | None, fill: bool) -> None:
        super().__init__(root, names, size, fill)
        self.known = torch.full([len(self)], UNKNOWN, dtype=torch.uint8).share_memory_()

    def __getitem__(self, index: int) -> Jpeg | Pictures:
        if self.known[index] != FOR_WORKERS:
            with contextlib.suppress(Exception):  # what is wrong with it, the worker meets again
                content = read_file(self.root / self.name(index))
                if is_plain_jpeg(content):
                    return Jpeg(torch.frombuffer(bytearray(content), dtype=torch.uint8), index)
            self.known[index] = FOR_WORKERS
        return self.decoded(index)

    def decoded(self, index: int) -> Pictures:
        """As the workers deliver it that decode."""
        return super().__getitem__(index)

    @staticmethod
    def collate(samples: list[Jpeg | Pictures]) -> Files:
        """Join samples into a batch."""
        jpegs = [sample for sample in samples if isinstance(sample, Jpeg)]
        others = [sample for sample in samples if isinstance(sample, Pictures)]
        places = [place for place, sample in enumerate(samples) if isinstance(sample, Jpeg)]
        places += [place for place, sample in enumerate(samples) if isinstance(sample, Pictures) for _ in sample.index]
        return Files(
            torch.cat([torch.empty(0, dtype=torch.uint8), *(jpeg.content for jpeg in jpegs)]),
            [len(jpeg.content) for jpeg in jpegs],
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
        try:
            with _silence():
                self._library = importlib.import_module("nvidia.nvimgcodec")
        except ImportError as error:
            raise UserError("data.decode=device needs nvImageCodec: pip install 'colorlab[nvjpeg]'.") from error
        self._decoders: dict[torch.device, Any] = {}

    def __call__(self, files: Files, photographs: Undecoded, device: torch.device) -> Pictures:
        """The pictures of a batch, those of its JPEGs on the device, in the order in which they were drawn."""
        pictures = self._pictures(files, photographs, device)
        places = [place for place, each in zip(files.places, pictures, strict=False) for _ in each.index]
        if files.others is not None:
            pictures.append(files.others._replace(rgb=files.others.rgb.to(device, non_blocking=True)))
            places += files.places[len(files.lengths) :]
        joined = Photographs.collate(pictures)
        order = sorted(range(len(places)), key=places.__getitem__)
        if order == places:
            return joined
        return joined._replace(rgb=joined.rgb[order], index=joined.index[order])

    def _pictures(self, files: Files, photographs: Undecoded, device: torch.device) -> list[Pictures]:
        """One of each JPEG; or none, or another's, where the workers would have it so."""
        contents = files.content.split(files.lengths)
        found = {
            index: resize(rgb, photographs.size)
            for index, rgb in zip(files.index, self.decode(contents, device), strict=True)
            if rgb is not None
        }
        photographs.known[[index for index in files.index if index not in found]] = FOR_WORKERS
        if photographs.fill:
            self._look_for_color(found, photographs.known)
        pictures = []
        for index in files.index:
            if photographs.known[index] == FOR_WORKERS:
                other = photographs.decoded(index)
                pictures.append(other._replace(rgb=other.rgb.to(device)))
            else:
                pictures.append(Pictures(found[index][None], torch.tensor([index]), []))
        return pictures

    def decode(self, contents: Iterable[Tensor], device: torch.device) -> list[Tensor | None]:
        """JPEGs [bytes] uint8 on the CPU → pictures [3, H, W] uint8 on the device, upright; None for what is none."""
        contents = [content.numpy() for content in contents]
        if not contents:
            return []  # of which the library would complain
        on_gpu = device.type == "cuda"
        stream = {"cuda_stream": torch.cuda.current_stream(device).cuda_stream} if on_gpu else {}
        images = self._decoder(device).decode(contents, **stream)
        found = [
            None if image is None else torch.from_dlpack(image) if on_gpu else torch.from_numpy(np.asarray(image))
            for image in images
        ]
        return [image if image is None else image.permute(2, 0, 1).to(device) for image in found]

    def _decoder(self, device: torch.device) -> Any:
        if device not in self._decoders:
            place, backends = device.index, None  # all
            if device.type != "cuda":
                place = self._library.NVIMGCODEC_DEVICE_CPU_ONLY
                backends = [self._library.Backend(self._library.BackendKind.CPU_ONLY)]
            with _silence():
                self._decoders[device] = self._library.Decoder(
                    place, torch.get_num_threads(), backends, ":fancy_upsampling=1"
                )
        return self._decoders[device]

    @staticmethod
    def _look_for_color(found: dict[int, Tensor], known: Tensor) -> None:
        """Note of each new picture whether it has color, by asking the device once."""
        new = [index for index in found if known[index] == UNKNOWN]
        if new:
            seen = torch.stack([found[index][:, ::4, ::4] for index in new])
            colorful = rgb_to_lab(seen)[1].abs().amax(dim=(1, 2, 3)) > GRAY_AB
            known[new] = torch.where(colorful.cpu(), COLORFUL, FOR_WORKERS).to(torch.uint8)


@contextlib.contextmanager
def _silence() -> Iterator[None]:
    """Keep from the terminal what libraries write there that nobody can turn off: which of them are not installed."""
    os.environ.setdefault("PYNVIMGCODEC_VERBOSITY", "0")  # what cannot be decoded is reported by us
    kept = os.dup(2)
    with open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)

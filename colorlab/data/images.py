"""Photographs on disk: find them, split them, and read them into uint8 RGB. All of it on the CPU."""

import hashlib
import io
import os
import re
import warnings
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
import tifffile
import torch
from PIL import ExifTags, Image, ImageCms, ImageOps
from torch import Tensor
from torch.utils.data import Dataset
from torchvision.transforms import v2

from colorlab.color import GRAY_AB, rgb_to_lab
from colorlab.errors import UserError

try:
    import simplejpeg
except ImportError:  # a Python it has no wheel for: Pillow reads the same pixels, more slowly
    simplejpeg = None

SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".tif", ".tiff", ".bmp"}
SAMPLES = Path(__file__).parent / "samples"

Image.init()  # until then Pillow knows the commonest alone
FORMATS = tuple(
    name
    for name in ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "JPEG2000", "PPM", "AVIF", "TGA")
    if name in Image.OPEN  # not each build knows them all
)
"""What is decoded, by content, whatever a file is called. Pillow has more, for which strangers' files are
no place to be tried: EPS is a program, which Ghostscript would run."""

Split = Literal["train", "val", "test"]
Part = Literal["train", "val", "test", "all"]


class Names(Sequence[str]):
    """Names of files, in two arrays: a million strings would be copied into every worker bit by bit."""

    def __init__(self, names: Iterable[str]) -> None:
        encoded = [os.fsencode(name) for name in names]
        self._text = np.frombuffer(b"".join(encoded), dtype=np.uint8)
        self._ends = np.cumsum([0, *map(len, encoded)])

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        start, end = self._ends[range(len(self))[index] :][:2]
        return os.fsdecode(self._text[start:end].tobytes())


# -- find and split --------------------------------------------------------------------------------


def find_photographs(root: Path) -> list[str]:
    """List the picture files under `root`, in an order every machine agrees on.

    Returns:
        Paths relative to `root`, with forward slashes, sorted.

    Raises:
        UserError: `root` does not exist, is no folder, or holds no picture.
    """
    if not root.is_dir():
        raise UserError(f"data.root={root} is {'not a folder' if root.exists() else 'missing'}.")
    found = []
    for folder, subfolders, files in os.walk(root):
        subfolders.sort()
        inside = os.path.relpath(folder, root).replace(os.sep, "/")
        prefix = "" if inside == "." else f"{inside}/"
        found += [prefix + file for file in files if _is_picture(file)]
    if not found:
        raise UserError(f"data.root={root} holds no picture ({' '.join(sorted(SUFFIXES))}).")
    return sorted(found)


def _is_picture(file: str) -> bool:
    return os.path.splitext(file)[1].lower() in SUFFIXES and not file.startswith(".")


def split_photographs(names: list[str], val_fraction: float, test_fraction: float, seed: int) -> dict[Split, list[str]]:
    """Divide photographs into training, validation and test.

    Folders named train, val and test at the top are those splits. What is missing of them is drawn
    from train/ (only val: a test set is never invented beside a given train/), and from all files
    where there is no train/. A file's side depends on its own path and the seed alone, so it is the
    same on every machine and stays when other files are added.

    Returns:
        The names of each split, in the order given.
    """
    top = {name: name.split("/", 1)[0] if "/" in name else "" for name in names}
    if "train" not in top.values():
        draw = {"val": val_fraction, "test": test_fraction}
        return _draw(names, draw, seed)
    splits: dict[Split, list[str]] = {
        split: [name for name in names if top[name] == split] for split in ("train", "val", "test")
    }
    if not splits["val"]:
        drawn = _draw(splits["train"], {"val": val_fraction}, seed)
        splits["train"], splits["val"] = drawn["train"], drawn["val"]
    return splits


def _draw(names: list[str], fractions: dict[str, float], seed: int) -> dict[Split, list[str]]:
    splits: dict[Split, list[str]] = {"train": [], "val": [], "test": []}
    for name in names:
        place = _uniform(f"{seed}:{name}")
        for split, fraction in fractions.items():
            if place < fraction:
                splits[split].append(name)
                break
            place -= fraction
        else:
            splits["train"].append(name)
    return splits


def _uniform(text: str) -> float:
    """A number in [0, 1) that depends on the text alone, on every machine."""
    return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogateescape"), digest_size=8).digest()) / 2**64


def content_fingerprint(root: Path, names: list[str]) -> str:
    """What tells one set of photographs from another, on every machine: their files' contents, in order."""
    digest = hashlib.blake2b(digest_size=12)
    for name in names:
        digest.update(hashlib.blake2b((root / name).read_bytes()).digest())
    return digest.hexdigest()


# -- read --------------------------------------------------------------------------------------------


def read_photograph(path: Path) -> Tensor:
    """Decode a file into what a viewer would show: EXIF-rotated sRGB, alpha over white.

    16-bit files keep their upper 8 bits, pictures with an ICC profile are converted to sRGB. Plain
    JPEGs are decoded by simplejpeg, all else by Pillow: both are libjpeg-turbo and agree bit by bit.
    Builds of it on other processors may differ by a level here and there.

    Returns:
        rgb: [3, H, W] uint8, channels last in memory, where resizing is fastest.

    Raises:
        OSError, ValueError, SyntaxError and the like: the file is no readable picture.
    """
    content = path.read_bytes()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # odd EXIF is not worth a line a picture
            with Image.open(io.BytesIO(content), formats=FORMATS) as picture:
                rgb = _read_plain_jpeg(content, picture)
                if rgb is None:
                    rgb = _to_tensor(_to_rgb(ImageOps.exif_transpose(picture)))
    except Image.UnidentifiedImageError:
        if path.suffix.lower() not in (".tif", ".tiff"):
            raise Image.UnidentifiedImageError("cannot identify image file") from None
        rgb = _to_tensor(_read_deep_tiff(content))  # Pillow reads no 16-bit RGB TIFF
    return rgb


def _to_tensor(rgb: Image.Image | np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1)


FLIPPED = {2: (2,), 3: (1, 2), 4: (1,), 6: (2,), 7: (1, 2), 8: (1,)}
"""The axes of [3, H, W] to flip for an EXIF orientation; from 5 on, H and W are exchanged first."""


def _read_plain_jpeg(content: bytes, picture: Image.Image) -> Tensor | None:
    """Decode a JPEG in sRGB or gray, whose header Pillow has read; None leaves another file to Pillow."""
    plain = picture.format in ("JPEG", "MPO") and picture.mode in ("RGB", "L")
    if simplejpeg is None or not plain or _transform_of(picture) is not None:
        return None
    try:
        rgb = torch.from_numpy(simplejpeg.decode_jpeg(content)).permute(2, 0, 1)
    except ValueError:  # whether what is wrong with it can be overlooked, Pillow decides
        return None
    orientation = picture.getexif().get(ExifTags.Base.Orientation, 1)
    upright = rgb.mT if orientation in (5, 6, 7, 8) else rgb
    return upright.flip(FLIPPED[orientation]) if orientation in FLIPPED else upright


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        if picture.mode == "F":
            raise ValueError("floating-point pictures have no fixed white")
        return Image.fromarray((np.asarray(picture).astype(np.uint32) >> 8).astype(np.uint8)).convert("RGB")
    if picture.mode == "P":
        picture = picture.convert("RGBA" if "transparency" in picture.info else "RGB")
    if picture.mode in ("RGBA", "LA", "PA", "RGBa", "La"):
        rgba = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    transform = _transform_of(picture)
    return picture.convert("RGB") if transform is None else ImageCms.applyTransform(picture, transform)


def _transform_of(picture: Image.Image) -> ImageCms.ImageCmsTransform | None:
    """What makes sRGB of a picture that is in other colors."""
    profile = picture.info.get("icc_profile")
    return _transform_to_srgb(profile, picture.mode) if profile and picture.mode in ("RGB", "CMYK") else None


@lru_cache(maxsize=16)
def _transform_to_srgb(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """The ICC transform to sRGB, or None for sRGB itself and for profiles that cannot be used."""
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower():
            return None
        return ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    except ImageCms.PyCMSError:
        return None


def _read_deep_tiff(content: bytes) -> np.ndarray:
    pixels = tifffile.imread(io.BytesIO(content))
    if pixels.dtype != np.uint16 or pixels.ndim != 3 or pixels.shape[2] not in (3, 4):
        raise ValueError(f"a TIFF of {pixels.dtype} and shape {pixels.shape}")
    return (pixels[..., :3] >> 8).astype(np.uint8)


COLORFUL_SPREAD = 24
"""Where a pixel's largest and smallest channel lie further apart, it has color, whichever channels they are."""


def is_gray(rgb: Tensor) -> bool:
    """Whether a picture [3, H, W] uint8 has no color to learn from; looks at every fourth pixel."""
    seen = rgb[:, ::4, ::4]
    if (seen.amax(dim=0) - seen.amin(dim=0)).max() > COLORFUL_SPREAD:  # as in most pictures
        return False
    _, ab = rgb_to_lab(seen[None])
    return bool(ab.abs().max() <= GRAY_AB)


# -- the dataset -------------------------------------------------------------------------------------


class Skipped(NamedTuple):
    """A photograph that cannot be used."""

    index: int
    reason: str


GRAY = "gray"
"""The reason of a picture that was read, but has no color."""


class Reading(NamedTuple):
    """What came of reading a photograph."""

    rgb: Tensor | None  # [3, H, W] uint8; None where it cannot be read
    reason: str | None  # why it is not learned from: it is gray, or what is wrong with the file
    passing: bool = False  # whether the system failed and not the file: another time it may be read


class Pictures(NamedTuple):
    """What the workers deliver: pictures, which ones they are, and those they had to leave out."""

    rgb: Tensor  # [B, 3, size, size] uint8; without a size [1, 3, H, W]
    index: Tensor  # [B] int64, into Photographs.names
    skipped: list[Skipped]


class Photographs(Dataset):
    """Photographs of one split, read and resized in the workers.

    Args:
        root: the folder.
        names: paths below it.
        size: side of the square that pictures are stretched to, in pixels; None for their own.
        fill: put the next usable picture in the place of an unusable one (broken, or gray), so that
            every training batch is full. Without it, gray pictures stay and broken ones are left out.
    """

    def __init__(self, root: Path, names: Iterable[str], size: int | None, fill: bool) -> None:
        self.root, self.size, self.fill = root, size, fill
        self.names = names if isinstance(names, Names) else Names(names)

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        return self.names[index]

    def __getitem__(self, index: int) -> Pictures:
        skipped = []
        for candidate in range(index, index + (len(self) if self.fill else 1)):
            candidate %= len(self)
            rgb, reason, _ = self.look(candidate, for_color=self.fill)
            if rgb is None or (self.fill and reason is not None):
                skipped.append(Skipped(candidate, reason))
                continue
            return Pictures(rgb[None], torch.tensor([candidate]), skipped)
        return Pictures(
            torch.empty(0, 3, self.size or 1, self.size or 1, dtype=torch.uint8), torch.empty(0).long(), skipped
        )

    def look(self, index: int, for_color: bool) -> Reading:
        """Read the picture at `index`, whatever comes of it, and look for color in it if asked to."""
        try:
            rgb = self.read(index)
        except UserError:  # no fault of the picture's: the place it lies in is lost
            raise
        except Exception as error:  # decoders raise whatever they like; the reason is reported
            return Reading(None, _one_line(error), passing=getattr(error, "errno", None) is not None)
        return Reading(rgb, GRAY if for_color and is_gray(rgb) else None)

    def read(self, index: int) -> Tensor:
        """The picture at `index`: [3, size, size] uint8 RGB, channels last in memory."""
        rgb = read_photograph(self.root / self.name(index))
        if self.size is not None:
            rgb = v2.functional.resize(rgb, [self.size, self.size], antialias=True)
        return rgb[None].contiguous(memory_format=torch.channels_last)[0]


def collate(samples: list[Pictures]) -> Pictures:
    """Join samples into a batch."""
    return Pictures(
        torch.cat([sample.rgb for sample in samples]),
        torch.cat([sample.index for sample in samples]),
        [skipped for sample in samples for skipped in sample.skipped],
    )


def _one_line(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error)).strip() or type(error).__name__

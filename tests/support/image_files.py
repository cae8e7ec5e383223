"""Image files in all variants that occur in practice."""

import io
import struct
from pathlib import Path

import numpy as np
import simplejpeg
from PIL import Image, ImageCms

from colorlab.data.splits import SAMPLES
from colorlab.images.decoding import read_photograph

MACAW = SAMPLES / "explore_world_animals_scarlet_macaw.jpg"


def read_pixels(path: Path) -> np.ndarray:
    """Read an image file as training does: [H, W, 3] uint8."""
    return read_photograph(path).permute(1, 2, 0).numpy()


def jpeg_variants(picture: Image.Image) -> dict[str, bytes]:
    """Encode a part of the picture, with sides that are no multiple of a block's, as each variant of JPEG."""
    picture = picture.crop((0, 0, 251, 243))

    def saved(picture: Image.Image = picture, kind: str = "jpeg", **options) -> bytes:
        stored = io.BytesIO()
        picture.save(stored, kind, **options)
        return stored.getvalue()

    kinds = {
        f"{sampling} {way}": saved(subsampling=sampling, progressive=way == "progressive", quality=quality)
        for sampling in ("4:4:4", "4:2:2", "4:2:0")
        for way, quality in (("baseline", 92), ("progressive", 60))
    }
    for sampling in ("440", "411"):  # Pillow cannot write these
        kinds[sampling] = simplejpeg.encode_jpeg(np.ascontiguousarray(picture), colorsubsampling=sampling)
    for orientation in range(1, 9):
        exif = Image.Exif()
        exif[0x0112] = orientation
        kinds[f"turned {orientation}"] = saved(exif=exif)
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    whole = saved(quality=92)
    small = saved(picture.resize((40, 30)))
    thumbnail = b"\xff\xe1" + (len(small) + 8).to_bytes(2) + b"Exif\0\0" + small
    spoiled = whole[: len(whole) // 3] + whole[len(whole) // 2 :]
    return kinds | {
        "gray": saved(picture.convert("L")), "Adobe RGB components": saved(keep_rgb=True),
        "restart markers": saved(restart_marker_blocks=3), "more after its end": saved() + b"more",
        "two in one": saved(kind="mpo", save_all=True, append_images=[picture.rotate(180)]),
        "with a thumbnail": whole[:2] + thumbnail + whole[2:],
        "with a scan's mark in a comment": saved(comment=b"\xff\xda\xff\xc0"),
        "sRGB profile": saved(icc_profile=srgb), "other profile": saved(icc_profile=swap_primaries(srgb)),
        "CMYK": saved(picture.convert("CMYK")), "spoiled": spoiled,
    }  # fmt: skip


def swap_primaries(profile: bytes) -> bytes:
    """Exchange the red and the blue primary of an ICC profile, and keep its description."""
    body = bytearray(profile)
    tags = struct.unpack(">I", body[128:132])[0]
    entries = {bytes(body[at : at + 4]): at for at in range(132, 132 + 12 * tags, 12)}
    red, blue = entries[b"rXYZ"], entries[b"bXYZ"]
    body[red + 4 : red + 12], body[blue + 4 : blue + 12] = body[blue + 4 : blue + 12], body[red + 4 : red + 12]
    return bytes(body)

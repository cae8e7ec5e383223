"""JPEGs that the device decodes."""

import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from colorlab.data import jpeg
from colorlab.data.jpeg import FOR_WORKERS, Decoder, EncodedBatch, EncodedPhotographs
from colorlab.data.photographs import GRAY, SAMPLES, Photographs, Pictures, find_photographs
from colorlab.errors import UserError
from colorlab.images.decoding import orientation_of_common_jpeg
from support.image_files import MACAW, jpeg_variants

FOR_WORKERS_FROM_THE_START = {"gray", "Adobe RGB components", "more after its end", "CMYK", "other profile"}

CPU = torch.device("cpu")
GPU = pytest.param(
    torch.device("cuda", 0), marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
)


@pytest.fixture(scope="module")
def decoder() -> Decoder:
    pytest.importorskip("nvidia.nvimgcodec", reason="not made for Macs")
    return Decoder()


@pytest.fixture
def kinds(macaw: Image.Image, tmp_path: Path) -> Path:
    """A folder of every kind of JPEG."""
    for kind, content in jpeg_variants(macaw).items():
        (tmp_path / f"{kind}.jpg").write_bytes(content)
    return tmp_path


def of_both(
    decoder: Decoder, root: Path, size: int | None, fill: bool, device: torch.device
) -> Iterator[tuple[Pictures, Pictures]]:
    """Batches as workers decode them, and as the device does."""
    names = find_photographs(root)
    usual, undecoded = Photographs(root, names, size, fill), EncodedPhotographs(root, names, size, fill)
    length = 1 if size is None else 7
    for start in range(0, len(names), length):
        batch = range(start, min(start + length, len(names)))
        files = undecoded.collate([undecoded[index] for index in batch])
        yield usual.collate([usual[index] for index in batch]), decoder(files, undecoded, device)


@pytest.mark.parametrize("device", [CPU, GPU])
@pytest.mark.parametrize("size", [None, 96])
def test_every_kind_of_jpeg_comes_out_as_the_workers_decode_it(
    kinds: Path, decoder: Decoder, size: int | None, device: torch.device
) -> None:
    if device != CPU:
        (kinds / "spoiled.jpg").unlink()  # where its data ends too early, nvJPEG goes on in its own way
    for expected, found in of_both(decoder, kinds, size, fill=False, device=device):
        assert found.rgb.device == device
        assert found.index.tolist() == expected.index.tolist()
        difference = (found.rgb.cpu().float() - expected.rgb.float()).abs()
        assert difference.max() <= (0 if device == CPU else 4)  # nvJPEG's kernels 3, and resizing 1


def test_the_device_is_left_what_all_decoders_read_alike(kinds: Path) -> None:
    lies = {path.stem: orientation_of_common_jpeg(path.read_bytes()) for path in kinds.iterdir()}
    assert {kind for kind, orientation in lies.items() if orientation is None} == FOR_WORKERS_FROM_THE_START
    assert [lies[f"turned {orientation}"] for orientation in range(1, 9)] == list(range(1, 9))
    cut = MACAW.read_bytes()[:-2]
    assert orientation_of_common_jpeg(cut) is None
    assert orientation_of_common_jpeg(cut + b"\xff\xd9" + bytes(20)) == 1


def test_a_damaged_photograph_is_told_as_the_workers_tell_it(tmp_path: Path, decoder: Decoder) -> None:
    """libjpeg-turbo alone would deliver what it could save of it, and gray for the rest."""
    chance = np.random.default_rng(0)
    for place, path in enumerate(sorted(SAMPLES.glob("*.jpg"))[:30]):
        content = bytearray(path.read_bytes())
        length = int(chance.integers(500, 3500))
        start = int(chance.integers(len(content) // 3, len(content) - length - 2))
        content[start : start + length] = chance.bytes(length)
        (tmp_path / f"{place:02}.jpg").write_bytes(content)
    refused = 0
    for expected, found in of_both(decoder, tmp_path, 32, fill=False, device=CPU):
        refused += len(expected.skipped)
        assert found.skipped == expected.skipped
        assert torch.equal(found.rgb, expected.rgb)
    assert refused > 20


def test_however_a_photograph_says_how_it_lies_it_is_turned(
    macaw: Image.Image, tmp_path: Path, decoder: Decoder
) -> None:
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF><rdf:Description tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'
    macaw.save(tmp_path / "xmp.jpg", xmp=xmp)
    tag = b"Exif\0\0MM\0*\0\0\0\x08" + b"\0\x01" + b"\x01\x12\0\x04\0\0\0\x01\0\0\0\x08" + bytes(4)  # as a LONG
    macaw.save(tmp_path / "long.jpg", exif=tag)
    for expected, found in of_both(decoder, tmp_path, None, fill=False, device=CPU):
        assert found.rgb.shape[2:] == macaw.size
        assert torch.equal(found.rgb, expected.rgb)


def test_a_batch_comes_in_the_order_in_which_it_was_drawn(macaw: Image.Image, tmp_path: Path, decoder: Decoder) -> None:
    for kinds in ("pj", "jpjp", "ppj", "pjj"):
        folder = tmp_path / kinds
        folder.mkdir()
        for place, kind in enumerate(kinds):
            macaw.rotate(10 * place).save(folder / f"{place}.{'png' if kind == 'p' else 'jpg'}")
        ((expected, found),) = of_both(decoder, folder, 32, fill=True, device=CPU)
        assert found.index.tolist() == expected.index.tolist() == list(range(len(kinds)))
        assert torch.equal(found.rgb, expected.rgb)


@pytest.fixture
def mixed(macaw: Image.Image, tmp_path: Path) -> Path:
    """Good photographs, and between them what cannot be used, each for another reason."""
    macaw.save(tmp_path / "a.jpg", subsampling="4:2:0")
    without_tables = MACAW.read_bytes().replace(b"\xff\xdb", b"\xff\xfe")  # of quantization
    (tmp_path / "b.jpg").write_bytes(without_tables)
    macaw.convert("L").convert("RGB").save(tmp_path / "c.jpg")
    (tmp_path / "d.jpg").write_bytes(b"torn")
    macaw.rotate(90).save(tmp_path / "e.png")
    macaw.convert("L").save(tmp_path / "f.jpg")
    macaw.rotate(180).save(tmp_path / "g.jpg")
    return tmp_path


@pytest.mark.parametrize("device", [CPU, GPU])
@pytest.mark.parametrize("fill", [True, False])
def test_what_cannot_be_used_is_left_out_or_replaced_as_the_workers_do(
    mixed: Path, decoder: Decoder, fill: bool, device: torch.device
) -> None:
    if device != CPU:
        (mixed / "b.jpg").unlink()  # nvJPEG makes do without tables
    ((expected, found),) = of_both(decoder, mixed, 32, fill, device)
    assert found.index.tolist() == expected.index.tolist()
    assert sorted(found.skipped) == sorted(expected.skipped)
    assert {reason for _, reason in found.skipped} >= ({GRAY} if fill else set())
    difference = (found.rgb.cpu().float() - expected.rgb.float()).abs()
    assert difference.max() <= (0 if device == CPU else 4)


def test_a_file_that_the_device_could_not_use_is_not_sent_there_again(mixed: Path, decoder: Decoder) -> None:
    photographs = EncodedPhotographs(mixed, find_photographs(mixed), size=32, fill=True)
    first = photographs.collate([photographs[index] for index in range(7)])
    assert [photographs.name(index) for index in first.index] == ["a.jpg", "b.jpg", "c.jpg", "g.jpg"]
    decoder(first, photographs, CPU)
    second = photographs.collate([photographs[index] for index in range(7)])
    assert [photographs.name(index) for index in second.index] == ["a.jpg", "g.jpg"]
    assert photographs.known.tolist().count(FOR_WORKERS) == 5


def test_a_batch_without_any_jpeg_is_the_workers(mixed: Path, decoder: Decoder) -> None:
    photographs = EncodedPhotographs(mixed, ["e.png"], size=32, fill=True)
    files = photographs.collate([photographs[0]])
    assert isinstance(files, EncodedBatch)
    assert torch.equal(decoder(files, photographs, CPU).rgb, Photographs(mixed, ["e.png"], 32, fill=True)[0].rgb)


@pytest.mark.parametrize("device", [CPU, GPU])
def test_pictures_stay_when_the_decoder_goes_on(decoder: Decoder, device: torch.device) -> None:
    """They lie in memory of the decoder's library."""
    contents = [torch.from_numpy(np.fromfile(path, np.uint8)) for path in sorted(SAMPLES.glob("*.jpg"))[:12]]
    first = list(decoder.decode(contents, device))
    kept = [rgb.clone() for rgb in first]
    for _ in range(3):
        list(decoder.decode(contents[::-1], device))
    assert all(torch.equal(one, other) for one, other in zip(first, kept, strict=True))


def test_large_files_are_decoded_in_parts(decoder: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    contents = [torch.from_numpy(np.fromfile(path, np.uint8)) for path in sorted(SAMPLES.glob("*.jpg"))[:6]]
    whole, parts, decode = list(decoder.decode(contents, CPU)), [], Decoder._decode
    monkeypatch.setattr(jpeg, "MOST_BYTES", sum(map(len, contents[:2])))
    monkeypatch.setattr(Decoder, "_decode", lambda self, part, device: parts.append(part) or decode(self, part, device))
    for one, other in zip(decoder.decode(contents, CPU), whole, strict=True):
        assert torch.equal(one, other)
    assert len(parts) > 2
    assert sum(map(len, parts)) == 6


def test_without_the_library_a_sentence_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nvidia.nvimgcodec", None)
    with pytest.raises(UserError, match=r"colorlab\[nvjpeg\]"):
        Decoder()

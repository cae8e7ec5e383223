"""Settings of Pillow and of the process while pictures are open."""

import importlib
import subprocess
import sys
import warnings
from pathlib import Path

import pytest
from PIL import Image

from colorlab.images.frames import PictureFile
from colorlab.images.pillow import opened


def test_importing_and_using_the_commands_leaves_pillows_limit() -> None:
    """This process has imported them, and other tests have used them; a new one says what the limit was."""
    for name in ("colorlab.colorize.__main__", "colorlab.colorize.film", "colorlab.demo.server"):
        importlib.import_module(name)
    script = "from PIL import Image; print(Image.MAX_IMAGE_PIXELS)"
    done = subprocess.run([sys.executable, "-c", script], check=True, text=True, capture_output=True)
    assert int(done.stdout) == Image.MAX_IMAGE_PIXELS


def test_the_limit_is_lifted_while_pictures_are_open_and_then_restored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.new("L", (30, 20)).save(path := tmp_path / "x.png")
    filters = list(warnings.filters)
    assert PictureFile.of(path).size == (30, 20)
    assert Image.MAX_IMAGE_PIXELS == 100
    first, second = opened(path, limit=False), opened(path, limit=False)
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)  # as one of several threads that decode at a time
    assert Image.MAX_IMAGE_PIXELS is None
    second.__exit__(None, None, None)
    assert Image.MAX_IMAGE_PIXELS == 100
    assert warnings.filters == filters


def test_the_limit_can_be_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    Image.new("L", (30, 20)).save(path := tmp_path / "x.png")
    with pytest.raises(Image.DecompressionBombError), opened(path, limit=True):
        pass

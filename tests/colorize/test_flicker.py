"""Flicker of colors from frame to frame."""

import numpy as np
import torch
from PIL import Image

from colorlab.colorize.flicker import FlickerFilter
from colorlab.data.splits import SAMPLES


def test_the_filter_reduces_flicker_along_the_motion() -> None:
    """With noise on the colors of a photograph that moves in a known way."""
    rgb = np.asarray(Image.open(SAMPLES / "explore_monuments_france_montstmichel.jpg").convert("L"), dtype=np.float32)
    lightness = torch.from_numpy(rgb.copy())[None, None] * 100 / 255
    generator = torch.Generator().manual_seed(0)
    flicker = {}
    for steady in (0.0, 0.8):
        flicker_filter, before, found = FlickerFilter(steady), None, []
        for number in range(12):
            shown = lightness[..., 2 * number : 2 * number + 128, 4 * number : 4 * number + 160]
            ab = shown.expand(-1, 2, -1, -1) / 2 + 5 * torch.randn(1, 2, 128, 160, generator=generator)
            now = flicker_filter(shown, ab)
            if before is not None:
                found.append((now[..., :-2, :-4] - before[..., 2:, 4:]).square().mean().sqrt())
            before = now
        flicker[steady] = torch.stack(found[4:]).mean()
    assert flicker[0.8] < 0.45 * flicker[0]


def test_the_first_frame_after_a_cut_is_not_mixed() -> None:
    flicker_filter = FlickerFilter(0.8)
    flicker_filter(torch.full((1, 1, 32, 48), 20.0), torch.full((1, 2, 32, 48), 50.0))
    ab = flicker_filter(torch.full((1, 1, 32, 48), 80.0), torch.full((1, 2, 32, 48), -50.0))
    assert (ab + 50).abs().max() < 1e-3

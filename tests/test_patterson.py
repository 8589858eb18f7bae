"""Views of patterns of many decades: where beam, horizon and scale do not matter."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import numpy as np
import torch

from beamsight.patterson import ANGLES, FASTEST, RADII, SLOWEST, spectrum
from beamsight.views import build_view

SIDE = 96


def spots(period: float, shift: tuple[float, float] = (0.0, 0.0), lean: float = 1.0) -> torch.Tensor:
    """Counts of a grid of spots, `period` px apart across and `lean` times as far down."""
    y, x = torch.meshgrid(torch.arange(SIDE) + shift[0], torch.arange(SIDE) + shift[1], indexing="ij")
    waves = torch.cos(2 * torch.pi * x / period) * torch.cos(2 * torch.pi * y / (period * lean))
    return 100 * torch.exp(3 * waves)[None]


def seen(counts: torch.Tensor, channel: int = 2) -> torch.Tensor:
    return build_view("patterson")(counts, torch.ones_like(counts))[0, channel]


def alike(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(np.corrcoef(a.numpy().ravel(), b.numpy().ravel())[0, 1])


def test_the_spectrum_is_fouriers() -> None:
    image = torch.randn(2, 3, SIDE, 64)
    expected = torch.fft.fft2(image, (2 * SIDE, 2 * SIDE)).abs() ** 2
    found = spectrum(image)
    mirrored = expected[..., :SIDE, :].flip(-1).roll(1, -1)
    torch.testing.assert_close(found, (expected[..., :SIDE, :SIDE] + mirrored[..., :SIDE]) / 2, rtol=1e-3, atol=1e-2)


def test_where_a_pattern_lies_does_not_matter() -> None:
    here, there = seen(spots(9.0)), seen(spots(9.0, (3.3, -2.1)))
    assert alike(here, there) > 0.97


def test_another_scale_is_a_shift_along_the_rows() -> None:
    rows = 8
    ratio = (FASTEST / SLOWEST) ** (rows / (RADII - 1))
    coarse, fine = seen(spots(9.0 * ratio)), seen(spots(9.0))
    shifted, unshifted = (alike(coarse[8 : 40 - rows], fine[8 + n : 40 - rows + n]) for n in (rows, 0))
    assert shifted > 0.75
    assert shifted > unshifted + 0.1


def test_a_turned_file_mirrors_the_columns() -> None:
    pattern = spots(8.0, lean=1.6)
    turned = seen(pattern.rot90(1, (1, 2)).contiguous())
    assert alike(turned, seen(pattern).flip(1)) > 0.99
    assert alike(turned, seen(pattern)) < 0.9
    assert seen(pattern).shape == (RADII, ANGLES)


def test_the_unit_of_counts_does_not_matter() -> None:
    assert alike(seen(spots(9.0)), seen(spots(9.0) * 1e-3)) > 0.999

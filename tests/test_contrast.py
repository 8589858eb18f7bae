"""The view for what is small: blind to unit, gain and background, whatever the size of the frame."""

# SPDX-License-Identifier: BSD-3-Clause

from itertools import permutations

import numpy as np
import pytest
import torch
from numpy.random import default_rng

from beamsight.contrast import BLOCK, EXCHANGES, Contrast, _median

CELLS = BLOCK**2


def counted(mean: float, shape: tuple[int, int] = (128, 192), seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(default_rng(seed).poisson(mean, (1, *shape)).astype(np.float32))


def seen(counts: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
    return Contrast()(counts, torch.ones_like(counts) if mask is None else mask)


def test_the_median_is_that_of_nine_neighbours() -> None:
    blocks = torch.randn(2, 1, 7, 5, generator=torch.Generator().manual_seed(0))
    nine = torch.nn.functional.unfold(blocks, 3).reshape(2, 9, 5, 3)
    assert torch.equal(_median(blocks)[:, 0, 1:-1, 1:-1], nine.median(1).values)


def test_nine_values_in_any_order_have_their_median_in_the_middle() -> None:
    # A network of exchanges that is right for zeros and ones is right for all numbers (Knuth, vol. 3, 5.3.4).
    for bits in range(2**9):
        nine = [bits >> k & 1 for k in range(9)]
        for low, high in EXCHANGES:
            nine[low], nine[high] = min(nine[low], nine[high]), max(nine[low], nine[high])
        assert nine[4] == (bits.bit_count() >= 5)


@pytest.mark.parametrize("mean", [0.5, 20.0, 3000.0])
def test_noise_is_of_one_size_whatever_the_light(mean: float) -> None:
    contrast = seen(counted(mean))[:, :CELLS]
    assert 0.6 < contrast.std() < 1.1
    assert abs(float(contrast.mean())) < 0.25


@pytest.mark.parametrize("mean", [0.05, 20.0])
@pytest.mark.parametrize("gain", [0.02, 30.0])
def test_no_gain_changes_what_is_seen(mean: float, gain: float) -> None:
    counts = counted(mean)
    torch.testing.assert_close(seen(gain * counts), seen(counts), rtol=1e-3, atol=2e-3)


def test_a_pedestal_changes_no_contrast() -> None:
    counts = counted(20.0)
    torch.testing.assert_close(seen(counts + 500)[:, :CELLS], seen(counts)[:, :CELLS], rtol=0.02, atol=0.02)


def test_a_spot_stands_out_where_it_lies_and_leaves_its_neighbours_alone() -> None:
    counts = counted(20.0)
    with_spot = counts.clone()
    with_spot[0, 67, 83] += 200
    before, after = seen(counts), seen(with_spot)
    y, x = 67 // BLOCK, 83 // BLOCK
    pixel = (67 % BLOCK) * BLOCK + 83 % BLOCK
    assert after[0, pixel, y, x] > 7
    far = torch.ones(before.shape[2:], dtype=torch.bool)
    far[y - 1 : y + 2, x - 1 : x + 2] = False
    torch.testing.assert_close(after[:, :, far], before[:, :, far])
    # Its neighbours hear of it only through medians of nine blocks.
    assert (after - before)[0, :CELLS].flatten().abs().median() < 0.01


def test_what_is_masked_neither_shows_nor_matters() -> None:
    counts, mask = counted(20.0), torch.ones(1, 128, 192)
    mask[0, 40:90, 60:110] = 0
    struck = torch.where(mask > 0, counts, 1e6)
    assert torch.equal(seen(struck, mask), seen(counts, mask))
    hidden = seen(counts, mask)[:, :CELLS].reshape(1, BLOCK, BLOCK, 16, 24).permute(0, 3, 1, 4, 2).reshape(1, 128, 192)
    assert (hidden[mask == 0] == 0).all()
    assert seen(counts, torch.zeros_like(mask)).isfinite().all()


def test_single_photons_on_an_empty_frame_are_no_spots() -> None:
    sparse = counted(0.003)
    spot = sparse.clone()
    spot[0, 64:66, 64:66] += 20
    assert seen(sparse)[:, :CELLS].max() < 5 < seen(spot)[:, :CELLS].max()


def test_channels_are_the_pixels_of_a_block_row_by_row() -> None:
    counts = counted(20.0)
    for (dy, dx), _ in zip(permutations(range(BLOCK), 2), range(8), strict=False):
        bright = counts.clone()
        bright[0, 8 * BLOCK + dy, 9 * BLOCK + dx] += 1e4
        assert seen(bright)[0, :CELLS, 8, 9].argmax() == dy * BLOCK + dx

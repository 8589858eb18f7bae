"""Gaps that no mask knows: what no chip reads is exactly 0 there, between chips that are never empty.

Assembled images are often saved without their mask. Beside a gap every pixel of a chip stands out of its neighbourhood, and a
model that looks for what stands out sees spots in a row.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Bools = NDArray[np.bool_]

SAMPLED = 7  # every so many pixels tell whether a closer look is worth its time
# Of the pixels: a mask that has so many knows its gaps, an image with fewer zeros has none, one with more is of single counts.
MASKED, EMPTY, SPARSE = 0.05, 0.001, 0.6
GAP, CHIP = 3, 5  # px a side: the narrowest gap, and the least that is taken for a chip
TILE = 64  # px a side of what is judged at a time, with its eight neighbours
CHIPS, SPECKS = 0.1, 0.05  # of the pixels must be chips; for so many of the empty ones, one may be neither gap nor chip
CHANCE = 0.2  # of a chip's pixels may be empty, by chance: more make squares of them


def without_gaps(image: NDArray[np.float32], mask: Bools) -> Bools:
    """The mask [H W], True = trust, without gaps: squares of 3 x 3 px and more of exact zeros, beside chips.

    Zeros are a gap where single counts do not interrupt them: pixels that merely caught no photon are never trusted less. The
    mask itself where it knows of gaps, or there are none. Made for frames of noise or of many photons; sparse ones stay as they
    are.
    """
    some = (slice(None, None, SAMPLED),) * 2
    zeros = float(((image[some] == 0) & mask[some]).mean())
    if not EMPTY <= zeros <= SPARSE or _knows_gaps(mask):
        return mask
    empty = (image == 0) | ~mask
    wide = _opened(empty, GAP)
    zero, gap, chip, every = (_around(part) for part in (empty, wide, _opened(~wide, CHIP), np.ones_like(wide)))
    judged = (chip >= CHIPS * every) & (every - gap - chip <= SPECKS * gap) & (zero - gap <= CHANCE * (every - gap))
    where = np.repeat(np.repeat(judged, TILE, 0), TILE, 1)[: mask.shape[0], : mask.shape[1]]
    return np.asarray(mask & ~(wide & where))


def _knows_gaps(mask: Bools) -> bool:
    """Whether many pixels, or a whole row or column, are not trusted."""
    every_line = bool(mask[:, ::SAMPLED].any(1).all() and mask[::SAMPLED].any(0).all())
    return not every_line or float(mask[::SAMPLED, ::SAMPLED].mean()) < 1 - MASKED


def _opened(flags: Bools, side: int) -> Bools:
    """The flags [H W] that lie in squares of `side` px which are all flagged."""
    wider = np.pad(flags, side - 1)
    return ~_every(~_every(wider, side), side)


def _every(flags: Bools, side: int) -> Bools:
    """[H - side + 1, W - side + 1] whether all flags of the square that begins there are set."""
    for axis in range(2):
        n = flags.shape[axis] - side + 1
        parts = [flags[k : k + n] if axis == 0 else flags[:, k : k + n] for k in range(side)]
        flags = parts[0] & parts[1]
        for part in parts[2:]:
            flags &= part
    return flags


def _around(flags: Bools) -> NDArray[np.int64]:
    """[h w] how many are set in each tile and the eight around it."""
    rows, columns = (-n % TILE for n in flags.shape)
    tiles = np.pad(flags, ((0, rows), (0, columns)))
    counts = tiles.reshape(tiles.shape[0] // TILE, TILE, -1, TILE).sum((1, 3), dtype=np.int64)
    return np.asarray(sliding_window_view(np.pad(counts, 1), (3, 3)).sum((2, 3)))

"""Pixels by their distance from the beam: which ring each lies on, and some of each ring drawn by chance."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from beamsight.errors import BadFrame

Rings = NDArray[np.uint16]
Places = NDArray[np.int64]

# Rings are counted in 16 bits, half the memory of a frame; the last number means none.
MOST = 2**16 - 1


def rings(radius_px: NDArray[Any], min_px: float = 0, max_px: float = 0) -> tuple[Rings, int]:
    """The ring [H W] of every pixel, one pixel wide, the innermost 0, and the number of rings, which stands for none.

    Ring of a pixel at r: rint(r), as far as min_px < r < max_px (0 = no limit) and r is finite.
    Raises BadFrame where there are more than 65,535 rings.
    """
    inside = np.isfinite(radius_px)
    if min_px > 0:
        inside &= radius_px > min_px
    if max_px > 0:
        inside &= radius_px < max_px
    if not inside.any():
        return np.ones(radius_px.shape, np.uint16), 1
    rounded = np.rint(np.where(inside, radius_px, np.nan))
    first, last = int(np.nanmin(rounded)), int(np.nanmax(rounded))
    count = last - first + 1
    if count > MOST:
        raise BadFrame(f"pixels lie between {first} and {last} px from the beam; is the centre right?")
    return np.where(inside, rounded - first, count).astype(np.uint16), count


def draw(ring: Rings, count: int, most: int) -> Places:
    """[count most] places y W + x of pixels of each ring, in random order that is always the same; -1 where there are no more."""
    rng, drawn = np.random.default_rng(0), np.full((count, most), -1)
    order = np.argsort(ring, axis=None, kind="stable")
    ends = np.cumsum(np.bincount(ring.ravel(), minlength=count + 1))[:count]
    for k, members in enumerate(np.split(order[: ends[-1]], ends[:-1])):
        chosen = rng.choice(members, min(most, len(members)), replace=False)
        drawn[k, : len(chosen)] = chosen
    return drawn

"""What a graph is given: frames side by side as counts and masks, in memory that serves one batch after the other."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beamsight.frame import Frame
from beamsight.gaps import without_gaps

Floats = NDArray[np.float32]


@dataclass
class Inputs:
    """Memory for the frames of a batch, whose sides are filled up to whole `tiles` of so many pixels.

    Gaps that the mask of a frame taken in tiles does not know are not trusted. Memory is kept from batch to batch: of 16
    megapixels, the pages of fresh arrays take as long as an answer. Whoever fills it holds its `lock` until the graph is done.
    """

    tile: int = 1
    lock: Lock = field(default_factory=Lock, repr=False, compare=False)
    memory: Floats = field(default_factory=lambda: np.empty(0, np.float32), repr=False, compare=False)

    def shape(self, frame: Frame) -> tuple[int, int]:
        """(H, W) px that the frame takes."""
        height, width = (-(-n // self.tile) * self.tile for n in frame.image.shape)
        return height, width

    def filled(self, frames: Sequence[Frame]) -> dict[str, NDArray[Any]]:
        """counts and mask [N H W] float32 (mask 1 = trust), both 0 where a pixel is not trusted or not finite and beyond the
        frame, and centre [N 2] (y, x) px, NaN where unknown. The frames are of one `shape`; the arrays hold until the next call.
        """
        shape = (len(frames), *self.shape(frames[0]))
        pixels = int(np.prod(shape))
        if len(self.memory) < 2 * pixels:
            self.memory = np.empty(2 * pixels, np.float32)
        counts, mask = (part.reshape(shape) for part in (self.memory[:pixels], self.memory[pixels : 2 * pixels]))
        for n, frame in enumerate(frames):
            _put(frame, without_gaps(frame.image, frame.mask) if self.tile > 1 else frame.mask, counts[n], mask[n])
        centre = np.array([f.geometry.centre_px or (np.nan, np.nan) for f in frames], np.float32)
        return {"counts": counts, "mask": mask, "centre": centre}


def _put(frame: Frame, known: NDArray[np.bool_], counts: Floats, mask: Floats) -> None:
    height, width = frame.image.shape
    for part in (counts, mask):
        part[height:], part[:height, width:] = 0, 0
    # A sum that is a number has no part that is none; to look at every pixel takes memory, too.
    with np.errstate(over="ignore", invalid="ignore"):
        finite = bool(np.isfinite(frame.image.sum(dtype=np.float32)))
    trusted = known if finite else known & np.isfinite(frame.image)
    mask[:height, :width] = trusted
    if finite:
        np.multiply(frame.image, trusted, out=counts[:height, :width])
    else:
        # A product would turn infinities to NaN.
        counts[:height, :width] = np.where(trusted, frame.image, 0)

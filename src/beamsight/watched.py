"""What a watch looks at of a run's whole frames, made without the rest: of four megapixels some 30,000 pixels.

A watch looks at every so many rows and at pairs of columns (`state.state_of`). What lies between them is not made, and Bragg
spots are left out; so a frame costs milliseconds, and its numbers are those of the whole frame without a crystal.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import cached_property, lru_cache

import numpy as np
import torch
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from beamsight.frame import Frame, Geometry
from beamsight.physics.places import Places, places
from beamsight.runs import SHOT, Run, run_of
from beamsight.shots import run_numbered, shot_of
from beamsight.state import LOOKED_AT, state_of
from beamsight.taking import taken_at
from beamsight.task import columns

Pixels = tuple[NDArray[np.float32], NDArray[np.bool_]]


@dataclass(frozen=True)
class Glimpse:
    """The pixels of a run's frames that a watch looks at, as a small image whose every column is followed by its neighbour."""

    run: Run

    @cached_property
    def where(self) -> Places:
        """Of the whole image the rows and pairs of columns that `state_of` takes, [1 h 2 w]."""
        height, width = self.run.layout().shape
        down, right = (max(1, n // LOOKED_AT) for n in (height, width))
        panels = torch.from_numpy(self.run.layout().table(self.run.middle_px))[None]
        first = torch.arange(0, width, right)
        # Where the image ends the last column has no neighbour: another one, which `state` does not trust, keeps the pairs whole.
        pairs = torch.stack([first, (first + 1).clamp(max=width - 1)], 1).flatten()
        rows = [places(panels, torch.tensor([[y, 0]]), torch.tensor([width]), (1, width)) for y in range(0, height, down)]
        kept = {
            f.name: torch.cat([getattr(r, f.name)[..., pairs] for r in rows], 1) for f in fields(Places) if f.name != "panels"
        }
        return Places(**kept, panels=panels)

    def pixels(self, run: Run, frame: int, rng: Generator) -> Pixels:
        """Counts and mask [h 2 w] of the `frame`-th frame of `run`: this one, or one that differs in its numbers alone."""
        shots = columns([shot_of(replace(run, hit_fraction=0.0), frame, rng)])
        seeds = torch.tensor([int(rng.integers(2**31))])
        exposed = taken_at(shots, columns([run.modules]), self.where, seeds)[2]
        return exposed.counts[0].numpy(), exposed.mask[0].numpy()

    def state(self, image: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float64]:
        """[F] what a frame of these pixels is like."""
        if self.where.column[0, 0, -1] == self.where.column[0, 0, -2]:
            mask = mask & (np.arange(mask.shape[1]) < mask.shape[1] - 1)
        return state_of(Frame(image, mask, Geometry((image.shape[0], image.shape[1])), str(self.run.number)))


@lru_cache(maxsize=2)
def _glimpse(seed: int, number: int) -> Glimpse:
    return Glimpse(run_numbered(seed, number))


def state_at(seed: int, index: int) -> NDArray[np.float64]:
    """[F] what the frame of example `index` is like, of its whole detector and without spots."""
    number, frame = run_of(index)
    glimpse = _glimpse(seed, number)
    return glimpse.state(*glimpse.pixels(glimpse.run, frame, default_rng([seed, index, SHOT])))

"""What detectors make of shots, in windows of any size, and what can be seen there. Tensors over columns of shots."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import dataclass

import torch

from beamsight.contrast import BLOCK
from beamsight.modules import ModulesExposed, expose_modules
from beamsight.physics.backgrounds import passed, scattered
from beamsight.physics.columns import Columns, rows_of
from beamsight.physics.places import Places, places
from beamsight.physics.spots import Marks, Seen, add_spots, counted_once, middles, see_spots

NAMES = ("miss", "weak", "hit")
HIT = 10  # visible spots


def window_of(shots: Columns, shape: tuple[int, int]) -> Places:
    """Where the pixels lie of the window (H, W) that each of `columns(shots)` is asked for; what is beside the detector has no
    panel."""
    first = [
        (share * (size - side + 1).clamp(min=1)).floor()[:, 0]
        for share, size, side in ((shots.window_y, shots.height, shape[0]), (shots.window_x, shots.width, shape[1]))
    ]
    return places(shots.panels, torch.cat(first, 1), shots.width[:, 0, 0], shape)


@dataclass(frozen=True)
class Taken:
    """Windows of shots: `where` their pixels lie, the share of light `passed` [B H W] by stop, shadows and exposure, mean
    `photons` per ordinary pixel [B H W], what detectors make of them, `exposed`, and what can be `seen` there of each spot."""

    where: Places
    passed: torch.Tensor
    photons: torch.Tensor
    exposed: ModulesExposed
    seen: Seen

    @property
    def counts(self) -> torch.Tensor:
        """[B H W] what a file would hold."""
        return self.exposed.counts

    @property
    def mask(self) -> torch.Tensor:
        """[B H W] True = trust."""
        return self.exposed.mask


def render(shots: Columns, shape: tuple[int, int]) -> torch.Tensor:
    """Mean photons per ordinary pixel [B H W] of a window of `columns(shots)`: background and spots, dimmed by stop and shadows;
    0 between panels."""
    return lit(shots, window_of(shots, shape))[0]


def lit(shots: Columns, where: Places) -> tuple[torch.Tensor, torch.Tensor]:
    """`render` of windows whose places are known, and the share of light [B H W] that stop and shadows let through."""
    if where.y.device.type != "cpu" or len(where.y) == 1:
        return _lit(shots, where)
    # Frame by frame on a processor: what few frames have is made for them alone.
    alone = [slice(n, n + 1) for n in range(len(where.y))]
    photons, share = zip(*(_lit(rows_of(shots, n), rows_of(where, n)) for n in alone), strict=True)
    return torch.cat(photons), torch.cat(share)


def _lit(s: Columns, where: Places) -> tuple[torch.Tensor, torch.Tensor]:
    image, share = scattered(s, where.y, where.x), passed(s, where.y, where.x)
    add_spots(image, _marks(s), where)
    return image.mul_(share).mul_(where.panel > 0), share


def take(shots: Columns, modules: Columns, shape: tuple[int, int], seeds: torch.Tensor) -> Taken:
    """The window of each of `columns(shots)` as detectors with `columns(...)` of Modules give it; photon noise is a function of
    `seeds` [B], the detector's faults of its run."""
    where = window_of(shots, shape)
    photons, share, exposed = taken_at(shots, modules, where, seeds)
    return Taken(where, share, photons, exposed, _seen(shots, where, share, exposed))


def taken_at(
    shots: Columns, modules: Columns, where: Places, seeds: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, ModulesExposed]:
    """Mean photons and the share of light let through [B H W] of pixels wherever they lie, and what detectors make of them."""
    photons, share = lit(shots, where)
    photons, share = photons * modules.exposure + modules.background_ph, share * modules.exposure
    return photons, share, expose_modules(photons, modules, where, seeds, shots.run[:, 0, 0])


def _seen(s: Columns, where: Places, share: torch.Tensor, e: ModulesExposed) -> Seen:
    return see_spots(_marks(s), where, share * where.area, e.photons, e.variance, e.limit, e.usable)


def _marks(s: Columns) -> Marks:
    return Marks(s.spot_y, s.spot_x, s.spot_ph, s.spot_along, s.spot_across)


def visible_spots(shots: Columns, taken: Taken) -> torch.Tensor:
    """[B] how many spots are visible in the window, those that look like one counted once."""
    return counted_once(taken.seen.visible, shots.spot_near)


def cells(shots: Columns, taken: Taken, side: int = BLOCK) -> torch.Tensor:
    """[B H/side W/side] which squares of `side` px hold the middle of a visible spot: 1, 0, and NaN where one is doubtful."""
    frames, height, width = taken.where.y.shape
    marked = torch.zeros(frames, height // side + 1, width // side + 1)
    for which, mark in ((taken.seen.may, torch.nan), (taken.seen.visible, 1.0)):
        frame, row, column = middles(_marks(shots), which, taken.where)
        marked[frame, row // side, column // side] = mark
    return marked[:, : height // side, : width // side]


def verdict(visible: torch.Tensor) -> torch.Tensor:
    """[B] the number in NAMES: 0 a miss without a visible spot, 2 a hit with ten or more, 1 between."""
    return (visible > 0).int() + (visible >= HIT).int()

"""A frame's trusted light on a coarse polar grid about the beam: all that most labels need to know."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import dataclass

import torch

from beamsight.detector import Exposed
from beamsight.tasks.scattering_tags import parts
from beamsight.tasks.scattering_tags.parts import Films
from beamsight.tasks.scattering_tags.render import lengths

RADII, SECTORS = 512, 72


@dataclass(frozen=True)
class Polar:
    """`radius`, `q` [B R]; `chi` [A] rad; `weight` [B R A] the sum of area / (mu + s^2) over usable pixels; `pixels` [B R
    A] their
    number; `mean` [B R A] their photons. `along` weight [B R] and `level` mean [B R] over the azimuth. `step_px` width of
    a ring; `spread_q` [B] of the detector, in q."""

    radius: torch.Tensor
    q: torch.Tensor
    chi: torch.Tensor
    weight: torch.Tensor
    pixels: torch.Tensor
    mean: torch.Tensor
    along: torch.Tensor
    level: torch.Tensor
    step_px: torch.Tensor
    spread_q: torch.Tensor


def polar(films: Films, exposed: Exposed) -> Polar:
    """Bin the usable pixels of each frame into RADII rings, from the nearest pixel to the furthest, and SECTORS sectors."""
    shape = (exposed.counts.shape[1], exposed.counts.shape[2])
    y, x = lengths(films, shape)
    radius = torch.sqrt(y * y + x * x)
    near, far = radius.amin((1, 2), keepdim=True), radius.amax((1, 2), keepdim=True)
    ring = ((radius - near) * ((RADII - 0.001) / (far - near))).to(torch.int32)
    sector = ((torch.atan2(y, x) * (SECTORS / (2 * torch.pi))).round_().to(torch.int32)).remainder_(SECTORS)
    frame = torch.arange(len(ring), dtype=torch.int32)[:, None, None] * (RADII * SECTORS)
    cell = ring.mul_(SECTORS).add_(sector).add_(frame).flatten()
    usable = exposed.usable.expand_as(exposed.photons)
    weight, pixels, light = (_binned(cell, v * usable, len(frame)) for v in _measures(exposed))
    centre = parts.flat(near) + (torch.arange(RADII) + 0.5) * parts.flat(far - near) / RADII
    along = weight.sum(2)
    level = light.sum(2) / pixels.sum(2).clamp(min=1)
    chi = torch.arange(SECTORS) * (2 * torch.pi / SECTORS)
    step_px = parts.flat(far - near)[:, 0] / RADII * max(shape)
    q = parts.q_at(films, centre)
    spread_q = exposed.spread_px[:, 0, 0] / step_px * (q[:, -1] - q[:, 0]) / (RADII - 1)
    return Polar(centre, q, chi, weight, pixels, light / pixels.clamp(min=1), along, level, step_px, spread_q)


def _measures(exposed: Exposed) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    weight = exposed.area / (exposed.photons + exposed.variance + 1e-6)
    return weight, torch.ones_like(exposed.photons), exposed.photons


def _binned(cell: torch.Tensor, values: torch.Tensor, frames: int) -> torch.Tensor:
    return torch.zeros(frames * RADII * SECTORS).index_add_(0, cell, values.flatten()).reshape(frames, RADII, SECTORS)

"""From drawn patterns to what a file holds: light, detector, quarter turns, 8-bit pictures; and what can be told of it."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import replace

import torch
from torch.nn.functional import avg_pool2d, one_hot, pad

from beamsight.detector import Exposed, offsets
from beamsight.physics import gisaxs
from beamsight.physics.columns import Columns, any_of, chosen
from beamsight.physics.crystals import NAMES
from beamsight.physics.visibility import CONTRAST
from beamsight.tasks.gisaxs_lattice.scene import RINGS, SPOTS

ANSWERS = (*NAMES, "none")
# Light of the lattice that tells anything: photons a pixel of the frame, and as a share of what lies evenly over it.
DIM_PH, DIM_SHARE = 0.5, 0.25
AROUND, MOST, SEEN = 9, 25.0, 600.0  # px; of one pixel, so that none counts for many; what tells a lattice


def render(patterns: Columns, shape: tuple[int, int]) -> torch.Tensor:
    """[B H W] mean photons of `columns(patterns)`, turned as their files are."""
    turns = patterns.turns[:, 0, 0]
    light = torch.zeros(len(turns), *shape)
    for turn in range(4):
        if (some := chosen(patterns, turns == turn)) is not None:
            rows, these = some
            light[rows] = torch.rot90(_made(these, shape[:: 1 if turn % 2 == 0 else -1]), turn, (1, 2))  # type: ignore[arg-type]
    return light


def _made(s: Columns, shape: tuple[int, int]) -> torch.Tensor:
    light = gisaxs.render(s, shape)
    if (some := chosen(s, _some_others(s))) is not None:
        rows, these = some
        light[rows] += _others(these, shape)
    return light


def _some_others(s: Columns) -> torch.Tensor:
    return s.ring_ph.sum(1) + s.spot_ph.sum(1) + s.diffuse_ph[:, 0, 0] > 0


def _others(s: Columns, shape: tuple[int, int]) -> torch.Tensor:
    """Rings, spots and diffuse light about the direct beam."""
    pixel = s.side_rad / shape[0]
    up = (s.beam_y * shape[0] - 0.5 - torch.arange(shape[0])[:, None]) * pixel
    across = (torch.arange(shape[1]) - s.beam_x * shape[1] + 0.5) * pixel
    radius = torch.hypot(up, across)
    light = s.diffuse_ph * (1 + (radius / s.diffuse_rad) ** 2) ** (-s.diffuse_power / 2)
    wave = torch.exp(s.ring_turned * (torch.cos(s.ring_fold * (torch.atan2(up, across) - s.ring_angle)) - 1))
    for n in range(RINGS):
        where, peak, wide = (v[:, n, None, None] for v in (s.ring_rad, s.ring_ph, s.ring_wide))
        light = light + peak * wave * torch.exp(-0.5 * ((radius - where) / (wide * where)) ** 2)
    for n in range(SPOTS):
        y, x, peak = (v[:, n, None, None] for v in (s.spot_up, s.spot_across, s.spot_ph))
        light = light + peak * torch.exp(-0.5 * ((up - y) ** 2 + (across - x) ** 2) / s.spot_rad**2)
    return light * ((s.grazing == 0) | (up > torch.tan(s.incidence_rad)))


def written(patterns: Columns, exposed: Exposed) -> Exposed:
    """What reaches the file: frames that are not square end early, and some become 8-bit pictures of their logarithm."""
    shape = (exposed.counts.shape[1], exposed.counts.shape[2])
    y, x = (torch.arange(n, dtype=torch.float32) for n in shape)
    inside = (y[:, None] < patterns.cover_y * shape[0]) & (x < patterns.cover_x * shape[1])
    mask = exposed.mask & inside
    exposed = replace(exposed, counts=exposed.counts * mask, mask=mask, usable=exposed.usable & inside)
    return replace(exposed, **_pictures(exposed, patterns, inside)) if any_of(patterns.decades > 0) else exposed


def _pictures(exposed: Exposed, patterns: Columns, inside: torch.Tensor) -> dict[str, torch.Tensor]:
    """Counts as 8-bit logarithms over so many decades below the highest, in a file that knows no mask; what is darker is black,
    and tells nothing."""
    picture = patterns.decades > 0
    counts = exposed.counts.clamp(min=0)
    top = counts.flatten(1).amax(1)[:, None, None].clamp(min=1e-12)
    share = (torch.log10(counts.clamp(min=1e-30) / top) / patterns.decades.clamp(min=0.1) + 1).clamp(min=0)
    read, came = ((v * exposed.usable).sum((1, 2), keepdim=True) for v in (counts, exposed.photons))
    unit = read / came.clamp(min=1e-12)
    bright = exposed.photons * unit > top * 10**-patterns.decades
    counts = torch.where(picture, (255 * share).round() * inside, exposed.counts)
    mask = torch.where(picture, inside, exposed.mask)
    return {"counts": counts, "mask": mask, "usable": exposed.usable & (bright | ~picture)}


def label(patterns: Columns, exposed: Exposed) -> torch.Tensor:
    """[B 8]: the lattice or none, shared evenly among lattices that show the same; doubtful where hardly any of its light is
    there to be seen."""
    truth = patterns.truth[:, 0, 0].long()
    named = one_hot(truth, len(ANSWERS)).float()
    named = named.maximum(pad(patterns.alike, (0, 1)))
    light = patterns.lattice_ph[:, 0, 0]
    even = patterns.flat_ph[:, 0, 0] + exposed.background[:, 0, 0]
    dim = (light * exposed.exposure[:, 0, 0] < DIM_PH) | (light < DIM_SHARE * even)
    dim |= standing_out(patterns, exposed) < SEEN
    dim &= truth < len(NAMES)
    return torch.where(dim[:, None], torch.nan, named / named.sum(1, keepdim=True))


def standing_out(patterns: Columns, exposed: Exposed) -> torch.Tensor:
    """[B] sum over pixels of (c^2 / variance, at most MOST): c how far the light stands out of that over AROUND px, where that is
    5 % or more, away from the specular and the direct beam. An ideal observer's d'^2 of whatever is no smooth background."""
    light, shape = exposed.photons, (exposed.photons.shape[1], exposed.photons.shape[2])
    usable = exposed.usable.expand(light.shape).float()
    share = avg_pool2d(usable[:, None], AROUND, 1, AROUND // 2)[:, 0].clamp(min=1e-6)
    near = avg_pool2d((light * usable)[:, None], AROUND, 1, AROUND // 2)[:, 0] / share
    each = ((light - near) ** 2 * exposed.area / (light + exposed.variance + 1e-9)).clamp(max=MOST)
    each = each * ((light - near).abs() >= CONTRAST * light)
    return (each * usable * _off_beams(patterns, exposed.centres, shape)).sum((1, 2))


def _off_beams(s: Columns, centre: torch.Tensor, shape: tuple[int, int]) -> torch.Tensor:
    turn = s.turns[:, 0, 0] % 4
    pixel = s.side_rad[:, 0, 0] / torch.where(turn % 2 == 0, shape[0], shape[1])
    away = 2 * torch.tan(s.incidence_rad[:, 0, 0]) / pixel
    up = torch.tensor([(-1.0, 0.0), (0.0, -1.0), (1.0, 0.0), (0.0, 1.0)])[turn]
    far = torch.ones(len(turn), *shape, dtype=torch.bool)
    for place in (centre, centre + up * away[:, None]):
        y, x = offsets(shape, place)
        far &= torch.hypot(y, x) > (4 * s.beam_rad[:, 0, 0] / pixel)[:, None, None] + 1.5
    return far

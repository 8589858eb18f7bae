"""What a detector sees beside the crystal: solvent, air, ice, the jet and its shadows. Tensors over columns of drawn numbers.

Everything is a function of the place of a pixel (px from the beam) alone, so that a window is the part of the whole.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from beamsight.physics.azimuth import STEPS
from beamsight.physics.columns import Columns, chosen

TABLE = 16384  # entries of a radial table up to the farthest corner: a quarter of a pixel or less
RINGS, ICE, SHADES = 3, 10, 3

# Hexagonal ice at 100-270 K; its lines as in powder diagrams, the strongest 1.
ICE_A_M, ICE_C_M = 4.50e-10, 7.33e-10
ICE_LINES = {
    (1, 0, 0): 1.0, (0, 0, 2): 0.8, (1, 0, 1): 0.6, (1, 0, 2): 0.18, (1, 1, 0): 0.45, (1, 0, 3): 0.35, (2, 0, 0): 0.08,
    (1, 1, 2): 0.25, (2, 0, 1): 0.12, (2, 0, 2): 0.06,
}  # fmt: skip


def ice_spacings() -> NDArray[np.float64]:
    """[10] d in m of the lines of ICE_LINES: 1/d^2 = 4/3 (h^2 + hk + k^2)/a^2 + l^2/c^2."""
    h, k, m = np.array(list(ICE_LINES)).T
    return np.asarray((4 / 3 * (h * h + h * k + k * k) / ICE_A_M**2 + m * m / ICE_C_M**2) ** -0.5)


def scattered(s: Columns, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Mean photons [B H W] of all that is no Bragg spot, at places y, x [B H W] px from the beam.

    `s`: columns with `wavelength_m`, `pixel_rad` (pixel / distance), `reach_px` (the farthest pixel), `flat_ph` fluorescence,
    `air_ph` at the beam, falling as (1 + (q/`air_q`)^2)^-3/2, `ring_ph`, `ring_q`, `ring_low`, `ring_high` [B 3] broad rings with
    standard deviations towards either side, `ice_ph`, `ice_sd` (share of q) and `ice_azimuth` [B 360], `streak_*` of the jet.
    Diffuse light is dimmed as cos^3 2theta (a flat detector's solid angle), scattered light by the polarisation along x.
    """
    squared = y * y + x * x
    # Rounded in float32 alike for every window, whatever stands beside it.
    place = (squared.sqrt() * ((TABLE - 1) / s.reach_px)).round_().clamp_(max=TABLE - 1).long()
    radius = torch.arange(TABLE, dtype=torch.float32) * (s.reach_px[:, 0] / (TABLE - 1))
    tangent2 = squared * s.pixel_rad**2
    polarised = 1 - (x * s.pixel_rad) ** 2 / (1 + tangent2)
    image = _looked_up(_smooth(s, radius), place).mul_(polarised) + s.flat_ph * (1 + tangent2) ** -1.5
    if (some := chosen(s, s.ice_ph[:, 0, 0] > 0)) is not None:
        rows, these = some
        step = (torch.atan2(y[rows], x[rows]) * (STEPS / (2 * torch.pi))).round_().long().remainder_(STEPS)
        powder = _looked_up(_ice(these, radius[rows]), place[rows])
        image[rows] += powder * _looked_up(these.ice_azimuth, step)
    if (some := chosen(s, s.streak_ph[:, 0, 0] > 0)) is not None:
        image[some[0]] += _streak(some[1], y[some[0]], x[some[0]])
    return image


def _looked_up(table: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    return table.gather(1, place.flatten(1)).reshape(place.shape)


def _q(s: Columns, radius: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """1/d [B T] in 1/m and cos 2theta [B T] at `radius` [B T] px."""
    angle = torch.atan(radius * s.pixel_rad[:, 0])
    return 2 / s.wavelength_m[:, 0] * torch.sin(angle / 2), torch.cos(angle)


def _smooth(s: Columns, radius: torch.Tensor) -> torch.Tensor:
    q, cosine = _q(s, radius)
    total = s.air_ph[:, 0] * (1 + (q / s.air_q[:, 0]) ** 2) ** -1.5
    for n in range(RINGS):
        away = q - s.ring_q[:, n, None]
        sd = torch.where(away < 0, s.ring_low[:, n, None], s.ring_high[:, n, None])
        total = total + s.ring_ph[:, n, None] * torch.exp(-0.5 * (away / sd) ** 2)
    return total * cosine**3


def _ice(s: Columns, radius: torch.Tensor) -> torch.Tensor:
    q, cosine = _q(s, radius)
    total = torch.zeros_like(q)
    for d, strength in zip(ice_spacings().tolist(), ICE_LINES.values(), strict=True):
        total += strength * torch.exp(-0.5 * ((q * d - 1) / s.ice_sd[:, 0]) ** 2)
    return total * cosine**3 * s.ice_ph[:, 0]


def _streak(s: Columns, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Light that the jet's walls reflect, at right angles to it: `streak_ph` at the beam along `streak_angle`, falling to half at
    `streak_px` and then as r^-2; its width grows with the radius from `streak_width_px` on."""
    cos, sin = torch.cos(s.streak_angle), torch.sin(s.streak_angle)
    along, across = x * cos + y * sin, y * cos - x * sin
    width = s.streak_width_px * (1 + along.abs() / s.streak_px)
    return s.streak_ph / (1 + (along / s.streak_px) ** 2) * torch.exp(-0.5 * (across / width) ** 2)


def passed(s: Columns, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """Share [B H W] of the light that beamstop and shadows let through.

    `stop_px` radius of the stop, 0 for none, with an arm of half width `stop_arm_px` along `stop_angle`, edges soft over
    `stop_soft_px`, letting `stop_share` through; and half planes [B 3] beyond `shade_px` along `shade_angle`, soft over
    `shade_soft_px`, letting `shade_share` through: the edges of nozzles, holders and tapes.
    """
    share = torch.ones_like(y)
    if (some := chosen(s, s.stop_px[:, 0, 0] > 0)) is not None:
        share[some[0]] *= _stop(some[1], y[some[0]], x[some[0]])
    for n in range(SHADES):
        if (some := chosen(s, s.shade_share[:, n] < 1)) is not None:
            rows, t = some
            angle, edge, soft, left = (v[:, n, None, None] for v in (t.shade_angle, t.shade_px, t.shade_soft_px, t.shade_share))
            beyond = torch.sigmoid((x[rows] * torch.cos(angle) + y[rows] * torch.sin(angle) - edge) / soft)
            share[rows] *= 1 - (1 - left) * beyond
    return share


def _stop(s: Columns, y: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    cos, sin = torch.cos(s.stop_angle), torch.sin(s.stop_angle)
    along, across = x * cos + y * sin, (y * cos - x * sin).abs()
    arm = torch.where(s.stop_arm_px > 0, torch.maximum(across - s.stop_arm_px, -along), torch.inf)
    outside = torch.minimum(torch.hypot(along, across) - s.stop_px, arm)
    return s.stop_share + (1 - s.stop_share) * torch.sigmoid(outside / s.stop_soft_px)

"""Grades of each ring system: is it a ring or a halo, is it turned, folded, grainy, uneven; which of its orders are seen."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, cast

import torch

from beamsight.physics.visibility import both, detect, either, grade, grade_turned, margin, powers, residual, ring_basis
from beamsight.tasks.scattering_tags import parts
from beamsight.tasks.scattering_tags.parts import Films
from beamsight.tasks.scattering_tags.polar import SECTORS, Polar
from beamsight.tasks.scattering_tags.scene import FOLDED, ISOTROPIC, ORDERS, SPOTTED

LONG, LONG_RAD = (3.0, 6.0), (0.15, 0.3)  # length over width, and angle: a lobe below both first ones is a spot, not an arc


@dataclass(frozen=True)
class Systems:
    """Per ring system [B 3]: `ring`, `halo` grades of presence, `turned` of azimuthal modulation, `folded` of its symmetry,
    `grains` of single maxima, `uneven` of what no mirror explains, `long` whether a lobe is an arc and no
    spot; `orders` [B 3 10] grade of each order; `detectability` [B 3] d' as a ring."""

    ring: torch.Tensor
    halo: torch.Tensor
    turned: torch.Tensor
    folded: torch.Tensor
    grains: torch.Tensor
    uneven: torch.Tensor
    long: torch.Tensor
    orders: torch.Tensor
    detectability: torch.Tensor


def systems(films: Films, grid: Polar) -> Systems:
    """Grade every ring system of each frame."""
    rings = parts.rings(_blurred(films, grid), grid.q)
    whole = rings.sum(2)
    rings = rings * _lit(films, grid)
    flat_rings = rings.flatten(1, 2)
    seen, contrast = detect(residual(flat_rings, ring_basis(grid.q), grid.along), grid.along, grid.level)
    orders = grade(seen, contrast).unflatten(1, rings.shape[1:3])
    wide, wide_contrast = detect(residual(rings.sum(2), powers(grid.q, (0, 1, 2, 3, 4)), grid.along), grid.along, grid.level)
    turned, folded, grains, strength = _around(films, whole, grid)
    # A ring whose light is in a few lobes may show only there.
    strongest = seen.unflatten(1, rings.shape[1:3]).max(2).values
    best = contrast.unflatten(1, rings.shape[1:3]).max(2).values
    detectability = torch.hypot(strongest, strength[0])
    narrow = grade(detectability, torch.maximum(best, strength[1]))
    broad = grade(torch.hypot(wide, strength[0]), torch.maximum(wide_contrast, strength[1]))
    width = 2.355 * films.ring_sd[..., 0] / films.ring_q[..., 0]
    is_ring, is_halo = 1 - margin(width, 0.301, 0.40), margin(width, 0.301, 0.40)
    arc = _arc(films, width)
    return Systems(
        ring=both(narrow, is_ring),
        halo=both(broad, is_halo),
        turned=turned,
        folded=folded,
        grains=grains,
        uneven=margin(_lopsided(sectors(films.azimuth)), 0.05, 0.15),
        long=torch.where(films.ring_kind == FOLDED, either(margin(arc, *LONG), margin(arc * width, *LONG_RAD)), 1.0),
        orders=orders,
        detectability=detectability,
    )


def _blurred(films: Films, grid: Polar) -> Films:
    """The films with rings as wide, and as much lower, as the detector's spread makes them."""
    sd = torch.hypot(films.ring_sd, grid.spread_q[:, None, None])
    return cast("Films", replace(cast("Any", films), ring_sd=sd, ring_ph=films.ring_ph * films.ring_sd / sd))


def _lit(films: Films, grid: Polar) -> torch.Tensor:
    """Light of each order on the azimuths that the frame shows, over its mean on a whole circle: [B 3 10 R]."""
    seen = torch.einsum("bra,bsa->bsr", grid.weight, sectors(films.azimuth)) / grid.along.clamp(min=1e-20)[:, None]
    # The grains of other orders lie elsewhere: on average they light as much as a whole circle.
    elsewhere = (films.ring_kind == SPOTTED)[..., None] & (torch.arange(ORDERS) > 0)
    return torch.where(elsewhere[..., None], 1.0, seen[:, :, None])


def _around(
    films: Films, profile: torch.Tensor, grid: Polar
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
    """Grades of modulation, symmetry and grains [B 3], and d' and contrast of the modulation, of profiles [B 3 R] times
    the azimuth."""
    weight = torch.einsum("bra,bsr->bsa", grid.weight, profile**2).flatten(0, 1)
    # The level at which a modulation of the table has the contrast that it has on the frame.
    power = grid.along[:, None] * profile**2
    level = power.sum(2) / (power * profile / grid.level.clamp(min=1e-6)[:, None]).sum(2).clamp(min=1e-20)
    table = sectors(films.azimuth)
    mean = (level.flatten()[:, None] * torch.ones_like(weight)).clamp(min=1e-6)
    values = table.flatten(0, 1)[:, None]
    left = residual(values, torch.ones_like(values), weight)
    left_fold = residual(values, _harmonics(films.ring_fold), weight)

    def measured(rest: torch.Tensor) -> list[torch.Tensor]:
        found = (*detect(rest, weight, mean), detect(rest, weight, torch.ones_like(weight))[1])
        return [v.unflatten(0, table.shape[:2])[..., 0] for v in found]

    seen, contrast, own = measured(left)
    single = (left[:, 0] ** 2 * weight).max(1).values.sqrt().unflatten(0, table.shape[:2])
    plain = films.ring_kind == ISOTROPIC
    turned = torch.where(plain, 0.0, grade_turned(seen, contrast, own))
    folded = torch.where(films.ring_kind == FOLDED, grade_turned(*measured(left_fold)), 0.0)
    grains = torch.where(films.ring_kind == SPOTTED, grade_turned(single, contrast, own), 0.0)
    return turned, folded, grains, (torch.where(plain, 0.0, seen), torch.where(plain, 0.0, contrast))


def sectors(azimuth: torch.Tensor) -> torch.Tensor:
    """Azimuthal tables [B 3 360] as means over the sectors of the polar grid [B 3 A]."""
    wide = azimuth.shape[2] // SECTORS
    return azimuth.roll(wide // 2, 2).reshape(*azimuth.shape[:2], SECTORS, wide).mean(3)


def _lopsided(table: torch.Tensor) -> torch.Tensor:
    """How far tables [B 3 A] are from the nearest that is its own mirror image about some axis: root mean square over the mean.

    Lobes of any fold have a mirror; what many grains make has none. With c_k the Fourier coefficients, the mirror about chi
    has conj(c_k) exp(2 i k chi), so half the square distance is sum |c_k|^2 - max over chi of Re sum c_k^2 exp(-2 i k chi).
    """
    waves = torch.fft.rfft(table)[..., 1:] / table.shape[2]
    k = torch.arange(1, waves.shape[2] + 1)
    axes = torch.arange(2 * SECTORS) * (torch.pi / (2 * SECTORS))
    turn = torch.exp(-2j * k[:, None] * axes)
    alike = ((waves * waves) @ turn).real.amax(2)
    # Each wave stands for itself and its conjugate; the nearest symmetric table lies halfway to the mirror image.
    apart: torch.Tensor = (waves.abs().square().sum(2) - alike).clamp(min=0).sqrt()
    return apart / table.mean(2).clamp(min=1e-9)


def _harmonics(fold: torch.Tensor) -> torch.Tensor:
    """[B*3 11 A] the constant and the harmonics below `fold` [B 3]; those from it on are zero."""
    chi = torch.arange(SECTORS) * (2 * torch.pi / SECTORS)
    waves = [torch.ones(SECTORS)] + [wave(k * chi) for k in range(1, 6) for wave in (torch.cos, torch.sin)]
    order = torch.tensor([0] + [k for k in range(1, 6) for _ in range(2)])
    kept = order < fold.flatten()[:, None].clamp(min=1)
    return torch.stack(waves) * kept[..., None]


def _arc(films: Films, width: torch.Tensor) -> torch.Tensor:
    """Length of a lobe over its radial width [B 3]."""
    top = films.azimuth.amax(2, keepdim=True)
    share = (films.azimuth > top / 2).float().mean(2)
    return share * 2 * torch.pi / films.ring_fold.clamp(min=1) / width

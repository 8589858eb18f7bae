"""The grid of exit angles and |q_par| on which a film's amplitudes are made, and where detector pixels lie on it.

x is along the beam, z the surface's normal.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import grid_sample

from beamsight.physics.columns import Columns, any_of
from beamsight.physics.films import LAYERS
from beamsight.physics.formfactors import sliced, waved
from beamsight.physics.fresnel import Waves, terms, waves

COLUMNS = 65  # of the grid, in |q_par|: light of particles to 24 nm is right to 1 % root mean square, with 129 to 0.3 %
SIZES = 5
NARROW = 0.45  # px, half width of the narrowest rod: a pixel gathers what falls on it


@dataclass(frozen=True)
class Exits:
    """Where light leaves: `up` [B H 1] and `across` [B 1 W], tangents from the horizon and from the plane of incidence; `place`
    [B H W 2] columns and rows on the grid from -1 to 1; `q_x`, `q_y`, `q_par` [B H W] rad/m; `rows` [B A] sines of the exit
    angles of the grid's rows, A = H; `reach` [B] rad/m, its last column."""

    up: torch.Tensor
    across: torch.Tensor
    place: torch.Tensor
    q_x: torch.Tensor
    q_y: torch.Tensor
    q_par: torch.Tensor
    rows: torch.Tensor
    reach: torch.Tensor


class Grid(NamedTuple):
    """Weights and amplitudes on it: `weight` [B A 4] of each term, per volume of the mean particle, `q_z` [B A 4], `amplitudes`
    [B A 4 S P] of sizes whose shares are `sizes` [B S], and `mean` [B A 4 P] over these; `q` [B P] rad/m."""

    weight: torch.Tensor
    q_z: torch.Tensor
    amplitudes: torch.Tensor
    sizes: torch.Tensor
    mean: torch.Tensor
    q: torch.Tensor


def exits(s: Columns, shape: tuple[int, int]) -> Exits:
    """The pixels of `columns(films)` on a flat detector of `shape` (H, W) at right angles to the horizon's direction."""
    pixel, k = s.side_rad / shape[0], 2 * torch.pi / s.wavelength_m
    horizon = s.beam_y * shape[0] - 0.5 - torch.tan(s.incidence_rad) / pixel
    up = (horizon - torch.arange(shape[0])[:, None]) * pixel
    across = (torch.arange(shape[1]) - (s.beam_x * shape[1] - 0.5)) * pixel
    aside = up**2 + across**2
    total = torch.sqrt(1 + aside)
    # Cosines near 1 are written by what they lack: float32 has 1e-7 of 1, and a crystal 1e5 wavelengths.
    q_x = k * (2 * torch.sin(s.incidence_rad / 2) ** 2 - aside / (total * (1 + total)))
    q_y = k * across / total
    q_par = torch.hypot(q_x, q_y)
    reach = q_par.flatten(1).amax(1) * 1.0001
    place = torch.empty(*q_par.shape, 2)
    torch.mul(q_par, 2 / reach[:, None, None], out=place[..., 0])
    torch.sub(horizon, up / (torch.sqrt(1 + across**2) * pixel), out=place[..., 1])
    place *= torch.tensor([1, 2 / max(shape[0] - 1, 1)])
    place -= 1
    return Exits(up, across, place, q_x, q_y, q_par, (up / torch.sqrt(1 + up**2))[..., 0], reach)


def narrowest(s: Columns, e: Exits) -> torch.Tensor:
    """[B 1] rad/m, half width of a rod that is thinner than a pixel."""
    return NARROW * pixel(s, e)


def pixel(s: Columns, e: Exits) -> torch.Tensor:
    """[B 1] rad/m, what a pixel is wide in q."""
    return 2 * torch.pi * (s.side_rad / s.wavelength_m)[:, 0] / e.q_par.shape[1]


def amplitudes_on_grid(s: Columns, e: Exits) -> Grid:
    """Amplitudes of the particles on the grid of exit angles and |q_par|."""
    weight, q_z = terms(waves_at(s, torch.sin(s.incidence_rad)[:, 0]), waves_at(s, e.rows.clamp(min=1e-6)))
    q = torch.linspace(0, 1, COLUMNS) * e.reach[:, None]
    place, share = _sizes(any_of(s.spread > 0), q.device)
    relative = (1 + s.spread[:, 0] * place).clamp(min=0.1)
    shape, radius, tall, taper = (v[:, 0, 0] for v in (s.shape, s.radius_m, s.tall, s.taper))
    # The last two q_z are the first two's opposites.
    flat = q_z[..., :2].flatten(1)
    each = [_both_ways(sliced(q, flat, shape, radius * r, tall, taper), q_z.shape[1]) for r in relative.T]
    volume = 2 * radius**3 * tall
    amplitudes, sizes = torch.stack(each, 3), share.expand(len(q), -1)
    return Grid(weight / volume[:, None, None], q_z, amplitudes, sizes, _over_sizes(amplitudes, sizes), q)


def _both_ways(found: tuple[torch.Tensor, torch.Tensor], rows: int) -> torch.Tensor:
    up, down = (v.unflatten(1, (rows, 2)) for v in found)
    return torch.cat([up, down.flip(2)], 2)


def waves_at(s: Columns, sine: torch.Tensor) -> Waves:
    """Waves that particles meet for light of sin(angle) `sine` [B A] to the surface."""
    film = tuple(v[:, 0] for v in (s.film_delta, s.film_beta, s.film_m))
    return waves(2 * torch.pi / s.wavelength_m[:, 0], sine, film, (s.substrate_delta[:, 0], s.substrate_beta[:, 0]))


@lru_cache
def _sizes(several: bool, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Gauss and Hermite's places, standard deviations, and weights of a normal distribution."""
    place, weight = np.polynomial.hermite_e.hermegauss(SIZES if several else 1)
    return tuple(torch.tensor(v, dtype=torch.float32, device=device) for v in (place, weight / weight.sum()))  # type: ignore[return-value]


def heights(s: Columns) -> tuple[torch.Tensor, torch.Tensor]:
    """[B LAYERS] middles of the particles above the substrate, and what share of each there is; of a crystal, heights all over
    it."""
    n = torch.arange(LAYERS)
    half, single = (s.base_m + s.radius_m * s.tall)[:, 0], s.single[:, 0] > 0
    top = ((s.cells - 1) * s.cell_m[..., 2].abs()).sum(1)[:, None]
    # Layers that are not there lie with the last one: above the film, waves that fade in it would be no numbers.
    powder, block = half + n.minimum(s.layers[:, 0] - 1) * s.layer_m[:, 0], half + n / (LAYERS - 1) * top
    there = (s.layers[:, 0] - n).clamp(0, 1) * torch.where(n == s.layers[:, 0] - 1, s.filled[:, 0], 1.0)
    return torch.where(single, block, powder), torch.where(single, 1.0, there)


def _over_sizes(amplitudes: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
    return amplitudes[:, :, :, 0] if sizes.shape[1] == 1 else (amplitudes * sizes[:, None, None, :, None]).sum(3)


def mean_amplitude(grid: Grid) -> torch.Tensor:
    """[B A 4 P] amplitude of each term, weighted, over the sizes."""
    return grid.mean * grid.weight[..., None]


def damping(s: Columns, grid: Grid) -> torch.Tensor:
    """[B A P] Debye and Waller's exp(-q^2 u^2) with the transmitted wave's q."""
    square = grid.q_z[..., 0].real[..., None] ** 2 + grid.q[:, None] ** 2
    return torch.exp(-square * s.disorder_m**2)


def some_disorder(s: Columns) -> bool:
    """Whether any film has light that knows no lattice."""
    return any_of((s.disorder_m > 0) | (s.strewn > 0) | (s.spread > 0))


def disordered(s: Columns, grid: Grid, mean: torch.Tensor, damped: torch.Tensor) -> torch.Tensor:
    """[B 1 A P/2] light of what knows no lattice: sizes that differ, displacements, particles at random; smooth in q_par."""
    apart, together = _alone(s, grid._replace(amplitudes=grid.amplitudes[..., ::2]), mean[..., ::2])
    return (apart - (1 - s.strewn) * damped[..., ::2] * together)[:, None]


def _alone(s: Columns, grid: Grid, mean: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """[B A P] light of a particle that knows no other, averaged over heights: of all sizes, and of the mean amplitude."""
    height, used = heights(s)
    phase = waved(grid.q_z[..., None] * height[:, None, None]) * (used / used.sum(1, keepdim=True)).sqrt()[:, None, None]
    pairs = phase @ phase.mH
    together = _quadratic(pairs, mean)
    if grid.sizes.shape[1] == 1:
        return together, together
    each = grid.amplitudes * grid.weight[..., None, None]
    apart = _quadratic(pairs, each.flatten(3)).unflatten(2, each.shape[3:])
    return (apart * grid.sizes[:, None, :, None]).sum(2), together


def _quadratic(pairs: torch.Tensor, amplitude: torch.Tensor) -> torch.Tensor:
    """sum over t, u of a_t pairs_tu conj(a_u) [B A P]."""
    return ((pairs.transpose(2, 3) @ amplitude) * amplitude.conj()).real.sum(2)


def squared(wave: torch.Tensor) -> torch.Tensor:
    """|wave|^2."""
    return wave.real**2 + wave.imag**2


def on_grid(maps: torch.Tensor, e: Exits) -> torch.Tensor:
    """Maps [B C A P] at the pixels, [B C H W]; of one row, A = 1, that row for all."""
    return grid_sample(maps, e.place, padding_mode="border", align_corners=True)

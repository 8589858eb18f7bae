"""What a film of particles scatters at grazing incidence: the distorted-wave Born approximation with its four terms.

What depends on the exit angle and on |q_par| is made on a grid of these two, in products of matrices, and looked up by pixels:
a powder's rods depend on |q_par| alone, a layer stack's phases on the exit angle alone. x is along the beam, z the normal.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch.nn.functional import grid_sample

from beamsight.physics.columns import Columns, chosen, rows_of
from beamsight.physics.films import LAYERS
from beamsight.physics.formfactors import sliced
from beamsight.physics.fresnel import Waves, normal_wavevector, terms, waves
from beamsight.physics.rods import interference

COLUMNS = 129  # of the grid, in |q_par|: some twelve a fringe of the form factor of particles of 20 nm
SIZES = 5
STEPS = 4  # entries of a rod's table a pixel


@dataclass(frozen=True)
class Exits:
    """Where light leaves: `up` [B H 1] and `across` [B 1 W], tangents from the horizon and from the plane of incidence; `place`
    [B H W 2] columns and rows on the grid from -1 to 1; `q_x`, `q_y`, `q_par` [B H W] rad/m; `rows` [B H] sines of exit angles of the grid's rows, `reach` [B]
    rad/m, its last column."""

    up: torch.Tensor
    across: torch.Tensor
    place: torch.Tensor
    q_x: torch.Tensor
    q_y: torch.Tensor
    q_par: torch.Tensor
    rows: torch.Tensor
    reach: torch.Tensor


class Grid(NamedTuple):
    """Weights and amplitudes on it: `weight`, `q_z` [B A 4], `amplitudes` [B A 4 S P] of sizes whose shares are `sizes` [B S],
    `q` [B P] rad/m."""

    weight: torch.Tensor
    q_z: torch.Tensor
    amplitudes: torch.Tensor
    sizes: torch.Tensor
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


def render(films: Columns, shape: tuple[int, int]) -> torch.Tensor:
    """Mean photons [B H W] of `columns(films)`: particles, roughness, air, specular and direct beam, behind their stops."""
    if films.kind.device.type == "cpu":
        # Frame by frame on a processor: its caches hold one, and what few frames have is made for them alone.
        return torch.cat([_made(rows_of(films, slice(n, n + 1)), shape) for n in range(len(films.kind))])
    return _made(films, shape)


def _made(films: Columns, shape: tuple[int, int]) -> torch.Tensor:
    e = exits(films, shape)
    light = scattered(films, e)
    light = light * (films.lattice_ph / light.mean((1, 2), keepdim=True).clamp(min=1e-30))
    if bool((films.rough_ph > 0).any()):
        light = light + _rough(films, e)
    if bool((films.flat_ph + films.air_ph + films.direct_ph + films.specular_ph > 0).any()):
        light = light + _beams(films, e)
    stops = films.stop_rad + films.specular_stop_rad + films.bar_rad
    return light * _passed(films, e) if bool((stops > 0).any()) else light


def scattered(films: Columns, e: Exits) -> torch.Tensor:
    """[B H W] light of the particles, a particle's share in units of (contrast x volume)^2; 0 below the horizon."""
    light = torch.zeros_like(e.q_par)
    single, tilted = films.single[:, 0, 0] > 0, ((films.cell_m[:, :2, 2] != 0) | (films.cell_m[:, 2, :2] != 0)).any(1)
    for which, make in ((~single, _powder), (single & ~tilted, _upright_crystal), (single & tilted, _tilted_crystal)):
        if (some := chosen(films, which)) is not None:
            rows, these = some
            light[rows] = make(these, rows_of(e, rows))
    return light * (e.up > 0)


def _powder(s: Columns, e: Exits) -> torch.Tensor:
    grid, heights, used = _grid(s, e), *_heights(s)
    number = used.sum(1)[:, None, None]
    mean = (grid.amplitudes * grid.sizes[:, None, None, :, None]).sum(3) * grid.weight[..., None]
    phase = torch.exp(-1j * grid.q_z[..., None] * heights[:, None, None]) * used[:, None, None]
    damped, kinds = _damping(s, grid), int(s.parts.max())
    shifts = torch.arange(LAYERS) % s.repeat[:, 0]
    parts = []
    for n in range(kinds):
        sums = (phase * torch.exp(-2j * torch.pi * n / s.parts[:, 0] * shifts)[:, None, None]).sum(-1)
        parts.append(_square((mean * sums[..., None]).sum(2)) * (damped * (1 - s.strewn) / number))
    light = (_on_grid(torch.stack(parts, 1), e) * _rods(s, e, kinds)).sum(1)
    return light + _on_grid(_disordered(s, grid, mean, damped), e)[:, 0] if _some_disorder(s) else light


def _some_disorder(s: Columns) -> bool:
    return bool(((s.disorder_m > 0) | (s.strewn > 0) | (s.spread > 0)).any())


def _disordered(s: Columns, grid: Grid, mean: torch.Tensor, damped: torch.Tensor) -> torch.Tensor:
    """[B 1 A P/2] light of what knows no lattice: sizes that differ, displacements, particles at random. It is smooth in q_par."""
    apart, together = _alone(s, grid._replace(amplitudes=grid.amplitudes[..., ::2]), mean[..., ::2])
    return (apart - (1 - s.strewn) * damped[..., ::2] * together)[:, None]


def _square(wave: torch.Tensor) -> torch.Tensor:
    return wave.real**2 + wave.imag**2


def _grid(s: Columns, e: Exits) -> Grid:
    """Amplitudes of the particles on the grid of exit angles and |q_par|, per volume of the mean particle."""
    weight, q_z = terms(_waves(s, torch.sin(s.incidence_rad)[:, 0]), _waves(s, e.rows.clamp(min=1e-6)))
    q = torch.linspace(0, 1, COLUMNS) * e.reach[:, None]
    place, share = _sizes(bool((s.spread > 0).any()), q.device)
    relative = (1 + s.spread[:, 0] * place).clamp(min=0.1)
    shape, radius, tall, taper = (v[:, 0, 0] for v in (s.shape, s.radius_m, s.tall, s.taper))
    # The last two q_z are the first two's opposites.
    flat = q_z[..., :2].flatten(1)
    each = [_both_ways(sliced(q, flat, shape, radius * r, tall, taper), q_z.shape[1]) for r in relative.T]
    volume = 2 * radius**3 * tall
    return Grid(weight, q_z, torch.stack(each, 3) / volume[:, None, None, None, None], share.expand(len(q), -1), q)


def _both_ways(found: tuple[torch.Tensor, torch.Tensor], rows: int) -> torch.Tensor:
    up, down = (v.unflatten(1, (rows, 2)) for v in found)
    return torch.cat([up, down.flip(2)], 2)


def _waves(s: Columns, sine: torch.Tensor) -> Waves:
    film = tuple(v[:, 0] for v in (s.film_delta, s.film_beta, s.film_m))
    return waves(2 * torch.pi / s.wavelength_m[:, 0], sine, film, (s.substrate_delta[:, 0], s.substrate_beta[:, 0]))


@lru_cache
def _sizes(several: bool, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Gauss and Hermite's places, standard deviations, and weights of a normal distribution."""
    place, weight = np.polynomial.hermite_e.hermegauss(SIZES if several else 1)
    return tuple(torch.tensor(v, dtype=torch.float32, device=device) for v in (place, weight / weight.sum()))  # type: ignore[return-value]


def _heights(s: Columns) -> tuple[torch.Tensor, torch.Tensor]:
    """[B LAYERS] middles of the particles above the substrate, and which of them there are; of a crystal, heights all over it."""
    n = torch.arange(LAYERS)
    half, single = (s.base_m + s.radius_m * s.tall)[:, 0], s.single[:, 0] > 0
    top = ((s.cells - 1) * s.cell_m[..., 2].abs()).sum(1)[:, None]
    powder, block = half + n * s.layer_m[:, 0], half + n / (LAYERS - 1) * top
    return torch.where(single, block, powder), (single | (n < s.layers[:, 0])).float()


def _damping(s: Columns, grid: Grid) -> torch.Tensor:
    """[B A P] Debye and Waller's exp(-q^2 u^2) with the transmitted wave's q."""
    square = grid.q_z[..., 0].real[..., None] ** 2 + grid.q[:, None] ** 2
    return torch.exp(-square * s.disorder_m**2)


def _alone(s: Columns, grid: Grid, mean: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """[B A P] light of a particle that knows no other, averaged over heights: of all sizes, and of the mean amplitude."""
    heights, used = _heights(s)
    phase = (
        torch.exp(-1j * grid.q_z[..., None] * heights[:, None, None]) * (used / used.sum(1, keepdim=True)).sqrt()[:, None, None]
    )
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


def _on_grid(maps: torch.Tensor, e: Exits) -> torch.Tensor:
    """Maps [B C A P] at the pixels, [B C H W]; of one row, A = 1, that row for all."""
    return grid_sample(maps, e.place, padding_mode="border", align_corners=True)


def _rods(s: Columns, e: Exits, kinds: int) -> torch.Tensor:
    """[B kinds H W] the interference of each class of rods at the pixels."""
    q = torch.linspace(0, 1, STEPS * max(e.q_par.shape[1:])) * e.reach[:, None]
    # Order that is lost from neighbour to neighbour widens rods by g^2 (G d)^2 / (2 d) (Hosemann).
    lost = (s.paracrystal[:, 0] * s.rod_q) ** 2 * s.spacing_m[:, 0] / 2
    length = 1 / (1 / s.domain_m[:, 0] + lost)
    table = interference(q, s.rod_q, s.rod_count[..., :kinds], length, s.area_m2[:, 0, 0], s.gaussian[:, 0, 0])
    return _on_grid(table[:, :, None], e)


def _upright_crystal(s: Columns, e: Exits) -> torch.Tensor:
    return _crystal(s, e, _upright)


def _tilted_crystal(s: Columns, e: Exits) -> torch.Tensor:
    return _crystal(s, e, _tilted)


def _crystal(s: Columns, e: Exits, block: Callable[[Columns, Exits, Grid, torch.Tensor], torch.Tensor]) -> torch.Tensor:
    grid = _grid(s, e)
    mean = (grid.amplitudes * grid.sizes[:, None, None, :, None]).sum(3) * grid.weight[..., None]
    damped, known = _damping(s, grid), 1 - s.strewn
    each = mean * (damped * known).sqrt()[:, :, None]
    # Phases are counted from the middle of the block, where sums over it are real, and smooth enough to be looked up.
    ends = (s.cells - 1)[..., None] * s.cell_m
    lift = (s.base_m + s.radius_m * s.tall)[:, 0] + ends[..., 2].abs().sum(1)[:, None] / 2
    centred = each * torch.exp(-1j * grid.q_z * lift[..., None])[..., None]
    light = _square(block(s, e, grid, centred)) / (s.cells.prod(1) * s.site.sum(1))[:, None, None]
    return light + _on_grid(_disordered(s, grid, mean, damped), e)[:, 0] if _some_disorder(s) else light


def _upright(s: Columns, e: Exits, grid: Grid, each: torch.Tensor) -> torch.Tensor:
    """[B H W] amplitude of a block with two sides in the surface, the third along the normal."""
    stacked = each * _ratio(_plain(s, grid.q_z * s.cell_m[:, 2, 2, None, None]), s.cells[:, 2, None, None])[..., None]
    side = [_ratio(_along(s, e, s.cell_m[:, n]), s.cells[:, n, None, None]) for n in (0, 1)]
    amplitude = torch.zeros_like(e.q_par, dtype=torch.complex64)
    for n in range(int(s.site.sum(1).max())):
        height, turn = s.site_m[:, n, 2, None, None], _along(s, e, s.site_m[:, n])
        of_site = (stacked * torch.exp(-1j * grid.q_z * height)[..., None]).sum(2) * s.site[:, n, None, None]
        amplitude += _wave_on_grid(of_site, e) * torch.polar(torch.ones_like(turn), -turn)
    return amplitude * (side[0] * side[1])


def _tilted(s: Columns, e: Exits, grid: Grid, each: torch.Tensor) -> torch.Tensor:
    """[B H W] amplitude of a parallelepiped with faces at any angle to the surface."""
    in_plane = [_along(s, e, s.cell_m[:, n]) for n in range(3)]
    sites = [_along(s, e, s.site_m[:, n]) for n in range(int(s.site.sum(1).max()))]
    amplitude = torch.zeros_like(e.q_par, dtype=torch.complex64)
    for t, q_z in enumerate(_pixel_q_z(s, e)):
        total = sum(
            s.site[:, n, None, None] * torch.exp(-1j * (turn + q_z * s.site_m[:, n, 2, None, None]))
            for n, turn in enumerate(sites)
        )
        for n, turn in enumerate(in_plane):
            total = total * _ratio(turn + _plain(s, q_z) * s.cell_m[:, n, 2, None, None], s.cells[:, n, None, None])
        amplitude += _wave_on_grid(each[:, :, t], e) * total
    return amplitude


def _wave_on_grid(wave: torch.Tensor, e: Exits) -> torch.Tensor:
    maps = _on_grid(torch.stack([wave.real, wave.imag], 1), e)
    return torch.complex(maps[:, 0].contiguous(), maps[:, 1].contiguous())


def _plain(s: Columns, q_z: torch.Tensor) -> torch.Tensor:
    """qz without its imaginary part where there is no film to absorb: real sines are ten times as quick."""
    return q_z if bool((s.film_m > 0).any()) else q_z.real


def _pixel_q_z(s: Columns, e: Exits) -> list[torch.Tensor]:
    k = 2 * torch.pi / s.wavelength_m
    sine = (e.up / torch.sqrt(1 + e.up**2 + e.across**2)).clamp(min=1e-6)
    into, out = (normal_wavevector(k, v, s.film_delta, s.film_beta) for v in (torch.sin(s.incidence_rad), sine))
    return [out + into, out - into, into - out, -out - into]


def _along(s: Columns, e: Exits, vector: torch.Tensor) -> torch.Tensor:
    """[B H W] the phase in the surface of `vector` [B 3] of the crystal."""
    cos, sin, x, y = torch.cos(s.azimuth_rad), torch.sin(s.azimuth_rad), vector[:, 0, None, None], vector[:, 1, None, None]
    return e.q_x * (cos * x - sin * y) + e.q_y * (sin * x + cos * y)


def _ratio(turn: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
    """sin(N x/2) / sin(x/2) at x = `turn`: the sum over `number` places of exp(-i n x), counted from their middle."""
    # Whole turns are taken off before they are multiplied, so that float32 holds what is left; two, as one changes the sign.
    real = turn.real if turn.is_complex() else turn
    half = (real - 4 * torch.pi * torch.round(real / (4 * torch.pi))) / 2
    if turn.is_complex():
        half = torch.complex(half, turn.imag / 2)
    below = torch.sin(half)
    alike = below.abs() < 1e-4
    # Where all are in phase the ratio is the number, times the sign that the cosine has there.
    near = number * (1 - 2 * (half.abs() > 1).to(number.dtype) * (1 - number % 2))
    return torch.where(alike, near, torch.sin(half * number) / torch.where(alike, 1.0, below))


def _rough(s: Columns, e: Exits) -> torch.Tensor:
    """Roughness of the substrate seen by the light that is there: the Yoneda band. Phys. Rev. B 38, 2297 (1988)."""
    out = _waves(s, e.rows.clamp(min=1e-6))
    band = _on_grid((out.down + out.up).abs().square()[:, None, :, None].expand(-1, -1, -1, 2), e)[:, 0]
    return s.rough_ph * band / (1 + (e.q_par * s.rough_m) ** 2) ** 1.5 * (e.up > 0)


def _beams(s: Columns, e: Exits) -> torch.Tensor:
    direct, specular = (e.across**2 + (e.up + sign * torch.tan(s.incidence_rad)) ** 2 for sign in (1, -1))
    width = -0.5 / s.beam_rad**2
    air = s.flat_ph + s.air_ph * (1 + direct / s.air_rad**2) ** -1.5
    return air + s.direct_ph * torch.exp(direct * width) + s.specular_ph * torch.exp(specular * width)


def _passed(s: Columns, e: Exits) -> torch.Tensor:
    """Share [B H W] of light that the stops let through, with edges as soft as a pixel."""
    pixel, height = s.side_rad / e.q_par.shape[1], torch.tan(s.incidence_rad)
    share = torch.ones_like(e.q_par)
    for radius, middle in ((s.stop_rad, -height), (s.specular_stop_rad, height)):
        beyond = torch.hypot(e.across, e.up - middle) - radius
        share = share * torch.where(radius > 0, torch.sigmoid(4 * beyond / pixel), 1.0)
    beyond = torch.maximum(e.across.abs() - s.bar_rad, e.up - height)
    return share * torch.where(s.bar_rad > 0, torch.sigmoid(4 * beyond / pixel), 1.0)

"""What a film of particles scatters at grazing incidence: the distorted-wave Born approximation with its four terms.

What depends on the exit angle and on |q_par| is made on a grid of these two, in products of matrices, and looked up by pixels:
a powder's rods depend on |q_par| alone, a layer stack's phases on the exit angle alone.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from beamsight.physics.columns import Columns, Rows, any_of, chosen, highest, rows_of
from beamsight.physics.crystals import CLASSES
from beamsight.physics.films import LAYERS
from beamsight.physics.finite import stepped_block, tilted_crystal, upright_crystal
from beamsight.physics.formfactors import waved
from beamsight.physics.grazing import (
    Exits,
    amplitudes_on_grid,
    damping,
    disordered,
    exits,
    heights,
    mean_amplitude,
    narrowest,
    on_grid,
    pixel,
    some_disorder,
    squared,
    waves_at,
)
from beamsight.physics.paracrystals import paracrystal, shared
from beamsight.physics.rods import averaged, interference
from beamsight.physics.turning import turned_block, turned_stack

TOGETHER = 40_000  # pixels of films alike that a processor makes at once: its caches hold them
STEPS = 8  # entries of a rod's table a pixel of a pattern whose beam is at its edge


def render(films: Columns, shape: tuple[int, int]) -> torch.Tensor:
    """Mean photons [B H W] of `columns(films)`: particles, roughness, air, specular and direct beam, behind their stops."""
    if films.kind.device.type != "cpu":
        return _made(films, shape)
    light = torch.empty(len(films.kind), *shape)
    for rows in _alike(films, max(1, TOGETHER // (shape[0] * shape[1]))):
        light[rows] = _made(rows_of(films, rows), shape)
    return light


def _alike(films: Columns, most: int) -> Iterator[Rows]:
    """The rows of films that have the same parts, `most` at once: what few have is made for them alone. Blocks at many azimuths,
    each with rods or turns of its own, are alone too."""
    yes = [films.kind, films.single, films.film_m > 0, films.spread > 0, films.disorder_m + films.strewn > 0]
    alone = (films.turning + films.azimuths > 0)[:, 0, 0].tolist()
    groups: dict[tuple[float, ...], list[int]] = {}
    for n, parts in enumerate(torch.cat([part[:, 0] for part in yes], 1).tolist()):
        groups.setdefault((*parts, n if alone[n] else -1), []).append(n)
    for rows in groups.values():
        yield from (_rows(rows[first : first + most]) for first in range(0, len(rows), most))


def _rows(numbers: Sequence[int]) -> Rows:
    """As a slice, which copies nothing, where they follow one another."""
    first, last = numbers[0], numbers[-1]
    return slice(first, last + 1) if last - first == len(numbers) - 1 else torch.tensor(numbers)


def _made(films: Columns, shape: tuple[int, int]) -> torch.Tensor:
    e = exits(films, shape)
    light = scattered(films, e)
    light = light * (films.lattice_ph / light.mean((1, 2), keepdim=True).clamp(min=1e-20))
    if any_of(films.rough_ph > 0):
        light = light + _rough(films, e)
    if any_of(films.flat_ph + films.air_ph + films.direct_ph + films.specular_ph > 0):
        light = light + _beams(films, e)
    stops = films.stop_rad + films.specular_stop_rad + films.bar_rad
    return light * _passed(films, e) if any_of(stops > 0) else light


def scattered(films: Columns, e: Exits) -> torch.Tensor:
    """[B H W] light of the particles, a particle's share in units of (contrast x volume)^2; 0 below the horizon."""
    light = torch.zeros_like(e.q_par)
    single, stepped = films.single[:, 0, 0] > 0, films.azimuths[:, 0, 0] > 0
    turning = (films.turning[:, 0, 0] > 0) & ~stepped
    alone = single & ~turning & ~stepped
    steep = (films.cell_m[:, :2, 2] != 0).any(1)
    tilted = steep | (films.cell_m[:, 2, :2] != 0).any(1)
    kinds = (
        (~single, _powder),
        (single & stepped, stepped_block),
        (alone & ~tilted, upright_crystal),
        (alone & tilted, tilted_crystal),
        (single & turning & ~steep, turned_stack),
        (single & turning & steep, turned_block),
    )
    for which, make in kinds:
        if (some := chosen(films, which)) is not None:
            rows, these = some
            light[rows] = make(these, rows_of(e, rows))
    return light * (e.up > 0)


def _powder(s: Columns, e: Exits) -> torch.Tensor:
    grid, (height, used) = amplitudes_on_grid(s, e), heights(s)
    number = used.sum(1)[:, None, None]
    mean = mean_amplitude(grid)
    damped, kinds = damping(s, grid), highest(s.parts, CLASSES)
    shifts = 2 * torch.pi * (torch.arange(LAYERS) % s.repeat[:, 0]) / s.parts[:, 0]
    stacks = []
    for n in range(kinds):
        up = waved(grid.q_z[..., None] * (height + s.above_m[:, n])[:, None, None]) * used[:, None, None]
        turn = -grid.q[:, None] * s.beside_m[:, n, :, None] - n * shifts[..., None]
        wave = (mean * (up.flatten(1, 2) @ torch.polar(torch.ones_like(turn), turn)).unflatten(1, up.shape[1:3])).sum(2)
        stacks.append(squared(wave) * ((1 - s.strewn) / number))
    light = (on_grid(torch.stack(stacks, 1) * damped[:, None], e) * _rods(s, e, kinds)).sum(1)
    # What all particles above one another share does not blur what lies between them.
    between = damped
    if any_of(s.common * s.disorder_m > 0):
        between = damped ** (1 - s.common)
        # J0(q shift) is the mean over azimuths of the phase between neighbouring layers.
        bent = torch.special.bessel_j0(grid.q * torch.linalg.vector_norm(s.cell_m[:, 2, :2], dim=1, keepdim=True))
        columns = (torch.stack(stacks, 1) * shared(torch.ones_like(bent), bent, s.parts[:, 0, 0], kinds)[:, :, None]).sum(1)
        light = light + on_grid(((between - damped) * columns)[:, None], e)[:, 0]
    return light + on_grid(disordered(s, grid, mean, between), e)[:, 0] if some_disorder(s) else light


def _rods(s: Columns, e: Exits, kinds: int) -> torch.Tensor:
    """[B kinds H W] the interference of each class of rods, the mean over each pixel's breadth: rods may be thinner."""
    high, wide = e.q_par.shape[1:]
    q = torch.linspace(0, 1, STEPS * max(high, wide)) * e.reach[:, None]
    # Order that is lost from neighbour to neighbour widens rods by g^2 (G d)^2 / (2 d) (Hosemann).
    lost = (1 - s.ideal[:, 0]) * (s.paracrystal[:, 0] * s.rod_q) ** 2 * s.spacing_m[:, 0] / 2
    length = 1 / torch.hypot(1 / s.domain_m[:, 0] + lost, narrowest(s, e) / STEPS)
    table = interference(q, s.rod_q, s.rod_count[..., :kinds], length, s.area_m2[:, 0, 0], s.gaussian[:, 0, 0])
    if (some := chosen(s, (s.ideal * s.paracrystal)[:, 0, 0] > 0)) is not None:
        rows, these = some
        displaced, parts = (these.paracrystal * these.spacing_m)[:, 0, 0], these.parts[:, 0, 0]
        table[rows] = paracrystal(q[rows], these.cell_m[..., :2], displaced, length[rows, 0], parts, kinds)
    entries = pixel(s, e)[:, 0] * (q.shape[1] - 1) / e.reach
    return on_grid(averaged(table, entries, STEPS * max(high, wide) // wide + 1)[:, :, None], e)


def _rough(s: Columns, e: Exits) -> torch.Tensor:
    """Roughness of the substrate seen by the light that is there: the Yoneda band. Phys. Rev. B 38, 2297 (1988)."""
    out = waves_at(s, e.rows.clamp(min=1e-6))
    band = on_grid((out.down + out.up).abs().square()[:, None, :, None].expand(-1, -1, -1, 2), e)[:, 0]
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

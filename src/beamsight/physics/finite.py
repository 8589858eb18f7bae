"""Finite crystals in a fixed azimuth, with their fringes: what a block of particles scatters at grazing incidence."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from beamsight.physics.columns import Columns, any_of, highest
from beamsight.physics.crystals import SITES
from beamsight.physics.formfactors import waved
from beamsight.physics.fresnel import film_wavevector
from beamsight.physics.grazing import (
    Exits,
    Grid,
    amplitudes_on_grid,
    damping,
    disordered,
    mean_amplitude,
    on_grid,
    some_disorder,
    squared,
)

MOST_AZIMUTHS = 240  # of a block that is averaged over them one by one
IN_PHASE = 3e-4  # rad: neighbours by less than twice as much are taken to be so far out of phase


def upright_crystal(s: Columns, e: Exits) -> torch.Tensor:
    """[B H W] light of blocks with two sides in the surface and the third along the normal; columns of Film."""
    grid = amplitudes_on_grid(s, e)
    return per_particle(s, _upright(s, e, grid)) + with_disorder(s, e, grid)


def tilted_crystal(s: Columns, e: Exits) -> torch.Tensor:
    """[B H W] light of parallelepipeds of any faces; columns of Film."""
    grid = amplitudes_on_grid(s, e)
    return per_particle(s, squared(_tilted(s, e, _terms(s, e, grid), s.azimuth_rad))) + with_disorder(s, e, grid)


def stepped_block(s: Columns, e: Exits) -> torch.Tensor:
    """[B H W] mean light of parallelepipeds at `azimuths` azimuths, `azimuth_step_rad` apart, as programs average; columns of
    Film."""
    grid = amplitudes_on_grid(s, e)
    terms, light = _terms(s, e, grid), torch.zeros_like(e.q_par)
    for n in range(highest(s.azimuths, MOST_AZIMUTHS)):
        there = _tilted(s, e, terms, s.azimuth_rad + n * s.azimuth_step_rad)
        light += squared(there) * (n < s.azimuths)
    return per_particle(s, light / s.azimuths) + with_disorder(s, e, grid)


def per_particle(s: Columns, light: torch.Tensor) -> torch.Tensor:
    """[B H W] light of a block as a particle's share."""
    return light / (s.cells.prod(1) * s.site.sum(1))[:, None, None]


def centred_amplitude(s: Columns, grid: Grid) -> torch.Tensor:
    """[B A 4 P] mean amplitude of the particles that know the lattice, with phases counted from the middle of the block, where
    sums over it are real, and smooth enough to be looked up."""
    return _known(s, grid) * _weight(s, grid)[..., None]


def _known(s: Columns, grid: Grid) -> torch.Tensor:
    """The same without the weights of the terms."""
    if not any_of((s.disorder_m > 0) | (s.strewn > 0)):
        return grid.mean
    return grid.mean * (damping(s, grid) * (1 - s.strewn)).sqrt()[:, :, None]


def _weight(s: Columns, grid: Grid) -> torch.Tensor:
    """[B A 4] weights of the terms, with the phase of the middle of the block."""
    ends = (s.cells - 1)[..., None] * s.cell_m
    lift = (s.base_m + s.radius_m * s.tall)[:, 0] + ends[..., 2].abs().sum(1)[:, None] / 2
    return grid.weight * waved(grid.q_z * lift[..., None])


def with_disorder(s: Columns, e: Exits, grid: Grid) -> torch.Tensor:
    """[B H W] light of what knows no lattice, or nothing."""
    if not some_disorder(s):
        return torch.zeros(())
    return on_grid(disordered(s, grid, mean_amplitude(grid), damping(s, grid)), e)[:, 0]


class Terms(NamedTuple):
    """What no azimuth changes of a block: `wave` [B 4 H W] the amplitude of a particle by each of the four terms, `q_z` the same
    of these; `rise` the phase [B 4 H W] from cell to cell along each edge that leaves the surface, by its number."""

    wave: torch.Tensor
    q_z: torch.Tensor
    rise: dict[int, torch.Tensor]


def _terms(s: Columns, e: Exits, grid: Grid) -> Terms:
    q_z = torch.stack(_pixel_q_z(s, e), 1)
    real, imag = _waves_on_grid(centred_amplitude(s, grid).transpose(1, 2), e)
    wave = torch.complex(real.contiguous(), imag.contiguous())
    return Terms(wave, q_z, {n: plain(s, q_z) * _up(s.cell_m, n) for n in range(3) if any_of(s.cell_m[:, n, 2] != 0)})


def _tilted(s: Columns, e: Exits, terms: Terms, azimuth_rad: torch.Tensor) -> torch.Tensor:
    """[B H W] amplitude of a parallelepiped with faces at any angle to the surface."""
    flat, steep = torch.ones(()), terms.wave
    for n in range(3):
        turn, number = along(e, s.cell_m[:, n], azimuth_rad), s.cells[:, n, None, None]
        turn = turn + s.edge_rad if n == 1 else turn
        if n in terms.rise:
            steep = steep * ratio(turn[:, None] + terms.rise[n], number[:, None])
        else:  # an edge in the surface knows no qz
            flat = flat * ratio(turn, number)
    if (sites := highest(s.site.sum(1), SITES)) > 1:  # a lone particle lies at the corner of its cell
        turns = [along(e, s.site_m[:, n], azimuth_rad)[:, None] + terms.q_z * _up(s.site_m, n) for n in range(sites)]
        steep = steep * sum(s.site[:, n, None, None, None] * waved(turn) for n, turn in enumerate(turns))
    return steep.sum(1) * flat


def _up(vectors_m: torch.Tensor, n: int) -> torch.Tensor:
    return vectors_m[:, n, 2, None, None, None]


def _upright(s: Columns, e: Exits, grid: Grid) -> torch.Tensor:
    """[B H W] light of a block with two sides in the surface, the third along the normal."""
    up = _weight(s, grid) * ratio(plain(s, grid.q_z * s.cell_m[:, 2, 2, None, None]), s.cells[:, 2, None, None])
    levels = _levels(s)
    lifts = torch.stack([up * waved(grid.q_z * s.site_m[:, level[0], 2, None, None]) for level in levels], 2)
    lifted = _waves_on_grid((lifts @ _known(s, grid)).transpose(1, 2), e)
    real, imag = torch.zeros(()), torch.zeros(())
    for n, level in enumerate(levels):
        (a, b), (cosine, sine) = (part[:, n] for part in lifted), _turned(s, e, level)
        real, imag = real + (a * cosine + b * sine), imag + (b * cosine - a * sine)
    sides = [ratio(along(e, s.cell_m[:, n], s.azimuth_rad), s.cells[:, n, None, None]) for n in (0, 1)]
    return (real.square() + imag.square()) * (sides[0] * sides[1]).square()


def _levels(s: Columns) -> list[list[int]]:
    """Sites of a cell by their height: those of one share the waves that rise so far."""
    levels: list[list[int]] = []
    for n in range(highest(s.site.sum(1), SITES)):
        for level in levels:
            if not any_of(s.site_m[:, level[0], 2] != s.site_m[:, n, 2]):
                level.append(n)
                break
        else:
            levels.append([n])
    return levels


def _turned(s: Columns, e: Exits, level: Sequence[int]) -> tuple[torch.Tensor, torch.Tensor]:
    """[B H W] sums of cosines and of sines of the phases in the surface over the sites of a level."""
    turns = [(along(e, s.site_m[:, n], s.azimuth_rad), s.site[:, n, None, None]) for n in level]
    cosines, sines = ([wave(turn) * there for turn, there in turns] for wave in (torch.cos, torch.sin))
    return sum(cosines[1:], cosines[0]), sum(sines[1:], sines[0])


def _waves_on_grid(wave: torch.Tensor, e: Exits) -> tuple[torch.Tensor, torch.Tensor]:
    """Complex maps [B C A P] at the pixels, real and imaginary parts [B C H W]."""
    real, imag = on_grid(torch.cat([wave.real, wave.imag], 1), e).chunk(2, 1)
    return real, imag


def plain(s: Columns, q_z: torch.Tensor) -> torch.Tensor:
    """qz without its imaginary part where there is no film to absorb: real sines are ten times as quick."""
    return q_z if any_of(s.film_m > 0) else q_z.real


def _pixel_q_z(s: Columns, e: Exits) -> list[torch.Tensor]:
    k = 2 * torch.pi / s.wavelength_m
    sine = (e.up / torch.sqrt(1 + e.up**2 + e.across**2)).clamp(min=1e-6)
    into, out = (film_wavevector(k, v, s.film_delta, s.film_beta, s.film_m) for v in (torch.sin(s.incidence_rad), sine))
    return [out + into, out - into, into - out, -out - into]


def along(e: Exits, vector: torch.Tensor, azimuth_rad: torch.Tensor) -> torch.Tensor:
    """[B H W] the phase in the surface of `vector` [B 3] of the crystal."""
    cos, sin, x, y = torch.cos(azimuth_rad), torch.sin(azimuth_rad), vector[:, 0, None, None], vector[:, 1, None, None]
    return e.q_x * (cos * x - sin * y) + e.q_y * (sin * x + cos * y)


def ratio(turn: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
    """sin(N x/2) / sin(x/2) at x = `turn`: the sum over `number` places of exp(-i n x), counted from their middle."""
    # Whole turns are taken off before they are multiplied, so that float32 holds what is left; two, as one changes the sign.
    real = turn.real if turn.is_complex() else turn
    half = torch.add(real / 2, (real * (0.25 / torch.pi)).round_(), alpha=-2 * torch.pi)
    if not turn.is_complex():
        # Even, and flat where all are in phase: no quotient of two zeros.
        half = half.abs_().clamp_(IN_PHASE, torch.pi - IN_PHASE)
        return torch.sin(half * number) / torch.sin(half)
    # Where light is swallowed, to move all alike would turn the wave by as much.
    half = torch.complex(half, turn.imag / 2)
    below = torch.sin(half)
    alike = below.abs() < IN_PHASE
    # There the ratio is the number, times the sign that the cosine has.
    near = number * (1 - 2 * (half.abs() > 1).to(number.dtype) * (1 - number % 2))
    return torch.where(alike, near, torch.sin(half * number) / torch.where(alike, 1.0, below))

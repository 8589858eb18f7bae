"""Finite crystals at every azimuth: an in-plane powder of blocks, what published programs average over.

Blocks with two edges in the surface are stacks of equal layers: light gathers on the layer's rods, on each of which the stack has
a phase of its own. Blocks with one edge in the surface are stacks of rows, that light up in a few azimuths at each q.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import torch

from beamsight.physics.columns import Columns, highest
from beamsight.physics.crystals import SITES
from beamsight.physics.finite import centred_amplitude, per_particle, plain, ratio, with_disorder
from beamsight.physics.formfactors import waved
from beamsight.physics.grazing import Exits, Grid, amplitudes_on_grid, narrowest, on_grid, squared
from beamsight.physics.rods import cauchy

REACH = 20  # orders of rods along either edge
STEPS = 3  # entries of a rod's table a pixel


def turned_stack(s: Columns, e: Exits) -> torch.Tensor:
    """[B H W] light of blocks with two edges in the surface; columns of Film."""
    grid = amplitudes_on_grid(s, e)
    each = centred_amplitude(s, grid)
    rods, turn, count = _rods(s, e.reach)
    rows = squared(_stacked(s, grid, each, rods, turn)) * count
    q = torch.linspace(0, 1, STEPS * max(e.q_par.shape[1:])) * e.reach[:, None]
    wide = torch.hypot(1 / s.domain_m[:, 0], narrowest(s, e))
    table = cauchy(q[:, None], rods[..., None], 1 / wide[..., None]) / s.area_m2
    light = on_grid((rows @ table)[:, None], e)[:, 0] / (s.cells[:, 2, None, None] * s.site.sum(1)[:, None, None])
    return light + with_disorder(s, e, grid)


def _rods(s: Columns, reach: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """|G| [B R] of the layer's rods, rad/m, [B R 2] themselves, and [B 1 R] which of them a detector sees."""
    n = torch.arange(-REACH, REACH + 1, dtype=torch.float32)
    orders = torch.cartesian_prod(n, n)
    (ax, ay), (bx, by) = s.cell_m[:, 0, :2].T, s.cell_m[:, 1, :2].T
    scale = 2 * torch.pi / (ax * by - ay * bx)
    base = torch.stack([torch.stack([by, -bx], 1), torch.stack([-ay, ax], 1)], 1) * scale[:, None, None]
    turn = orders @ base
    rods = torch.linalg.vector_norm(turn, dim=2)
    seen = rods < 1.03 * reach[:, None]
    if not seen.is_meta:
        some = seen.any(0)
        rods, turn, seen = rods[:, some], turn[:, some], seen[:, some]
    return rods, turn, seen[:, None].float()


def _stacked(s: Columns, grid: Grid, each: torch.Tensor, rods: torch.Tensor, turn: torch.Tensor) -> torch.Tensor:
    """[B A R] amplitude of a stack on its rods: the sum over layers and sites, of all four terms."""
    step = (turn * s.cell_m[:, None, 2, :2]).sum(2)[:, None]
    place = (rods / grid.q[:, -1:] * (grid.q.shape[1] - 1)).round().long().clamp(max=grid.q.shape[1] - 1)
    total = torch.zeros(1, dtype=torch.complex64)
    sites = highest(s.site.sum(1), SITES)
    within = [(turn * s.site_m[:, None, n, :2]).sum(2)[:, None] for n in range(sites)]
    for t in range(4):
        q_z = plain(s, grid.q_z[:, :, t, None])
        wave = each[:, :, t].gather(2, place[:, None].expand(-1, each.shape[1], -1))
        wave = wave * ratio(step + q_z * s.cell_m[:, 2, 2, None, None], s.cells[:, 2, None, None])
        if sites > 1:
            heights = [s.site_m[:, n, 2, None, None] for n in range(sites)]
            wave = wave * sum(s.site[:, n, None, None] * waved(within[n] + q_z * z + 0j) for n, z in enumerate(heights))
        total = total + wave
    return total


def turned_block(s: Columns, e: Exits) -> torch.Tensor:
    """[B H W] light of parallelepipeds whose third edge lies in the surface and the others anywhere; columns of Film.

    A row of N cells along c is in phase only where q c = 2 pi l: of a turn about the normal these azimuths remain, two an
    order, each with N / (q c sin) of the light, sin of the angle between q and c.
    """
    grid = amplitudes_on_grid(s, e)
    each = centred_amplitude(s, grid)
    q = torch.linspace(0, 1, max(e.q_par.shape[1:])) * e.reach[:, None]
    wave = each[..., (torch.linspace(0, 1, q.shape[1]) * (each.shape[3] - 1)).round().long()]
    row, number = s.cell_m[:, 2, :2], s.cells[:, 2, None]
    phase = (q * torch.linalg.vector_norm(row, dim=1)[:, None]).clamp(min=1e-6)
    along = torch.atan2(row[:, 1], row[:, 0])[:, None]
    light = torch.zeros(1)
    for order in range(-orders_in(phase), orders_in(phase) + 1):
        cosine = 2 * torch.pi * order / phase
        turn = torch.acos(cosine.clamp(-1, 1))
        share = (number / (phase * torch.sin(turn)).clamp(min=1e-6)).minimum(number**2 / 2) * (cosine.abs() < 1)
        for side in (-1, 1):
            light = light + share[:, None] * squared(_leaning(s, grid, wave, q, along + side * turn))
    return per_particle(s, on_grid(light[:, None], e)[:, 0]) + with_disorder(s, e, grid)


def orders_in(phase: torch.Tensor) -> int:
    """How many orders of a row fit into its largest phase."""
    return REACH if phase.is_meta else min(REACH, int(phase.max() / (2 * torch.pi)))


def _leaning(s: Columns, grid: Grid, wave: torch.Tensor, q: torch.Tensor, azimuth: torch.Tensor) -> torch.Tensor:
    """[B A Q] amplitude of the sums along the first two edges, at q in one azimuth [B Q] each."""
    total = torch.zeros(1)
    for t in range(4):
        q_z, part = plain(s, grid.q_z[:, :, t, None]), wave[:, :, t]
        for n in (0, 1):
            turn = q * (torch.cos(azimuth) * s.cell_m[:, n, :1] + torch.sin(azimuth) * s.cell_m[:, n, 1:2])
            part = part * ratio(turn[:, None] + q_z * s.cell_m[:, n, 2, None, None], s.cells[:, n, None, None])
        total = total + part
    return total

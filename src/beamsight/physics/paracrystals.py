"""Ideal paracrystals: layers whose cells vary from neighbour to neighbour, along either edge by themselves."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import torch

TURNS = 512  # over half a turn; the other half is the same


def paracrystal(
    q: torch.Tensor, cell: torch.Tensor, displaced: torch.Tensor, length: torch.Tensor, parts: torch.Tensor, kinds: int
) -> torch.Tensor:
    """[B C T] structure factor at `q` [B T] of those turned at random, as rods of each of `kinds` classes share it.

    `cell` [B 3 2] m: both edges of a layer's cell and the step to the next layer, `displaced` [B] m root mean square by which
    an edge varies along each axis, `length` [B] m over which order decays besides, `parts` [B] of a cell that the step has.
    The product of two chains, each sum_n p^|n| exp(i n q a) with p = exp(-q^2 displaced^2 / 2 - |a| / length): R. Hosemann,
    S. N. Bagchi, Direct Analysis of Diffraction by Matter (1962). Lines of light lead from rod to rod, as no lattice has them.
    """
    turn = (torch.arange(TURNS, dtype=q.dtype) + 0.5) * (torch.pi / TURNS)
    along = cell @ torch.stack([torch.cos(turn), torch.sin(turn)])
    edge = torch.linalg.vector_norm(cell[:, :2], dim=2)
    lost = 0.5 * (q * displaced[:, None])[:, None] ** 2 + (edge / length[:, None])[..., None]
    less, kept = -torch.expm1(-lost)[..., None], torch.exp(-lost)[..., None]
    # |1 - p exp(i x)|^2, written without what cancels where p is nearly 1.
    apart = less**2 + 4 * kept * torch.sin(0.5 * q[:, None, :, None] * along[:, :2, None]) ** 2
    both = (less * (1 + kept) / apart).prod(1)
    beside = (both * torch.cos(q[..., None] * along[:, 2, None])).mean(2)
    return shared(both.mean(2), beside, parts, kinds)


def shared(all_: torch.Tensor, beside: torch.Tensor, parts: torch.Tensor, kinds: int) -> torch.Tensor:
    """[B C P] of light whose mean over azimuths is `all_` [B P], and `beside` with the phase of a step to the next layer, the
    share that has the phases of rods of each class."""
    n = torch.arange(kinds)[:, None]
    parts = parts[:, None, None]
    share: torch.Tensor = (all_[:, None] + (parts * (n == 0) - 1) * beside[:, None]) / parts * (n < parts)
    return share

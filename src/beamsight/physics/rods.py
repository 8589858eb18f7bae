"""How light spreads about the reciprocal rods of layers that are turned at random about the surface's normal."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import torch

from beamsight.physics.columns import any_of

# Complete elliptic integral of the second kind by Abramowitz and Stegun 17.3.36, right to 2e-8; from m1 up, m1 = 1 - m.
SMOOTH = (1.0, 0.44325141463, 0.06260601220, 0.04757383546, 0.01736506451)
LOGARITHMIC = (0.0, 0.24998368310, 0.09200180037, 0.04069697526, 0.00526449639)


def elliptic_e(m1: torch.Tensor) -> torch.Tensor:
    """E(m) = integral of sqrt(1 - m sin^2 t) over a quarter turn, at m = 1 - `m1`, 0 < m1 <= 1."""
    smooth, logarithmic = torch.full_like(m1, SMOOTH[-1]), torch.full_like(m1, LOGARITHMIC[-1])
    for a, b in zip(SMOOTH[-2::-1], LOGARITHMIC[-2::-1], strict=True):
        smooth, logarithmic = smooth * m1 + a, logarithmic * m1 + b
    return smooth - logarithmic * torch.log(m1)


def cauchy(q: torch.Tensor, rod: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
    """2 pi w^2 (1 + w^2 |q - G|^2)^-3/2 averaged over the directions of G, |G| = `rod`, w = `length` over which order decays as
    exp(-r/w): its plane's integral is (2 pi)^2. Any one unit of length."""
    near, far = 1 + (length * (q - rod)) ** 2, 1 + (length * (q + rod)) ** 2
    return 4 * length**2 * elliptic_e(near / far) / (near * far.sqrt())


def gauss(q: torch.Tensor, rod: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
    """2 pi w^2 exp(-w^2 |q - G|^2 / 2) averaged over the directions of G: order decays as exp(-r^2 / (2 w^2))."""
    bent: torch.Tensor = torch.special.i0e(length**2 * q * rod)
    return 2 * torch.pi * length**2 * torch.exp(-0.5 * (length * (q - rod)) ** 2) * bent


def interference(
    q: torch.Tensor, rod: torch.Tensor, count: torch.Tensor, length: torch.Tensor, area: torch.Tensor, gaussian: torch.Tensor
) -> torch.Tensor:
    """[B C T] structure factor of the rods of each class at `q` [B T], which is 1 far from all order.

    `rod` [B R] rad/m, `count` [B R C] how many of each class, `length` [B R] m of the order that each sees, `area` [B] m^2 of a
    cell, `gaussian` [B] 1 for that decay of order, 0 for Cauchy's.
    """
    at = (q[:, None], rod[..., None], length[..., None])
    some, none = any_of(gaussian > 0), any_of(gaussian == 0)
    if some and none:
        profile = torch.where(gaussian[:, None, None] > 0, gauss(*at), cauchy(*at))
    else:
        profile = gauss(*at) if some else cauchy(*at)
    return count.transpose(1, 2) @ profile / area[:, None, None]


def averaged(table: torch.Tensor, entries: torch.Tensor, beyond: int) -> torch.Tensor:
    """`table` [B C T] as the mean over `entries` [B] of it around each, which may be no whole number, at most 2 `beyond`;
    values go on past either end as their mirror image."""
    padded = torch.nn.functional.pad(table.double(), (beyond, beyond), mode="reflect")
    sums = torch.nn.functional.pad(padded.cumsum(2), (1, 0))

    def up_to(offset: torch.Tensor) -> torch.Tensor:
        place = (torch.arange(table.shape[2]) + beyond + 0.5 + offset[:, None])[:, None].expand_as(table)
        lower = place.long().clamp(max=sums.shape[2] - 2)
        return torch.lerp(sums.gather(2, lower), sums.gather(2, lower + 1), (place - lower).double())

    return ((up_to(entries / 2) - up_to(-entries / 2)) / entries[:, None, None]).to(table)

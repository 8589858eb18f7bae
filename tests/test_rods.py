"""Rods spread as their order decays: averages over directions, done once by sums and once in closed form."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import ellipe

from beamsight.physics.crystals import layer, rods
from beamsight.physics.rods import averaged, cauchy, elliptic_e, gauss, interference

Q = torch.linspace(0, 2, 41, dtype=torch.float64)


def test_elliptic_integral() -> None:
    m1 = torch.logspace(-8, 0, 200, dtype=torch.float64)
    assert np.allclose(elliptic_e(m1), ellipe(1 - m1.numpy()), atol=3e-8)


@pytest.mark.parametrize(("rod", "length"), [(0.0, 12.0), (0.4, 12.0), (1.3, 40.0)])
def test_averages_over_directions(rod: float, length: float) -> None:
    turn = (np.arange(20000) + 0.5) / 20000 * np.pi
    square = Q.numpy()[:, None] ** 2 + rod**2 - 2 * Q.numpy()[:, None] * rod * np.cos(turn)
    sums = [
        (2 * np.pi * length**2 * (1 + length**2 * square) ** -1.5).mean(1),
        (2 * np.pi * length**2 * np.exp(-(length**2) * square / 2)).mean(1),
    ]
    at = (Q, torch.tensor(rod, dtype=torch.float64), torch.tensor(length, dtype=torch.float64))
    for found, expected in zip((cauchy(*at), gauss(*at)), sums, strict=True):
        assert np.allclose(found, expected, rtol=1e-5, atol=1e-7)


def test_each_profile_holds_a_reciprocal_cell() -> None:
    """The integral of a rod over its plane is (2 pi)^2."""
    q = torch.linspace(0, 4, 400001, dtype=torch.float64)
    for profile, missing in ((gauss, 1e-6), (cauchy, 1 / (60 * 4) * 1.2)):
        whole = torch.trapezoid(profile(q, torch.tensor(0.5, dtype=torch.float64), torch.tensor(60.0)) * 2 * torch.pi * q, q)
        # Cauchy's tail beyond the last q holds about 1 / (w q).
        assert abs(whole / (2 * torch.pi) ** 2 - 1) < missing


def test_far_from_order_the_structure_factor_is_one() -> None:
    """A square lattice whose order ends within a cell is none; rods are looked at well below the last."""
    rod, count = rods("Cubic100", layer("Cubic100", 1.0))
    found = interference(
        torch.linspace(5, 20, 50)[None], torch.tensor(rod)[None].float(), torch.tensor(count)[None].float(),
        torch.full((1, len(rod)), 0.25), torch.ones(1), torch.ones(1),
    )  # fmt: skip
    assert torch.allclose(found.sum(1), torch.ones(50), atol=0.01)


def test_means_over_pixels_are_integrals() -> None:
    """Of a Cauchy line thinner than a pixel, whose integral is an arc tangent; mirrored at zero."""
    q = torch.linspace(0, 1, 1001, dtype=torch.float64)
    width, middle, wide = 0.01, 0.3, torch.tensor([0.05, 0.0333], dtype=torch.float64)
    line = width / ((q - middle) ** 2 + width**2)
    found = averaged(line.expand(2, 1, -1), wide * 1000, 30)[:, 0]
    for n, w in enumerate(wide):
        ends = [torch.atan((q - middle + sign * w / 2) / width) for sign in (1, -1)]
        inner = slice(30, -30)
        assert torch.allclose(found[n, inner], ((ends[0] - ends[1]) / w)[inner], rtol=2e-3)
    edge = torch.trapezoid(line[:26], q[:26]) / q[25]
    assert abs(found[0, 0] / edge - 1) < 2e-3

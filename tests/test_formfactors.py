"""Form factors are the integrals that they stand for, also where the film absorbs, and their own volumes at q = 0."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import numpy as np
import pytest
import torch

from beamsight.physics import formfactors
from beamsight.physics.formfactors import BALL, ROUND, SQUARE, sliced

Q_PAR = torch.tensor([0.0, 0.37, 1.6])
Q_Z = torch.tensor([0.0, 0.05 + 0.02j, -0.6 + 0.1j, 1.4, 2.2 + 0.01j])
RADIUS = 6.0


def integral(shape: int, tall: float, taper: float, q_par: float, q_z: complex, steps: int = 300) -> complex:
    """Midpoint sums over slices, and over x, y of each slice's outline, q along many directions where it is a square."""
    height = 2 * RADIUS * tall
    z = (np.arange(steps) + 0.5) / steps * height
    if shape == BALL:
        wide = np.sqrt(RADIUS**2 - (z - (height - RADIUS)) ** 2)
    else:
        wide = RADIUS * (1 - taper * z / height)
    u = (np.arange(steps) + 0.5) / steps * 2 - 1
    x = wide[:, None] * u
    if shape == SQUARE:
        turn = (np.arange(24) + 0.5) / 24 * np.pi / 2
        side = [np.cos(x[..., None] * q_par * f(turn)).mean(1) for f in (np.cos, np.sin)]
        area = 4 * wide**2 * (side[0] * side[1]).mean(-1)
    else:
        area = (np.cos(q_par * x) * 2 * np.sqrt(1 - u**2)).mean(1) * 2 * wide**2
    return complex((area * np.exp(-1j * q_z * (z - height / 2))).sum() * height / steps)


@pytest.mark.parametrize(
    ("shape", "tall", "taper"),
    [(BALL, 1.0, 0.0), (BALL, 0.7, 0.0), (ROUND, 1.5, 0.0), (ROUND, 0.6, 0.8), (SQUARE, 1.0, 0.0), (SQUARE, 0.8, 0.5)],
)
def test_slices_are_the_integral(shape: int, tall: float, taper: float) -> None:
    one = [torch.tensor([float(v)]) for v in (shape, RADIUS, tall, taper)]
    there, back = sliced(Q_PAR[None], Q_Z[None], *one)
    volume = abs(integral(shape, tall, taper, 0.0, 0.0))
    for n, q_z in enumerate(Q_Z.tolist()):
        for m, q_par in enumerate(Q_PAR.tolist()):
            # Midpoint sums of 300 steps, whose outline ends like a root, are right to 5e-4 of the volume.
            assert abs(there[0, n, m].item() - integral(shape, tall, taper, q_par, q_z)) < 1e-3 * volume
            assert abs(back[0, n, m].item() - integral(shape, tall, taper, q_par, -q_z)) < 1e-3 * volume


def test_formulae_are_the_slices() -> None:
    ball = formfactors.sphere(Q_PAR, Q_Z[:, None], torch.tensor(RADIUS))
    rod = formfactors.cylinder(Q_PAR, Q_Z[:, None], torch.tensor(RADIUS), torch.tensor(18.0))
    for found, shape, tall in ((ball, BALL, 1.0), (rod, ROUND, 1.5)):
        slices = sliced(Q_PAR[None], Q_Z[None], *(torch.tensor([float(v)]) for v in (shape, RADIUS, tall, 0)))[0][0]
        assert torch.allclose(found, slices, atol=1e-4 * found.abs().max().item())


def test_slices_hold_particles_of_forty_nanometres() -> None:
    """To q_z = 2.5 / nm the phase turns over 100 rad, 16 times."""
    q_z, big = torch.linspace(0, 2.5, 40) + 0j, torch.tensor(20.0)
    slices = sliced(Q_PAR[None], q_z[None], *(torch.tensor([float(v)]) for v in (BALL, 20, 1, 0)))[0][0]
    found = formfactors.sphere(Q_PAR, q_z[:, None], big)
    assert (slices - found).abs().max() < 2e-5 * found.abs().max()


def test_volumes() -> None:
    zero, radius, height = torch.zeros(1), torch.tensor(3.0), torch.tensor(5.0)
    assert np.isclose(formfactors.sphere(zero, zero + 0j, radius).item().real, 4 / 3 * np.pi * 27)
    assert np.isclose(formfactors.cylinder(zero, zero + 0j, radius, height).item().real, np.pi * 45)
    assert np.isclose(formfactors.box(zero, zero, zero + 0j, radius, height).item().real, 180)


def test_a_box_turned_about_its_normal_is_the_square() -> None:
    turn = (torch.arange(200) + 0.5) / 200 * torch.pi / 2
    for q in Q_PAR.tolist():
        turned = formfactors.box(
            q * torch.cos(turn), q * torch.sin(turn), Q_Z[3], torch.tensor(RADIUS), torch.tensor(12.0)
        ).mean()
        one = sliced(torch.tensor([[q]]), Q_Z[None, 3:4], *(torch.tensor([float(v)]) for v in (SQUARE, RADIUS, 1, 0)))[0]
        assert abs(turned.item() - one.item()) < 1e-4 * 1728

"""Waves at a substrate are Fresnel's, at a film Parratt's; light leaves brightest at the critical angle."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import numpy as np
import torch

from beamsight.physics.fresnel import normal_wavevector, reflectivity, terms, waves

K = torch.tensor(2 * np.pi / 0.1, dtype=torch.float64)  # 1/nm at 12.4 keV
SINE = torch.linspace(1e-5, 0.01, 2000, dtype=torch.float64)
SILICON = (torch.tensor(2.9e-6, dtype=torch.float64), torch.tensor(3e-8, dtype=torch.float64))
NOTHING = tuple(torch.tensor(v, dtype=torch.float64) for v in (0.0, 0.0, 0.0))


def film(thick_nm: float) -> tuple[torch.Tensor, ...]:
    return tuple(torch.tensor(v, dtype=torch.float64) for v in (1.5e-6, 1e-8, thick_nm))


def test_a_bare_substrate_is_fresnels() -> None:
    found = waves(K, SINE, NOTHING, SILICON)
    kz, below = K * SINE, normal_wavevector(K, SINE, *SILICON)
    assert torch.allclose(found.down, torch.ones_like(found.down))
    assert torch.allclose(found.up, (kz - below) / (kz + below))
    assert torch.allclose(reflectivity(K, SINE, NOTHING, SILICON), found.up.abs() ** 2)


def test_nothing_is_lost_without_absorption() -> None:
    delta, none = SILICON[0], torch.zeros_like(SILICON[0])
    share = reflectivity(K, SINE, (film(20)[0], none, film(20)[2]), (delta, none))
    assert torch.allclose(share[(2 * delta).sqrt() > SINE], torch.ones(1, dtype=torch.float64))
    assert (share[(2 * delta).sqrt() * 1.01 < SINE] < 1).all()


def test_a_film_of_the_substrates_matter_is_the_substrate() -> None:
    same = waves(K, SINE, (*SILICON, torch.tensor(30.0, dtype=torch.float64)), SILICON)
    assert torch.allclose(same.up.abs(), torch.zeros_like(SINE), atol=1e-12)
    thin = waves(K, SINE, (*SILICON, torch.tensor(0.0, dtype=torch.float64)), SILICON)
    assert torch.allclose(thin.down, 1 + waves(K, SINE, NOTHING, SILICON).up)


def test_films_fit_together_at_their_surfaces() -> None:
    """The field and its slope are the same above and below the film's surface and the substrate's: Maxwell's conditions."""
    thick = 37.0
    found, below = waves(K, SINE, film(thick), SILICON), normal_wavevector(K, SINE, *SILICON)
    at_top = [torch.exp(sign * 1j * found.kz * thick) for sign in (-1, 1)]
    field, slope = found.down * at_top[0] + found.up * at_top[1], found.kz * (found.down * at_top[0] - found.up * at_top[1])
    reflected = field - 1
    assert torch.allclose(slope, K * SINE * (1 - reflected))
    assert torch.allclose(reflected.abs() ** 2, reflectivity(K, SINE, film(thick), SILICON))
    through = found.down + found.up
    assert torch.allclose(found.kz * (found.down - found.up), below * through)


def test_light_leaves_brightest_at_the_critical_angle() -> None:
    """Yoneda, Phys. Rev. 131, 2010 (1963)."""
    # Absorption moves it up, by a hundredth for silicon.
    found = waves(K, SINE, NOTHING, (SILICON[0], SILICON[1] / 100))
    brightest = SINE[(found.down + found.up).abs().argmax()]
    assert abs(brightest / (2 * SILICON[0]).sqrt() - 1) < 0.005
    assert (found.down + found.up).abs().max() > 1.8


def test_four_terms_are_two_pairs() -> None:
    into, out = waves(K, SINE[700:701], film(50), SILICON), waves(K, SINE, film(50), SILICON)
    weight, q_z = terms(into, out)
    assert torch.allclose(weight.sum(-1), (into.down + into.up) * (out.down + out.up))
    assert torch.allclose(q_z[..., :2], -q_z[..., 2:].flip(-1))
    assert torch.allclose(q_z[700, 0], 2 * into.kz[0])

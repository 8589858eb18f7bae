"""Ideal paracrystals against sums over pairs of their particles, over azimuths in closed form."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.special import j0

from beamsight.physics import gisaxs
from beamsight.physics.crystals import LAYERINGS, NAMES, layer, step
from beamsight.physics.films import powder
from beamsight.physics.paracrystals import paracrystal
from beamsight.task import columns

Q, REACH = np.linspace(0.5, 20, 80), 60  # 1 / spacings; neighbours along either edge


def pairs(name: str, displaced: float, length: float, beside: bool) -> np.ndarray:
    """Mean over azimuths of the sum over pairs, of those whose second lies a step to the next layer further."""
    cell = layer(name, 1.0)
    n = np.arange(-REACH, REACH + 1)
    far = np.abs(n)[:, None] * (0.5 * (Q * displaced) ** 2 + np.linalg.norm(cell, axis=1)[:, None, None] / length)
    chain = np.exp(-far)
    place = np.stack(np.meshgrid(n, n, indexing="ij"), 2) @ cell + beside * step(name, cell)
    return np.einsum("iq,jq,ijq->q", *chain, j0(np.linalg.norm(place, axis=2)[..., None] * Q))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("displaced", "length"), [(0.0, 3.0), (0.06, 5.0)])
def test_a_product_of_chains_is_a_sum_over_pairs(name: str, displaced: float, length: float) -> None:
    parts, cell = LAYERINGS[name].parts, layer(name, 1.0)
    edges = torch.tensor(np.vstack([cell, step(name, cell)]))[None]
    given = (torch.tensor(Q)[None], edges, torch.tensor([displaced]), torch.tensor([length]), torch.tensor([parts]))
    found = paracrystal(*given, 3)[0].numpy()
    assert found.sum(0) == pytest.approx(pairs(name, displaced, length, False), rel=2e-3, abs=2e-3)
    assert not found[parts:].any()
    phases = np.exp(2j * np.pi * np.arange(3) / parts)[:, None]
    assert (found * phases).sum(0).real == pytest.approx(pairs(name, displaced, length, True), rel=2e-3, abs=2e-3)


def test_strong_ones_know_no_order_far_out() -> None:
    cell = torch.tensor(np.vstack([layer("HCP", 1.0), step("HCP", layer("HCP", 1.0))]))[None]
    found = paracrystal(
        torch.linspace(30, 40, 20)[None], cell.float(), torch.tensor([0.2]), torch.tensor([20.0]), torch.tensor([3]), 3
    )
    assert torch.allclose(found.sum(1), torch.ones(20), atol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_a_nearly_perfect_one_is_a_lattice(name: str) -> None:
    """Chains and Cauchy's decay spread rods differently, about the same places and heights."""
    film = powder(name, 15e-9, 5, domain_m=1.5e-7, paracrystal=1e-4, substrate_delta=0.0, substrate_beta=0.0)
    light = gisaxs.render(columns([film, replace(film, ideal=1)]), (60, 60)).double().numpy()
    logs = np.log(np.maximum(light / light.max((1, 2), keepdims=True), 1e-5)).reshape(2, -1)
    assert np.corrcoef(logs)[0, 1] > 0.97
    strong = gisaxs.render(columns([replace(film, ideal=1, paracrystal=0.08)]), (60, 60))[0].double().numpy()
    assert np.corrcoef(np.log(np.maximum(strong / strong.max(), 1e-5)).ravel(), logs[0])[0, 1] < 0.97

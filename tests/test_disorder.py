"""Light of particles that are displaced, above one another together or each alone, against draws of such columns."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from beamsight.physics import crystals, gisaxs
from beamsight.physics.crystals import NAMES
from beamsight.physics.films import Film, powder
from beamsight.physics.formfactors import sphere
from beamsight.task import columns
from directions import directions, transfer

SPACING_M, SHAPE, DRAWS = 15e-9, (40, 24), 2000


def column(name: str, layers: int) -> np.ndarray:
    """[L 3] m, particles above one another, each beside the nearest one below."""
    kind, cell = crystals.LAYERINGS[name], crystals.layer(name, SPACING_M)
    steps = np.array([(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1)]) + np.array(kind.shift) / kind.parts
    step = min(steps @ cell, key=np.linalg.norm)
    # ABC turns about one particle: its third layer lies as far from either of the others.
    turned = np.array([[-0.5, -(3**0.5) / 2], [3**0.5 / 2, -0.5]])
    beside = [np.zeros(2), step, step @ turned.T + step] if kind.repeat == 3 else [np.zeros(2), step]
    return np.array([[*beside[n % kind.repeat], n * crystals.layer_height_m(name, SPACING_M)] for n in range(layers)])


def diffuse(film: Film, places_m: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mean over draws of |sum|^2 less |mean sum|^2, at every azimuth, without substrate: one wave in, one out."""
    up, q = directions(film, SHAPE)[2], transfer(film, SHAPE).reshape(3, -1)
    spread = film.disorder_m * np.array([film.common, 1 - film.common]) ** 0.5
    moved = spread[0] * rng.normal(size=(DRAWS, 1, 3)) + spread[1] * rng.normal(size=(DRAWS, len(places_m), 3))
    turn = rng.uniform(0, 2 * np.pi, DRAWS)
    x, y = places_m[:, 0], places_m[:, 1]
    at = np.stack([np.outer(np.cos(turn), x) - np.outer(np.sin(turn), y), np.outer(np.sin(turn), x) + np.outer(np.cos(turn), y),
                   np.broadcast_to(places_m[:, 2], (DRAWS, len(places_m)))], 2)  # fmt: skip
    still = np.exp(-1j * at @ q).sum(1) * np.exp(-(film.disorder_m**2) * (q**2).sum(0) / 2)
    total = (np.abs(np.exp(-1j * (at + moved) @ q).sum(1)) ** 2 - np.abs(still) ** 2).mean(0).reshape(SHAPE)
    body = sphere(torch.tensor(np.hypot(*q[:2]))[:, None], torch.tensor(q[2])[:, None] + 0j, torch.tensor(film.radius_m))
    return np.where(up > 0, total * np.abs(body.numpy()[:, 0].reshape(SHAPE)) ** 2, 0)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("common", [0.0, 0.7, 1.0])
def test_displacements_scatter_as_columns_that_are_drawn(name: str, common: float) -> None:
    film = powder(name, SPACING_M, 4, radius_m=4e-9, disorder_m=1.2e-9, common=common, substrate_delta=0.0, substrate_beta=0.0)
    film = replace(film, rod_count=np.zeros_like(film.rod_count))
    found = gisaxs.render(columns([film]), SHAPE)[0].double().numpy()
    expected = diffuse(film, column(name, 4), np.random.default_rng(7))
    expected *= found.mean() / expected.mean()
    bright = expected > 0.1 * expected.max()
    assert bright.sum() > 50
    assert np.sqrt(np.mean(np.log(found[bright] / expected[bright]) ** 2)) < 0.05


def test_light_of_columns_has_the_layers_heights_at_every_place() -> None:
    bare = powder("FCC100", SPACING_M, 6, radius_m=1.5e-9, disorder_m=1.2e-9, substrate_delta=0.0, substrate_beta=0.0)
    bare = replace(bare, rod_count=np.zeros_like(bare.rod_count))
    frames = [gisaxs.render(columns([replace(bare, common=c)]), SHAPE)[0].numpy()[:30] for c in (0.0, 1.0)]
    bent = [np.abs(np.diff(np.log(frame), n=2, axis=0)).mean() for frame in frames]
    assert bent[1] > 3 * bent[0]


def test_an_empty_layer_is_none() -> None:
    film = powder("BCC100", SPACING_M, 4, domain_m=6e-8, disorder_m=5e-10, common=0.5)
    empty, fewer = (gisaxs.render(columns([replace(film, **c)]), SHAPE) for c in ({"filled": 0.0}, {"layers": 3}))
    torch.testing.assert_close(empty, fewer, rtol=1e-4, atol=1e-4)


def test_layers_off_their_places_are_summed_where_they_lie() -> None:
    """Without substrate one wave goes in and one comes out: the ratio to layers in their places is that of two sums."""
    rng = np.random.default_rng(3)
    film = powder("Cubic100", SPACING_M, 4, radius_m=2e-9, substrate_delta=0.0, substrate_beta=0.0)
    off = [rng.normal(0, 1e-9, film.above_m.shape) for _ in range(2)]
    plain, moved = gisaxs.render(columns([film, replace(film, above_m=off[0], beside_m=off[1])]), SHAPE).double().numpy()
    (q_x, q_y, q_z), n = transfer(film, SHAPE), np.arange(4)
    q_par = np.hypot(q_x, q_y)
    sums = [
        np.abs(np.exp(1j * (q_z[..., None] * (n * film.layer_m + above[0, :4]) + q_par[..., None] * beside[0, :4])).sum(2)) ** 2
        for above, beside in ((0 * off[0], 0 * off[1]), off)
    ]
    bright = (directions(film, SHAPE)[2] > 2 * film.side_rad / SHAPE[0]) & (sums[0] > 1) & (sums[1] > 1)
    ratio = moved[bright] / plain[bright] / (sums[1] / sums[0])[bright]
    assert bright.sum() > 200
    assert np.std(np.log(ratio)) < 0.1

"""Rendered patterns turn with their numbers, are round where they should be, and do not depend on company or size."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from beamsight.physics import azimuth
from beamsight.task import columns, example, find_task
from beamsight.tasks.scattering_tags.render import render
from beamsight.tasks.scattering_tags.scene import FOLDED, ISOTROPIC, ORDERS, SPOTS, SYSTEMS, Pattern

TASK = find_task("scattering-tags")


def pattern(**numbers) -> Pattern:
    """A pattern about the frame's middle, with the named parts alone."""
    empty = {
        "ring_ph": np.zeros((SYSTEMS, ORDERS)),
        "ring_q": np.full((SYSTEMS, ORDERS), 1e9),
        "ring_sd": np.full((SYSTEMS, ORDERS), 1e8),
        "ring_kind": np.zeros(SYSTEMS, int),
        "azimuth": np.ones((SYSTEMS, azimuth.STEPS)),
        "twist": np.zeros(SYSTEMS, int),
        **{f"spot_{n}": np.full(SPOTS, v) for n, v in (("ph", 0.0), ("y", 0.0), ("x", 0.0), ("sd_y", 0.01), ("sd_x", 0.01))},
    }
    return Pattern(1e-10, 2.0, 0.2, 0.5, 0.5, **(empty | numbers))


def ring(kind: int, table: np.ndarray) -> dict:
    ring_ph = np.zeros((SYSTEMS, ORDERS))
    ring_ph[0, 0] = 100.0
    return {
        "ring_ph": ring_ph,
        "ring_q": np.full((SYSTEMS, ORDERS), 1.6e9),
        "ring_sd": np.full((SYSTEMS, ORDERS), 2e8),
        "ring_kind": np.full(SYSTEMS, kind),
        "azimuth": np.stack([table] * SYSTEMS),
    }


def image(scene: Pattern, side: int = 256) -> np.ndarray:
    return render(columns([scene]), (side, side))[0].double().numpy()


def assert_same(a: np.ndarray, b: np.ndarray, rel: float) -> None:
    assert np.abs(a - b).max() <= rel * max(a.max(), b.max())


def test_a_turned_ring_is_a_turned_image() -> None:
    table = azimuth.fold(2, 0.6, 0.3) + azimuth.fold(4, 0.8, 1.0)
    turned = ring(FOLDED, np.roll(table, azimuth.STEPS // 4))
    # A quarter turn from +x towards +y: rot90 turns rows towards columns. Tables are looked up at whole degrees, where a pixel
    # half way between two may fall to either side: a degree of the steepest lobe.
    steepest = np.abs(np.diff(table)).max() / table.max()
    assert_same(image(pattern(**turned)), np.rot90(image(pattern(**ring(FOLDED, table))), -1), 1.1 * steepest)
    assert np.abs(image(pattern(**turned)) - image(pattern(**ring(FOLDED, table)))).max() > 50


def test_turned_diffuse_scattering_is_a_turned_image() -> None:
    low = {"low_ph": 10.0, "low_kind": 1, "low_length_m": 3e-9, "low_ratio": 2.5}
    upright = image(pattern(**low, low_angle=0.4))
    # float32 of sine, cosine and root.
    assert_same(image(pattern(**low, low_angle=0.4 + np.pi / 2)), np.rot90(upright, -1), 1e-5)
    assert np.abs(upright - np.rot90(upright)).max() > 0.1 * upright.max()


def test_isotropic_patterns_are_round() -> None:
    scene = pattern(
        **ring(ISOTROPIC, np.ones(azimuth.STEPS)),
        low_ph=20.0, high_ph=5.0, form_ph=30.0, form_radius_m=6e-9, sphere_fraction=0.3, sphere_radius_m=7e-9, flat_ph=2.0,
    )  # fmt: skip
    found = image(scene)
    for same in (np.rot90(found), np.rot90(found, 2), found.T, found[::-1]):
        # The same radius in the same table: rounding alone.
        assert_same(found, same, 1e-6)
    y, x = np.indices(found.shape) - 127.5
    order = np.argsort(np.hypot(y, x), axis=None, kind="stable")
    radius, light = np.hypot(y, x).ravel()[order], found.ravel()[order]
    # Pixels of one radius, (y, x) = (3, 4) and (0, 5) say, have one light.
    equal = np.isclose(radius[1:], radius[:-1], atol=1e-9)
    assert equal.sum() > 1000
    # Entries of the table are an eighth of a pixel apart; rounding of the radius may take the next one.
    assert np.abs(np.diff(light))[equal].max() < 0.02 * light.max()


def test_company_does_not_matter() -> None:
    scenes = [example(TASK, 2, i)[0] for i in range(12)]
    together = render(columns(scenes), (96, 96))
    for n, scene in enumerate(scenes):
        alone = render(columns([scene]), (96, 96))[0]
        # Sums over other neighbours are rounded in another order.
        assert torch.allclose(alone, together[n], rtol=1e-5, atol=1e-6)


def test_light_is_never_negative() -> None:
    light = render(columns([example(TASK, 4, i)[0] for i in range(40)]), (64, 64))
    assert torch.isfinite(light).all()
    assert (light >= 0).all()


def test_large_frames_show_the_same_after_binning() -> None:
    smooth = {"beam_ph": 0.0, "flare_ph": 0.0, "spot_layout": 0, "layer_ph": 0.0, "graze": 0}
    close = []
    for index in range(8):
        scene = replace(example(TASK, 6, index)[0], **smooth)
        # Arcs and grains are as narrow as the steps of their table, a degree, and have edges within a pixel.
        even = {"ring_sd": np.maximum(scene.ring_sd, 0.02 * scene.ring_q.max()), "ring_kind": np.full(SYSTEMS, ISOTROPIC)}
        scene = replace(scene, **even)
        small, large = image(scene, 250), image(scene, 1000)
        binned = large.reshape(250, 4, 250, 4).mean((1, 3))
        # Values at pixel centres against means over pixels: they differ where light bends within a pixel, about the beam.
        y, x = np.indices(small.shape)
        far = np.hypot(y + 0.5 - scene.centre_y * 250, x + 0.5 - scene.centre_x * 250) > 15
        close.append(np.median(np.abs(small / binned - 1)[far]))
        assert np.quantile(np.abs(small / binned - 1)[far], 0.95) < 0.05
    assert np.median(close) < 0.005

"""Gaps that no mask knows are found between chips with noise, and what merely caught no photon is left alone."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest

from beamsight.bundle import load
from beamsight.catalogue import layout
from beamsight.frame import Frame, Geometry
from beamsight.gaps import without_gaps

SHAPE = (500, 620)


def assembled(detector: str, level: float, read: float) -> tuple[np.ndarray, np.ndarray]:
    """Counts of noise on the chips of a detector, 0 between them, and where its chips are."""
    built, rng = layout(detector, "assembled"), np.random.default_rng(3)
    chips = np.zeros(built.shape, bool)
    for panel in built.panels:
        (y0, y1), (x0, x1) = ((round(v) for v in span) for span in ((panel.y0, panel.y1), (panel.x0, panel.x1)))
        chips[y0:y1, x0:x1] = True
    noise = rng.poisson(level, built.shape) + rng.normal(0, read, built.shape)
    return np.where(chips, noise, 0).astype(np.float32), chips


@pytest.mark.parametrize(("level", "read"), [(0.02, 0.3), (5.0, 0.1), (400.0, 0.2)])
def test_gaps_between_chips_are_found(level: float, read: float) -> None:
    image, chips = assembled("AGIPD 1M", level, read)
    found = without_gaps(image, np.ones(image.shape, bool))
    assert not (chips & ~found).any()
    assert (~found & ~chips).sum() > 0.9 * (~chips).sum()


def test_a_band_of_three_pixels_is_a_gap_and_one_of_two_is_not() -> None:
    image = np.random.default_rng(1).normal(20, 3, SHAPE).astype(np.float32)
    image[100:103], image[:, 300:302] = 0, 0
    found = without_gaps(image, np.ones(SHAPE, bool))
    assert np.array_equal(np.flatnonzero(~found.all(1)), [100, 101, 102])
    assert found.mean() > 0.99


@pytest.mark.parametrize("level", [1e-5, 1e-3, 0.05, 0.3, 1.0, 3.0])
def test_pixels_that_caught_no_photon_stay_trusted(level: float) -> None:
    image = np.random.default_rng(2).poisson(level, SHAPE).astype(np.float32)
    assert without_gaps(image, np.ones(SHAPE, bool)).all()


def test_dark_corners_of_a_counter_stay_trusted() -> None:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    light = 30 * np.exp(-np.hypot(y - 250, x - 310) / 40)
    image = np.random.default_rng(4).poisson(light).astype(np.float32)
    assert (image == 0).mean() > 0.3
    assert without_gaps(image, np.ones(SHAPE, bool)).mean() > 0.97


def test_a_mask_that_knows_its_gaps_is_kept() -> None:
    image = np.random.default_rng(5).normal(9, 1, SHAPE).astype(np.float32)
    image[200:220] = 0
    mask = image != 0
    image[300:310] = 0
    assert without_gaps(image, mask) is mask
    bad = np.random.default_rng(6).random(SHAPE) > 0.01
    assert not without_gaps(image, bad)[200:220].any()
    assert without_gaps(image, bad)[:190].sum() == bad[:190].sum()


def test_no_hit_is_seen_in_gaps_that_are_not_masked() -> None:
    image, chips = assembled("AGIPD 1M", 0.7, 0.23)
    frames = [Frame(image, mask, Geometry(image.shape), "dark") for mask in (np.ones(image.shape, bool), chips)]
    bare, masked = (a.probability["hit"] for a in load("xfel-hits").predict(frames))
    assert bare == pytest.approx(masked, abs=0.05)
    assert bare < 0.1

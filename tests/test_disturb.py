"""Each disturbance does to the counts what it says, and to nothing else."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beamsight.disturb import (
    DISTURBANCES,
    SALT_COUNTS,
    blur_px,
    centre_off_px,
    counting_k,
    cut_corners_deg,
    salt_and_pepper,
    turn_deg,
)
from beamsight.frame import Frame, Geometry

SIDE = 256


def frame(image: np.ndarray, centre: tuple[float, float] | None = (100.0, 140.0), mask: np.ndarray | None = None) -> Frame:
    image = np.asarray(image, np.float32)
    return Frame(image, np.ones(image.shape, bool) if mask is None else mask, Geometry(image.shape, centre_px=centre), "f")


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def level(counts: float) -> Frame:
    return frame(np.full((SIDE, SIDE), counts))


@pytest.mark.parametrize("name", DISTURBANCES)
def test_strength_zero_is_the_frame_itself(name: str) -> None:
    given_frame = frame(rng().poisson(3, (40, 50)))
    assert DISTURBANCES[name](given_frame, 0, rng()) is given_frame


@pytest.mark.parametrize("name", DISTURBANCES)
def test_key_and_original_stay_as_they_are(name: str) -> None:
    original = rng().poisson(30, (64, 64)).astype(np.float32)
    before = original.copy()
    after = DISTURBANCES[name](frame(original), 0.04 if "salt" in name else 3, rng())
    assert after.key == "f"
    assert after.image.dtype == np.float32
    assert np.array_equal(original, before)


@pytest.mark.parametrize("k", [10, 100, 1000])
def test_counts_drawn_anew_have_the_mean_and_variance_of_a_poisson_distribution(k: float) -> None:
    drawn = counting_k(level(20_000), k, rng()).image
    mean = 20_000 / k
    # 65,536 pixels: standard errors of the mean sqrt(mean)/256, of the variance sqrt(2 + 1/mean) mean/256; five of each.
    assert drawn.mean() == pytest.approx(mean, abs=5 * np.sqrt(mean) / SIDE)
    assert drawn.var() == pytest.approx(mean, abs=5 * np.sqrt(2 + 1 / mean) * mean / SIDE)
    assert np.array_equal(drawn, np.rint(drawn))


def test_negative_counts_are_drawn_as_none() -> None:
    assert not counting_k(level(-5), 10, rng()).image.any()


@pytest.mark.parametrize("share", [0.005, 0.025, 0.05])
def test_the_share_of_salt_and_pepper(share: float) -> None:
    struck = salt_and_pepper(level(7), share, rng()).image
    salt, pepper = (struck == SALT_COUNTS).sum(), (struck == 0).sum()
    assert set(np.unique(struck)) == {0, 7, SALT_COUNTS}
    # A Poisson number, halved: five standard deviations.
    for found in (salt, pepper):
        assert found == pytest.approx(share / 2 * SIDE**2, abs=5 * np.sqrt(share / 2 * SIDE**2))


def test_a_share_of_all_pixels_strikes_no_pixel_twice() -> None:
    assert not (salt_and_pepper(level(7), 2.0, rng()).image == 7).any()


@settings(max_examples=20, deadline=None)
@given(st.floats(1, 6), st.integers(0, 10**6))
def test_blur_keeps_the_sum_and_spreads_by_its_sigma(sigma: float, seed: int) -> None:
    image = np.zeros((SIDE, SIDE))
    y, x = rng(seed).integers(60, SIDE - 60, 2)
    image[y, x] = 1000
    blurred = blur_px(frame(image), sigma, rng()).image.astype(float)
    assert blurred.sum() == pytest.approx(1000, rel=1e-4)
    rows = np.arange(SIDE) - y
    # A Gaussian sampled at whole pixels and cut off at 4 sigma: below 1 % of its variance for these widths.
    assert (blurred.sum(1) * rows**2).sum() / 1000 == pytest.approx(sigma**2, rel=0.02)


@settings(max_examples=30, deadline=None)
@given(st.floats(-360, 360))
def test_a_turned_spot_lies_where_the_turned_beam_says(angle: float) -> None:
    image = np.zeros((SIDE, SIDE))
    image[98:103, 138:143] = 1
    turned = turn_deg(frame(image, (100.0, 140.0)), angle, rng())
    y, x = np.nonzero(turned.image)
    assert (y.mean(), x.mean()) == pytest.approx(turned.geometry.centre_px, abs=0.5)


@pytest.mark.parametrize(("angle", "turns"), [(90, -1), (180, 2), (-90, 1), (270, 1)])
def test_quarter_turns_lose_nothing(angle: float, turns: int) -> None:
    image = rng().poisson(5, (64, 64)).astype(np.float32)
    mask = rng(1).random((64, 64)) < 0.9
    turned = turn_deg(frame(image, mask=mask), angle, rng())
    assert np.array_equal(turned.mask, np.rot90(mask, turns))
    assert np.array_equal(turned.image, np.rot90(image, turns))


@settings(max_examples=20, deadline=None)
@given(st.floats(1, 89))
def test_the_control_loses_the_pixels_that_the_turn_loses(angle: float) -> None:
    whole = level(1)
    turned, cut = turn_deg(whole, angle, rng()), cut_corners_deg(whole, angle, rng())
    assert cut.geometry == whole.geometry
    assert turned.mask.sum() == cut.mask.sum()
    # What is left is the overlap of two squares: at 45 degrees 2 (sqrt 2 - 1) = 0.83 of it, never less.
    assert turned.mask.mean() > 0.82
    assert not turned.image[~turned.mask].any()


@settings(max_examples=20, deadline=None)
@given(st.floats(0.1, 10), st.integers(0, 10**6), st.sampled_from([64, 256, 512]))
def test_the_told_centre_is_off_by_so_much(off: float, seed: int, side: int) -> None:
    told = centre_off_px(frame(np.zeros((side, side)), (30.0, 20.0)), off, rng(seed)).geometry.centre_px
    assert np.hypot(told[0] - 30, told[1] - 20) == pytest.approx(off * side / 256)


def test_one_direction_at_every_strength_and_none_without_a_centre() -> None:
    far, near = (centre_off_px(level(1), off, rng(3)).geometry.centre_px for off in (10, 5))
    np.testing.assert_allclose(np.subtract(far, (100, 140)), 2 * np.subtract(near, (100, 140)))
    unknown = frame(np.zeros((8, 8)), None)
    assert centre_off_px(unknown, 5, rng()).geometry.centre_px is None

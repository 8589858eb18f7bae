"""What holds for every frame, whatever its size: counts, masks and places survive being fitted."""

# SPDX-License-Identifier: BSD-3-Clause

from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from beamsight.errors import BadFrame, NoGeometry
from beamsight.frame import Frame, Geometry, Panel, fit

SIDES = st.integers(1, 70)
SIZES = st.integers(1, 40)
SEEDS = st.integers(0, 2**32 - 1)
GEOMETRY = Geometry((30, 40), pixel_m=1e-4, wavelength_m=1e-10, distance_m=2.0, centre_px=(12.25, 17.5))


def frame(image: NDArray[Any], mask: NDArray[np.bool_] | None = None, **where: Any) -> Frame:
    trust = np.ones(image.shape, bool) if mask is None else mask
    return Frame(image.astype(np.float32), trust, Geometry((image.shape[0], image.shape[1]), **where), "k")


def drawn(h: int, w: int, seed: int) -> Frame:
    rng = np.random.default_rng(seed)
    return frame(rng.poisson(20, (h, w)), rng.random((h, w)) < 0.8)


def bins(n: int, long_side: int, size: int) -> list[NDArray[np.int_]]:
    """The original pixels of each fitted one along a side, found the slow way."""
    fitted = max(1, round(n * size / long_side))
    if fitted >= n:
        return [np.array([i * n // fitted]) for i in range(fitted)]
    edges = [i * n // fitted for i in range(fitted)] + [n]
    return [np.arange(a, b) for a, b in pairwise(edges)]


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, SIZES, SEEDS)
def test_each_fitted_pixel_is_the_mean_of_the_trusted_ones_in_it(h: int, w: int, size: int, seed: int) -> None:
    original = drawn(h, w, seed)
    fitted = fit(original, size)
    assert fitted.image.shape == fitted.mask.shape == fitted.geometry.shape == (size, size)
    assert fitted.image.dtype == np.float32
    rows, columns = bins(h, max(h, w), size), bins(w, max(h, w), size)
    expected, trust = np.zeros((size, size)), np.zeros((size, size), bool)
    for i, ys in enumerate(rows):
        for j, xs in enumerate(columns):
            part = np.ix_(ys, xs)
            good = original.mask[part]
            trust[i, j] = good.sum() >= good.size / 2
            expected[i, j] = original.image[part][good].mean() if trust[i, j] else 0
    np.testing.assert_array_equal(fitted.mask, trust)
    np.testing.assert_allclose(fitted.image, expected, rtol=1e-5)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 12), st.integers(1, 6), SEEDS)
def test_counts_are_kept_where_bins_are_equal_and_all_is_trusted(size: int, ratio: int, seed: int) -> None:
    image = np.random.default_rng(seed).poisson(9, (size * ratio, size * ratio))
    assert fit(frame(image), size).image.sum() * ratio**2 == pytest.approx(image.sum(), rel=1e-5)


@settings(max_examples=40, deadline=None)
@given(SIDES, SIDES, SIZES, SEEDS)
def test_what_is_not_trusted_does_not_enter(h: int, w: int, size: int, seed: int) -> None:
    original = drawn(h, w, seed)
    for value in (1e9, np.nan, np.inf, -np.inf):
        changed = replace(original, image=np.where(original.mask, original.image, np.float32(value)).astype(np.float32))
        np.testing.assert_array_equal(fit(changed, size).image, fit(original, size).image)


@settings(max_examples=40, deadline=None)
@given(SIDES, SIDES, SIZES)
def test_padding_is_at_the_end_and_untrusted(h: int, w: int, size: int) -> None:
    fitted = fit(frame(np.ones((h, w))), size)
    rows, columns = len(bins(h, max(h, w), size)), len(bins(w, max(h, w), size))
    assert max(rows, columns) == size
    assert fitted.mask[:rows, :columns].all()
    assert fitted.mask.sum() == rows * columns
    np.testing.assert_array_equal(fitted.image, fitted.mask)


def test_infinities_among_trusted_pixels_lose_their_trust() -> None:
    image = np.ones((8, 8))
    image[0, 0], image[4:6, 4:6] = np.inf, np.nan
    fitted = fit(frame(image), 4)
    assert np.isfinite(fitted.image).all()
    assert np.argwhere(~fitted.mask).tolist() == [[2, 2]]


@pytest.mark.parametrize("size", [10, 20, 40, 80])
def test_q_of_a_fitted_geometry_is_q_of_the_original(size: int) -> None:
    square = replace(GEOMETRY, shape=(40, 40))
    fitted = fit(Frame(np.ones((40, 40), np.float32), np.ones((40, 40), bool), square, "k"), size).geometry
    q = square.q()
    if size >= 40:
        nearer = fitted.q().reshape(40, size // 40, 40, size // 40).mean(axis=(1, 3))
        np.testing.assert_allclose(nearer, q, atol=0.3 * (q[0, 1] - q[0, 0]).__abs__())
    else:
        ratio = 40 // size
        np.testing.assert_allclose(
            fitted.q(), q.reshape(size, ratio, size, ratio).mean(axis=(1, 3)), atol=ratio * abs(q[0, 1] - q[0, 0])
        )
        edge = np.hypot(*(np.indices((size, size)) - np.array(fitted.centre_px)[:, None, None])) > 3
        np.testing.assert_allclose(fitted.q()[edge], q.reshape(size, ratio, size, ratio).mean(axis=(1, 3))[edge], rtol=0.05)


@settings(max_examples=40, deadline=None)
@given(st.integers(8, 60), st.integers(8, 60), st.sampled_from([1, 2, 3, 5]))
def test_a_bright_pixel_stays_where_the_geometry_says(y: int, x: int, ratio: int) -> None:
    side = 64 * ratio
    image = np.zeros((side, side))
    place = slice(y * ratio, (y + 1) * ratio), slice(x * ratio, (x + 1) * ratio)
    image[place] = 1
    centre = (y * ratio + (ratio - 1) / 2, x * ratio + (ratio - 1) / 2)
    fitted = fit(frame(image, centre_px=centre, pixel_m=1e-4), 64)
    assert np.unravel_index(np.argmax(fitted.image), fitted.image.shape) == (y, x)
    assert fitted.geometry.centre_px == pytest.approx((y, x))
    assert fitted.geometry.pixel_m == pytest.approx(1e-4 * ratio)


def test_q_is_braggs_law() -> None:
    # A ring at two_theta = atan(r / distance) has d = wavelength / (2 sin(theta)), and q = 2 pi / d.
    geometry = replace(GEOMETRY, centre_px=(0.0, 0.0), distance_m=5e-3)
    two_theta = np.arctan(30 * 1e-4 / 5e-3)
    assert geometry.q()[0, 30] == pytest.approx(2 * np.pi / (1e-10 / (2 * np.sin(two_theta / 2))))
    assert geometry.q()[0, 0] == 0


def test_chi_grows_from_x_towards_y() -> None:
    chi = replace(GEOMETRY, centre_px=(10.0, 10.0)).chi()
    assert chi[10, 20] == 0
    assert chi[20, 10] == pytest.approx(np.pi / 2)
    assert chi[0, 10] == pytest.approx(-np.pi / 2)


def test_a_stack_of_panels_cut_from_one_plane_lies_as_that_plane_does() -> None:
    whole = replace(GEOMETRY, shape=(8, 10), centre_px=(3.25, -2.0))
    upper = Panel(0, 4, 0, 10, corner_px=(-3.25, 2.0))
    # The lower half is read out upside down and from right to left.
    lower = Panel(4, 8, 0, 10, corner_px=(3.75, 11.0), slow_px=(-1.0, 0.0), fast_px=(0.0, -1.0))
    stack = replace(whole, centre_px=None, panels=(upper, lower))
    turned = np.concatenate([whole.q()[:4], whole.q()[4:][::-1, ::-1]])
    np.testing.assert_allclose(stack.q(), turned, rtol=1e-12)
    assert np.isnan(replace(stack, panels=(upper,)).radius_px()[4:]).all()
    with pytest.raises(NoGeometry, match="no known place"):
        replace(stack, panels=(Panel(0, 8, 0, 10),)).q()


@pytest.mark.parametrize("missing", ["pixel_m", "wavelength_m", "distance_m", "centre_px"])
def test_q_of_an_incomplete_geometry_says_so(missing: str) -> None:
    with pytest.raises(NoGeometry, match="poni"):
        replace(GEOMETRY, **{missing: None}).q()


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), (0, 4), (4, 0)])
def test_a_frame_is_one_image(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadFrame):
        Frame(np.zeros(shape, np.float32), np.zeros(shape, bool), Geometry((4, 4)), "k")


def test_parts_of_different_shapes_are_named() -> None:
    with pytest.raises(BadFrame, match=r"\(4, 4\).*\(4, 5\).*\(6, 6\)"):
        Frame(np.zeros((4, 4), np.float32), np.zeros((4, 5), bool), Geometry((6, 6)), "k")

"""Pictures: masked pixels cannot be taken for data, and data outside the mask alone sets the colours."""

# SPDX-License-Identifier: BSD-3-Clause

import io

import numpy as np
import pytest
from PIL import Image

from beamsight.display import MASKED_RGB, VIRIDIS, colours, levels, picture, thumbnail
from beamsight.frame import Frame, Geometry, fit


def frame(image: np.ndarray, mask: np.ndarray | None = None) -> Frame:
    mask = np.ones(image.shape, bool) if mask is None else mask
    return Frame(image.astype(np.float32), mask, Geometry(image.shape), "k")


RAMP = np.geomspace(1, 1e4, 50 * 60).reshape(50, 60)


def test_the_map_is_perceptually_uniform() -> None:
    # Lightness grows from end to end, which is what makes a map readable without colour.
    linear = ((VIRIDIS / 255 + 0.055) / 1.055) ** 2.4
    luminance = linear @ [0.2126, 0.7152, 0.0722]
    # Eight entries apart, rounding to 256 levels no longer matters.
    assert (np.diff(luminance[::8]) > 0).all()
    assert not (MASKED_RGB == VIRIDIS).all(axis=1).any()


def test_masked_pixels_are_flat_and_do_not_set_the_range() -> None:
    mask = np.ones(RAMP.shape, bool)
    mask[:, 10] = False
    wild = RAMP.copy()
    wild[:, 10] = 4294967295
    a, b = frame(RAMP, mask), frame(wild, mask)
    assert levels(a) == levels(b)
    assert (colours(b)[:, 10] == MASKED_RGB).all()
    np.testing.assert_array_equal(colours(a), colours(b))


def test_trusted_zeros_are_darkest_not_blank() -> None:
    image = RAMP.copy()
    image[0, :3] = [0, -5, 1e-9]
    assert (colours(frame(image))[0, :3] == VIRIDIS[0]).all()


def test_brighter_is_never_darker_and_the_scale_is_logarithmic() -> None:
    shown = colours(frame(RAMP)).reshape(-1, 3)
    index = [int(np.flatnonzero((c == VIRIDIS).all(axis=1))[0]) for c in shown]
    assert (np.diff(index) >= 0).all()
    # Equal ratios are equal steps: the middle of the ramp's logarithm has the middle colour.
    assert abs(index[len(index) // 2] - 127.5) < 4


@pytest.mark.parametrize("value", [0.0, 7.0, -1.0, np.nan, np.inf])
def test_flat_and_empty_frames_have_a_picture(value: float) -> None:
    shown = colours(frame(np.full((8, 9), value)))
    assert shown.shape == (8, 9, 3)
    assert len(np.unique(shown.reshape(-1, 3), axis=0)) == 1
    assert (shown == MASKED_RGB).all() == (not np.isfinite(value))


def test_thumbnails_are_small_whatever_the_noise() -> None:
    rng = np.random.default_rng(0)
    for rate in (0.1, 1, 10, 1000):
        data = thumbnail(frame(rng.poisson(rate, (256, 256)) * rng.uniform(0.1, 10, (256, 256))))
        assert len(data) <= 13_000
        assert max(Image.open(io.BytesIO(data)).size) >= 96


def test_thumbnails_of_patterns_are_large() -> None:
    assert max(Image.open(io.BytesIO(thumbnail(frame(RAMP.repeat(6, axis=0))))).size) == 224


def test_thumbnails_show_the_frame_without_padding() -> None:
    fitted = fit(frame(RAMP.repeat(4, axis=1)), 256)
    width, height = Image.open(io.BytesIO(thumbnail(fitted))).size
    assert width / height == pytest.approx(240 / 50, rel=0.05)


def test_a_small_side_is_kept() -> None:
    assert picture(frame(RAMP)).size == (60, 50)
    assert picture(frame(RAMP), 30).size == (30, 25)

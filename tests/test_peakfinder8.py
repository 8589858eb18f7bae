"""peakfinder8 finds what its definition says, and on measured frames what another program's finds."""

# SPDX-License-Identifier: BSD-3-Clause

import subprocess
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from beamsight.errors import BadFrame, BeamsightError
from beamsight.frame import Geometry, Panel
from beamsight.peakfinder8 import Peakfinder8, Peaks, find_peaks, peaks_of, prepare, search_of
from beamsight.rings import draw, rings
from exact_peaks import exact_peaks
from studies.sfx_frames import FRAMES, measured, reference

needs_data = pytest.mark.skipif(not FRAMES.is_dir(), reason="no real images; BEAMSIGHT_DATA names their folder")
NAMES = list(reference()) if FRAMES.is_dir() else []
SIDE = 40
WHOLE = np.ones((SIDE, SIDE), bool)
ONE_RING = np.zeros((SIDE, SIDE), np.float32)
LAYOUTS = {
    "one panel": (),
    "two beside one another": (Panel(0, SIDE, 0, 17), Panel(0, SIDE, 17, SIDE)),
    "four with gaps": tuple(Panel(y, y + 18, x, x + 17) for y in (0, 22) for x in (1, 20)),
}
# Bright on a quiet background is a peak, whatever its size.
OPEN = Peakfinder8(threshold=20, min_snr=5, min_pix_count=1, max_pix_count=400)


def rows(peaks: Peaks) -> NDArray[np.float64]:
    """[n 8] panel, y, x, pixels, total, maximum, sigma, snr."""
    return np.column_stack(
        [peaks.panel, peaks.y_px, peaks.x_px, peaks.n_pixels, peaks.total, peaks.maximum, peaks.sigma, peaks.snr]
    )


def distances(centre: tuple[float, float] = (19.3, 21.8)) -> NDArray[np.float32]:
    y, x = np.indices((SIDE, SIDE))
    return np.hypot(y - centre[0], x - centre[1]).astype(np.float32)


def quiet(seed: int = 0, level: float = 4) -> NDArray[np.float32]:
    return np.random.default_rng(seed).poisson(level, (SIDE, SIDE)).clip(0, 10).astype(np.float32)


def found(image: NDArray[np.float32], parameters: Peakfinder8 = OPEN, panels: tuple[Panel, ...] = ()) -> Peaks:
    return find_peaks(image, WHOLE, ONE_RING, panels, parameters)


def spotted(seed: int, level: float) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Photons with blobs of all sizes, also on borders, and a mask; some pixels are not finite."""
    rng = np.random.default_rng(seed)
    mean, (y, x) = np.full((SIDE, SIDE), float(level)), np.indices((SIDE, SIDE))
    for _ in range(12):
        place, width = rng.uniform(0, SIDE, 2), rng.uniform(0.3, 2)
        mean += rng.uniform(5, 300) * np.exp(-((y - place[0]) ** 2 + (x - place[1]) ** 2) / (2 * width**2))
    image = rng.poisson(mean) - rng.integers(0, 3)
    struck = rng.choice([np.nan, np.inf, -np.inf, 0], (SIDE, SIDE))
    mask = rng.random((SIDE, SIDE)) > rng.choice([0, 0.05, 0.3])
    return np.where(rng.random((SIDE, SIDE)) < 0.01, struck, image).astype(np.float32), mask


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([0.05, 1, 20]),
    st.sampled_from(list(LAYOUTS)),
    st.builds(
        Peakfinder8,
        threshold=st.sampled_from([-5.0, 0.0, 10.0, 40.0]),
        min_snr=st.sampled_from([0.0, 3.0, 5.5]),
        min_pix_count=st.integers(0, 4),
        max_pix_count=st.integers(4, 60),
        local_bg_radius=st.integers(0, 4),
        min_res=st.sampled_from([0.0, 3.0]),
        max_res=st.sampled_from([0.0, 15.0]),
    ),
    st.tuples(st.integers(-30, 60), st.floats(-30, 60)),
)
def test_it_finds_what_the_definition_says(
    seed: int, level: float, layout: str, parameters: Peakfinder8, centre: tuple[float, float]
) -> None:
    image, mask = spotted(seed, level)
    radius = distances(centre)
    radius[np.random.default_rng(seed).random(radius.shape) < 0.02] = np.nan
    peaks = find_peaks(image, mask, radius, LAYOUTS[layout], parameters)
    expected = np.array(exact_peaks(image, mask, radius, LAYOUTS[layout], parameters)).reshape(-1, 8)
    assert len(peaks) == peaks.found == len(expected)
    np.testing.assert_allclose(rows(peaks), expected, rtol=1e-9, atol=1e-9)


@needs_data
@pytest.mark.parametrize("name", NAMES)
def test_it_finds_on_measured_frames_what_another_program_finds(name: str) -> None:
    frame = measured(name)
    peaks = find_peaks(frame.image, frame.mask, frame.radius_px, frame.panels, frame.parameters)
    n = len(frame.peaks)
    apart = np.hypot(np.subtract.outer(peaks.y_px, frame.peaks[:, 1]), np.subtract.outer(peaks.x_px, frame.peaks[:, 0]))
    same = apart.min(1, initial=np.inf) < 0.01
    # On many panels the other program joins pixels to a peak that do not touch it, here and there.
    assert abs(len(peaks) - n) <= (max(1, 0.01 * n) if frame.panels else 0)
    assert same.sum() >= (0.97 * n if frame.panels else n)
    theirs = frame.peaks[apart.argmin(1)[same]] if n else frame.peaks
    np.testing.assert_array_equal(peaks.n_pixels[same], theirs[:, 3])
    for ours, column in ((peaks.total, 2), (peaks.maximum, 4), (peaks.sigma, 5)):
        # Four decimals were written; where the background is high, sums of squares in single precision cost it three digits.
        np.testing.assert_allclose(ours[same], theirs[:, column], rtol=3e-4, atol=1e-4)


def blob(pixels: int, value: float = 60) -> NDArray[np.float32]:
    image = quiet()
    image[10, 8 : 8 + pixels] = value
    return image


@pytest.mark.parametrize(("pixels", "taken"), [(2, False), (3, True), (5, True), (6, False)])
def test_both_limits_of_the_number_of_pixels_are_included(pixels: int, taken: bool) -> None:
    assert found(blob(pixels), replace(OPEN, min_pix_count=3, max_pix_count=5)).found == taken


def test_the_centre_is_that_of_the_counts() -> None:
    image = quiet()
    image[10, 8], image[11, 9] = 60, 120
    peaks = found(image)
    assert (peaks.y_px[0], peaks.x_px[0]) == pytest.approx(((10 * 60 + 11 * 120) / 180, (8 * 60 + 9 * 120) / 180))
    assert peaks.n_pixels[0] == 2
    assert peaks.total[0] == pytest.approx(180 - 2 * (120 - peaks.maximum[0]))
    assert peaks.snr[0] == pytest.approx(peaks.total[0] / peaks.sigma[0])


def test_a_peak_stands_out_of_its_surroundings() -> None:
    image = quiet()
    image[20, 20] = 30
    assert found(image).found == 1
    # Noisier near the peak than on the ring as a whole, yet below the limit of the ring.
    y, x = np.indices((12, 12))
    image[14:26, 14:26] = 15 * ((y + x) % 2)
    image[20, 20] = 30
    assert found(image).found == 0
    snr = found(image, replace(OPEN, min_snr=2)).snr[0]
    assert 2 < snr < 5
    assert found(image, replace(OPEN, min_snr=snr * (1 - 1e-9))).found == 1
    assert found(image, replace(OPEN, min_snr=snr * (1 + 1e-9))).found == 0


def test_no_peak_lies_below_a_pixel_of_its_surroundings() -> None:
    image, radius = blob(3), ONE_RING.copy()
    # Pixels of another ring, whose limit is far higher.
    radius[12:] = 1
    image[24:] = np.random.default_rng(0).normal(50, 20, (SIDE - 24, SIDE)).astype(np.float32)
    for largest, taken in ((59, 1), (60, 1), (61, 0)):
        image[12, 9] = largest
        peaks = find_peaks(image, WHOLE, radius, (), replace(OPEN, min_snr=2))
        assert np.count_nonzero(peaks.y_px == 10) == taken


def test_panels_are_never_joined() -> None:
    image = quiet()
    image[10, 15:19] = 60
    panels = LAYOUTS["two beside one another"]
    assert found(image).n_pixels.tolist() == [4]
    # A blob on the border alone starts no peak; of three columns on each side, one is off it.
    assert found(image, panels=panels).found == 2
    assert found(image, panels=panels).x_px == pytest.approx([15.5, 17.5])
    image[10, 15] = image[10, 18] = 4
    assert found(image).n_pixels.tolist() == [2]
    assert found(image, panels=panels).found == 0


@pytest.mark.parametrize(("rows_bright", "pixels"), [((0,), []), ((0, 1), [2]), ((SIDE - 1,), []), ((SIDE - 2, SIDE - 1), [2])])
def test_a_peak_needs_a_pixel_off_the_border(rows_bright: tuple[int, ...], pixels: list[int]) -> None:
    image = quiet()
    image[list(rows_bright), 12] = 60
    assert found(image).n_pixels.tolist() == pixels


def test_the_surroundings_end_with_the_panel() -> None:
    image, panels = quiet(), LAYOUTS["two beside one another"]
    image[20, 13:16] = 60
    alone = found(image, panels=panels)
    image[:, 17:] += 9
    beside = found(image, panels=panels)
    assert alone.found == beside.found == 1
    assert (beside.total[0], beside.sigma[0]) == (alone.total[0], alone.sigma[0])
    assert found(image).sigma[0] > alone.sigma[0]


def test_a_rejected_blob_is_not_background() -> None:
    image = quiet()
    image[10, 8] = 60
    with_blob, mask = image.copy(), WHOLE.copy()
    with_blob[12:14, 8:14], mask[12:14, 8:14] = 60, False
    parameters = replace(OPEN, max_pix_count=11)
    masked = find_peaks(image, mask, ONE_RING, (), parameters)
    assert masked.found == 1
    np.testing.assert_array_equal(rows(found(with_blob, parameters)), rows(masked))


def test_what_is_not_trusted_is_neither_peak_nor_background() -> None:
    image, mask = blob(3), WHOLE.copy()
    clean = found(image)
    for value in (np.nan, np.inf, -np.inf, 1e8):
        struck = image.copy()
        struck[11, 8:11] = struck[30, 30] = value
        mask[11, 8:11] = mask[30, 30] = np.isfinite(value) is np.False_
        peaks = find_peaks(struck, mask, ONE_RING, (), OPEN)
        assert peaks.n_pixels.tolist() == [3]
        assert peaks.y_px[0] == clean.y_px[0]


@pytest.mark.parametrize("value", [0, 7.3, -2, np.nan, np.inf])
@pytest.mark.parametrize("threshold", [0.0, 800.0])
def test_a_frame_of_one_value_has_no_peak(value: float, threshold: float) -> None:
    image = np.full((SIDE, SIDE), value, np.float32)
    for mask in (WHOLE, ~WHOLE):
        peaks = find_peaks(image, mask, distances(), (), Peakfinder8(threshold))
        assert len(peaks) == peaks.found == 0


def test_peaks_beyond_the_cap_are_counted_in_every_panel() -> None:
    image = quiet()
    image[5:36:10, 4:40:4] = 60
    panels = LAYOUTS["two beside one another"]
    every, first = found(image, panels=panels), found(image, replace(OPEN, max_peaks=3), panels)
    assert every.found == first.found == len(every) == 4 * 8
    assert first.panel.tolist() == [0, 0, 0, 1, 1, 1]
    np.testing.assert_array_equal(rows(first)[:3], rows(every)[:3])
    assert found(image, replace(OPEN, max_peaks=0), panels).found == every.found


def test_peaks_are_looked_for_between_two_radii() -> None:
    image, radius = quiet(), np.indices((SIDE, SIDE))[1].astype(np.float32)
    image[20, [5, 10, 15, 20]] = 60

    def at(low: float, high: float) -> list[float]:
        return find_peaks(image, WHOLE, radius, (), replace(OPEN, min_res=low, max_res=high)).x_px.tolist()

    assert at(0, 0) == [5, 10, 15, 20]
    assert at(5, 15) == [10]
    assert at(4.9, 15.1) == [5, 10, 15]
    assert at(100, 0) == []


def test_rings_are_rounded_radii() -> None:
    """Halves go to even numbers, as rint of C and NumPy has it."""
    ring, count = rings(np.array([[0, 0.5, 0.51], [1.5, 2.5, np.nan], [np.inf, 3, 4]]))
    assert count == 5
    assert ring.tolist() == [[0, 0, 1], [2, 2, 5], [5, 3, 4]]
    assert rings(np.array([[7.2, 9.9]]))[0].tolist() == [[0, 3]]
    assert rings(np.full((2, 2), np.nan))[0].tolist() == [[1, 1], [1, 1]]


def test_drawn_pixels_are_different_pixels_of_their_ring() -> None:
    ring, count = rings(distances())
    drawn = draw(ring, count, 30)
    for k, places in enumerate(drawn):
        chosen = places[places >= 0]
        assert len(set(chosen)) == len(chosen) == min(30, np.count_nonzero(ring == k))
        assert (ring.ravel()[chosen] == k).all()


def test_threads_change_nothing() -> None:
    rng = np.random.default_rng(0)
    image = rng.gamma(2, 10, (1500, 1800)).astype(np.float32)
    y, x = np.indices(image.shape)
    search = prepare(np.hypot(y - 700, x - 300), (), Peakfinder8(0, 4, 1))
    mask = rng.random(image.shape) > 0.1
    one, two, five = (rows(peaks_of(search, image, mask, threads)) for threads in (1, 2, 5))
    assert len(one) > 100
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, five)


def test_fast_statistics_are_all_of_small_rings_and_part_of_large_ones() -> None:
    image, mask = spotted(3, 20)
    fast, small = replace(OPEN, fast=True), np.floor(np.arange(SIDE * SIDE).reshape(SIDE, SIDE) / 90)
    exact = find_peaks(image, mask, small, (), OPEN)
    assert exact.found > 0
    np.testing.assert_array_equal(rows(find_peaks(image, mask, small, (), fast)), rows(exact))
    clear = quiet()
    clear[5:36:10, 4:38:8] = 60
    once, again, full = (found(clear, parameters) for parameters in (fast, fast, OPEN))
    np.testing.assert_array_equal(rows(once), rows(again))
    assert once.found == full.found == 4 * 5


def test_images_come_in_any_layout() -> None:
    image = blob(3)
    expected = rows(found(image))
    frozen = image.copy()
    frozen.flags.writeable = False
    wide = np.repeat(image, 2, axis=1)[:, ::2]
    for same in (frozen, np.asfortranarray(image), image.astype(np.uint16), image.astype(np.float64), wide):
        np.testing.assert_array_equal(rows(found(same)), expected)


def test_a_geometry_is_prepared_once_and_says_what_it_assumes() -> None:
    geometry, four = Geometry((SIDE, SIDE), 1e-4, 1e-10, 0.1, (19.3, 21.8)), LAYOUTS["four with gaps"]
    search = search_of(geometry, OPEN)
    assert search_of(replace(geometry, wavelength_m=1.1e-10), OPEN) is search
    assert not search.assumed_centre
    np.testing.assert_array_equal(search.ring, prepare(distances(), (), OPEN).ring)
    for unknown in (replace(geometry, centre_px=None), Geometry((SIDE, SIDE), panels=four)):
        middle = search_of(unknown, OPEN)
        assert middle.assumed_centre
        np.testing.assert_array_equal(middle.ring, prepare(distances((19.5, 19.5)), unknown.panels, OPEN).ring)
    placed = tuple(replace(p, corner_px=(p.y0 - 19.3, p.x0 - 21.8)) for p in four)
    panels = search_of(Geometry((SIDE, SIDE), panels=placed), OPEN)
    assert not panels.assumed_centre
    np.testing.assert_array_equal(panels.ring, prepare(distances(), four, OPEN).ring)


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(BadFrame, match="must have one shape"):
        find_peaks(quiet()[1:], WHOLE, distances())
    with pytest.raises(BadFrame, match="outside the image"):
        find_peaks(quiet(), WHOLE, distances(), (Panel(0, SIDE + 1, 0, 5),))
    with pytest.raises(BadFrame, match="is the centre right"):
        find_peaks(quiet(), WHOLE, distances() * 1e4)
    with pytest.raises(BeamsightError, match="min_snr is nan"):
        Peakfinder8(min_snr=float("nan"))
    with pytest.raises(BeamsightError, match="min_pix_count is -1"):
        Peakfinder8(min_pix_count=-1)


def test_the_defaults_are_those_of_crystfel() -> None:
    """`indexamajig` of CrystFEL 0.12."""
    assert asdict(Peakfinder8()) == {
        "threshold": 800, "min_snr": 5, "min_pix_count": 2, "max_pix_count": 200, "local_bg_radius": 3, "min_res": 0,
        "max_res": 0, "max_peaks": 2048, "fast": False,
    }  # fmt: skip


def test_without_a_folder_for_machine_code_it_is_kept_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    from numba import types
    from numba.core.caching import CacheImpl

    from beamsight.peakfinder8_kernels import loop

    monkeypatch.setattr(CacheImpl, "_locator_classes", [])
    assert loop(types.int64)(lambda n: n + 1)(2) == 3


def test_without_numba_a_line_says_what_to_install() -> None:
    code = (
        "import sys; sys.modules['numba'] = None\nimport numpy as np; from beamsight.peakfinder8 import find_peaks\n"
        "try: find_peaks(np.ones((9, 9)), np.ones((9, 9), bool), np.ones((9, 9)))\nexcept Exception as e: print(e)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=100)
    assert "pip install 'beamsight[peaks]'" in done.stdout

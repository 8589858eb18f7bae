"""A detector does to a mean image what its numbers say."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from beamsight.detector import STOPS, Detector, Exposed, expose, stop_transmission
from beamsight.frame import Frame, Geometry, fit
from beamsight.task import columns, example, find_task

SHAPE = (128, 128)
N = SHAPE[0] * SHAPE[1]
SIGMAS = 5.0  # standard errors of an estimate from N pixels: passed once in two million trials
CENTRE = (63.5, 63.5)


def exposed(detector: Detector, level: float | torch.Tensor = 20.0, seed: int = 1, shape: tuple[int, int] = SHAPE) -> Exposed:
    photons = level if isinstance(level, torch.Tensor) else torch.full((1, *shape), level)
    centre = torch.tensor([[shape[0] / 2 - 0.5, shape[1] / 2 - 0.5]])
    return expose(photons, columns([detector]), centre, torch.tensor([seed]))


def test_the_default_detector_is_perfect() -> None:
    e = exposed(Detector())
    assert e.mask.all()
    assert torch.equal(e.counts, e.counts.round())
    assert torch.equal(e.photons, torch.full((1, *SHAPE), 20.0))
    assert e.counts.double().mean().item() == pytest.approx(20, abs=SIGMAS * (20 / N) ** 0.5)
    # Var(variance) of Poisson counts is (mean + 2 mean^2) / N.
    assert e.counts.double().var().item() == pytest.approx(20, abs=SIGMAS * ((20 + 800) / N) ** 0.5)


@pytest.mark.parametrize(("gain", "binning", "read", "unit"), [(1, 1, 0, 1), (3, 2, 4, 1), (0.5, 4, 1, 1), (2, 3, 5, 0.1)])
def test_mean_and_variance(gain: float, binning: float, read: float, unit: float) -> None:
    d = Detector(gain=gain, binning=binning, read_noise_counts=read, unit=unit, dark_counts=7.0, offset_counts=-2.0)
    counts = exposed(d, 50.0).counts.double()
    variance = unit**2 * (gain**2 * 50 + read**2) / binning**2
    assert counts.mean().item() == pytest.approx(unit * (gain * 50 + 5), abs=SIGMAS * (variance / N) ** 0.5)
    # Nearly normal: the variance is known to sqrt(2 / N) of itself.
    assert counts.var().item() == pytest.approx(variance, rel=SIGMAS * (2.1 / N) ** 0.5)


def test_spread_keeps_the_sum_and_has_its_width() -> None:
    image = torch.zeros(1, *SHAPE)
    image[0, 60, 70] = 1e6
    for sigma in (0.3, 1.0, 2.5):
        mean = exposed(Detector(spread_px=sigma), image).photons[0].double().numpy()
        # float32 sums of a few hundred numbers.
        assert mean.sum() == pytest.approx(1e6, rel=1e-5)
        x = np.arange(SHAPE[1])
        place = (mean.sum(0) * x).sum() / 1e6
        assert place == pytest.approx(70, abs=1e-3)
        # The kernel is cut at three deviations, which takes 3 % of the variance; below half a pixel sampling adds to it.
        if sigma >= 1:
            assert (mean.sum(0) * (x - place) ** 2).sum() / 1e6 == pytest.approx(sigma**2, rel=0.035)


def test_saturation_clips_and_is_masked_where_the_file_knows() -> None:
    ramp = torch.linspace(1, 200, N).reshape(1, *SHAPE)
    open_, masked = (exposed(Detector(saturation_counts=100.0, saturation_masked=m), ramp) for m in (0, 1))
    clipped = exposed(Detector(), ramp).counts >= 100
    assert open_.counts.max() == 100
    assert open_.mask.all()
    assert torch.equal(open_.counts == 100, clipped)
    assert torch.equal(~masked.mask, clipped)
    assert (masked.counts[clipped] == 0).all()
    assert not open_.usable[clipped].any()
    assert open_.clipped.item() == clipped.sum().item()


def test_no_larger_share_saturates_than_was_allowed() -> None:
    shuffled = torch.randperm(N, generator=torch.Generator().manual_seed(0))
    ramp = torch.linspace(1, 2000, N)[shuffled].reshape(1, *SHAPE)
    for share in (0.02, 0.1):
        e = exposed(Detector(saturation_counts=100.0, saturation_share=share), ramp)
        # The limit is read off every ninth pixel: of some 36 and 180 above it.
        assert e.clipped.item() / N == pytest.approx(share, rel=0.4)
        assert e.counts.max() == pytest.approx(2000 * (1 - share), rel=0.03)
    assert exposed(Detector(saturation_counts=1e4, saturation_share=0.1), ramp).clipped == 0


def test_a_hot_pixel_is_not_above_what_the_detector_can_hold() -> None:
    e = exposed(Detector(hot=0.01, zingers=0.01, salt_pepper=0.01, saturation_counts=30.0, defects_masked=0))
    assert e.counts.max() == 30
    assert (e.counts == 30).sum() > 0.01 * N


def test_a_background_is_taken_off_by_what_there_is() -> None:
    for level in (0.02, 3.0, 5000.0):
        counts = exposed(Detector(subtracted=0.5, unit=0.1), level).counts.double()
        tenth = np.quantile(exposed(Detector(), level).counts.numpy(), 0.1)
        assert counts.mean().item() == pytest.approx(0.1 * (level - 0.5 * tenth), rel=0.1)


def test_unevenness_is_a_saddle_and_a_slope_about_the_beam() -> None:
    e = exposed(Detector(slope_y=0.2, saddle=0.4, saddle_cross=0.3))
    y, x = (np.indices(SHAPE) - CENTRE[0]) / SHAPE[0]
    expected = 20 * (1 + 0.2 * y + 0.4 * (y * y - x * x) + 0.3 * 2 * y * x)
    np.testing.assert_allclose(e.photons[0].numpy(), expected, rtol=1e-5)
    # Over a circle a saddle has no mean: a ring keeps its light.
    ring = np.abs(np.hypot(y, x) - 0.3) < 0.02
    assert e.photons[0].numpy()[ring].mean() == pytest.approx(20, rel=0.01)


def test_a_wave_has_its_depth_and_period() -> None:
    photons = exposed(Detector(wave_depth=0.1, wave_y=0.0, wave_x=4.0)).photons[0].double().numpy()
    np.testing.assert_allclose(photons, photons[:1].repeat(SHAPE[0], 0), rtol=1e-6)
    spectrum = np.abs(np.fft.rfft(photons[0])) / SHAPE[1]
    assert int(spectrum[1:].argmax()) + 1 == 4
    assert 2 * spectrum[4] == pytest.approx(0.1 * 20, rel=1e-4)


def test_a_full_well_spills_along_its_column() -> None:
    image = torch.full((1, *SHAPE), 1.0)
    image[0, 64, 30] = 1e4
    e = exposed(Detector(saturation_counts=100.0, bleed_px=6), image)
    full = (e.counts[0] == 100).nonzero()
    assert (full[:, 1] == 30).all()
    assert full[:, 0].min() == 58
    assert full[:, 0].max() == 70


def test_gaps() -> None:
    d = Detector(module_y=0.25, gap=1 / 32, gap_masked=1)
    for known in (0, 1):
        e = exposed(replace(d, gap_masked=known))
        rows = (torch.arange(SHAPE[0]) % 32 < 4)[:, None].expand(SHAPE)
        assert (e.counts[0][rows] == 0).all()
        assert torch.equal(~e.mask[0], rows & (known == 1))
        assert torch.equal(~e.usable[0], rows)
        assert torch.equal(~e.covered[0], rows)


def test_a_detector_may_cover_a_part() -> None:
    e = exposed(Detector(aspect_y=0.5, aspect_x=0.75))
    covered = torch.zeros(SHAPE, dtype=torch.bool)
    covered[:64, :96] = True
    assert torch.equal(e.mask[0], covered)
    assert torch.equal(e.usable[0], covered)
    assert (e.counts[0][~covered] == 0).all()
    assert e.reach_px.tolist() == [[63.0, 95.0]]


@pytest.mark.parametrize("known", [0, 1])
def test_defects(known: int) -> None:
    plain = exposed(Detector())
    e = exposed(Detector(dead=0.02, hot=0.01, zingers=0.01, defects_masked=known))
    changed = e.counts != plain.counts
    # Two faults on one pixel count once: 4 % of the pixels, less some, as Poisson counts scatter.
    assert (~e.usable).sum().item() == pytest.approx(0.04 * N, abs=0.04**2 * N / 2 + SIGMAS * (0.04 * N) ** 0.5)
    assert e.usable[changed].sum() == 0
    assert torch.equal(~e.mask, ~e.usable) if known else e.mask.all()


def test_shade_is_not_usable() -> None:
    """Where less than half of the light arrives, a label may not look; no mask knows of it."""
    dark = exposed(Detector(window_radius=0.3, window_soft=0.002))
    y, x = np.indices(SHAPE) - 63.5
    radius = np.hypot(y, x) / SHAPE[0]
    away = np.abs(radius - 0.3) > 1e-4
    assert np.array_equal(dark.usable[0].numpy()[away], (radius < 0.3)[away])
    assert dark.mask.all()
    assert dark.covered.all()
    assert np.allclose(dark.photons[0].numpy(), 20 * dark.passed[0].numpy(), rtol=1e-5)


def transmission(detector: Detector, places: list[tuple[float, float]]) -> list[float]:
    """At (y, x) shares of the side from the beam, on a frame of 1001 px that the beam halves."""
    image = stop_transmission(columns([detector]), (1001, 1001), torch.tensor([[500.0, 500.0]]))[0]
    return [image[500 + round(y * 1001), 500 + round(x * 1001)].item() for y, x in places]


SHARP = {"stop_soft": 1e-4, "stop_transmission": 0.02}
# (kind, numbers, places behind the stop, places beside it); the stop points along +x where its angle is 0.
STOPPED = [
    ("circular", {"stop_size": 0.05}, [(0, 0), (0.04, 0), (0, -0.04)], [(0.06, 0), (0, 0.06), (0.04, 0.04)]),
    ("circular", {"stop_size": 0.05, "stop_arm": 0.01}, [(0, 0), (0, 0.4), (0.008, 0.2)], [(0.012, 0.2), (0, -0.2), (0.2, 0)]),
    ("linear", {"stop_size": 0.02}, [(0, 0), (0, 0.4), (0.018, 0.2), (0, -0.018)], [(0.022, 0.2), (0, -0.022), (0.1, 0)]),
    ("wedge", {"stop_size": 0.2, "stop_arm": 0.05}, [(0, 0), (0, -0.045), (0.07, 0.32)], [(0, -0.055), (0.08, 0.32), (0.1, 0)]),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "numbers", "behind", "beside"), STOPPED)
@pytest.mark.parametrize("turn", [0, 1])
def test_stops(kind: str, numbers: dict, behind: list, beside: list, turn: int) -> None:
    d = Detector(stop_kind=STOPS.index(kind), stop_angle=turn * np.pi / 2, **SHARP, **numbers)
    turned = [[(x, -y) if turn else (y, x) for y, x in places] for places in (behind, beside)]
    # A tenth of a pixel of softness: ten of it away the edge is over.
    assert transmission(d, turned[0]) == pytest.approx([0.02] * len(behind), abs=1e-3)
    assert transmission(d, turned[1]) == pytest.approx([1.0] * len(beside), abs=1e-3)


def test_the_edge_of_a_stop_is_half_way() -> None:
    d = Detector(stop_kind=1, stop_size=100 / 1001, stop_soft=0.01, stop_transmission=0.2)
    assert transmission(d, [(0, 100 / 1001)]) == pytest.approx([0.6], abs=1e-3)


@pytest.mark.parametrize("binning", [0.3, 0.5, 0.77, 0.95])
def test_small_detectors_are_enlarged_as_fit_does(binning: float) -> None:
    d = Detector(binning=binning)
    counts = exposed(d).counts[0].numpy()
    small = round(binning * SHAPE[0])
    edges = np.arange(SHAPE[0]) * small // SHAPE[0]
    first = np.searchsorted(edges, np.arange(small))
    original = counts[np.ix_(first, first)]
    frame = Frame(original, np.ones_like(original, bool), Geometry((small, small)), "small")
    assert np.array_equal(fit(frame, SHAPE[0]).image, counts)
    # Each pixel is one of the detector's: no two detector pixels show the same.
    assert len(np.unique(original)) > 5


def test_a_batch_is_its_frames() -> None:
    task = find_task("scattering-tags")
    detectors = [example(task, 5, i)[1] for i in range(12)]
    light = 10 ** torch.linspace(-1, 3, 12)[:, None, None].expand(12, 64, 64)
    centres = torch.linspace(-20, 80, 24).reshape(12, 2)
    seeds = torch.arange(12)
    together = expose(light, columns(detectors), centres, seeds)
    for n in range(12):
        alone = expose(light[n : n + 1], columns(detectors[n : n + 1]), centres[n : n + 1], seeds[n : n + 1])
        for f in fields(Exposed):
            one, many = getattr(alone, f.name), getattr(together, f.name)
            # Of frames without a stop the transmission is the number 1.
            assert torch.equal(one.expand(many[n : n + 1].shape), many[n : n + 1]), f.name


def test_a_small_detector_is_enlarged_on_frames_that_are_not_square() -> None:
    photons = torch.rand(2, 32, 48) * 50
    detector = columns([Detector(binning=0.5), Detector(binning=1.0)])
    counts = expose(photons, detector, torch.zeros(2, 2), torch.tensor([1, 2])).counts
    assert counts.shape == photons.shape
    assert torch.equal(counts[0, ::2, ::2], counts[0, 1::2, 1::2])

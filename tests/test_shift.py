"""A run that changes is noticed, one that drifts as runs do is not."""

# SPDX-License-Identifier: BSD-3-Clause

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.random import Generator, default_rng
from numpy.typing import NDArray

from beamsight.frame import Frame, Geometry
from beamsight.shift import ENOUGH, FIRST, LAST, Watch, changed, normal_of
from beamsight.state import STATE, share_of, state_of

SHAPE, FRAMES, FAULT_AT = (64, 96), 200, 90
Fault = Callable[[NDArray[np.float32], NDArray[np.bool_]], None]


def frames(seed: int, fault: Fault | None = None) -> list[Frame]:
    """A run: photons on a pedestal, rings, a light that varies from shot to shot and drifts; from FAULT_AT on with a fault."""
    rng = default_rng(seed)
    gain, light, drift = rng.uniform(0.5, 3), 10 ** rng.uniform(0, 1.5), rng.uniform(-0.3, 0.3)
    y, x = np.indices(SHAPE) - np.array(SHAPE)[:, None, None] * rng.uniform(0.3, 0.7, (2, 1, 1))
    ring = 1 + 2 * np.exp(-(((np.hypot(y, x) - 27) / 8) ** 2))
    return [_frame(rng, n, gain, light * (1 + drift * n / FRAMES) * rng.gamma(4, 0.25) * ring, fault) for n in range(FRAMES)]


def _frame(rng: Generator, n: int, gain: float, mean: NDArray[np.float64], fault: Fault | None) -> Frame:
    image = (gain * rng.poisson(mean) + rng.normal(0, 0.4, SHAPE)).astype(np.float32)
    mask = np.ones(SHAPE, bool)
    mask[29:32] = False
    if fault is not None and n >= FAULT_AT:
        fault(image, mask)
    return Frame(image, mask, Geometry(SHAPE), f"frame/{n}")


def states(seed: int, fault: Fault | None = None) -> NDArray[np.float64]:
    return np.array([state_of(frame) for frame in frames(seed, fault)])


@pytest.fixture(scope="module")
def normal() -> dict[str, object]:
    return normal_of([states(seed) for seed in range(40)])


def halved(image: NDArray[np.float32], mask: NDArray[np.bool_]) -> None:
    image *= 0.5


def dark(image: NDArray[np.float32], mask: NDArray[np.bool_]) -> None:
    image[:] = default_rng(int(abs(image[0, 0]) * 1e3)).normal(0, 0.4, SHAPE)


def dead_panel(image: NDArray[np.float32], mask: NDArray[np.bool_]) -> None:
    image[:32, :48] = 0


def masked(image: NDArray[np.float32], mask: NDArray[np.bool_]) -> None:
    mask[:, 15:38] = False


def shadowed(image: NDArray[np.float32], mask: NDArray[np.bool_]) -> None:
    image[40:, 60:] *= 0.4


@pytest.mark.parametrize("fault", [halved, dark, dead_panel, masked, shadowed])
def test_a_fault_is_noticed_within_a_hundred_frames_and_not_before(normal: dict[str, object], fault: Fault) -> None:
    raised = 0
    for seed in range(100, 106):
        watch = Watch(normal)
        for state in states(seed, fault)[: FAULT_AT + 100]:
            watch.add(state)
        if watch.alarm is not None:
            assert watch.alarm.frames > FAULT_AT
            assert watch.alarm.score > 1
            assert "look at" in watch.alarm.words
            raised += 1
    assert raised >= 5


def test_normal_runs_raise_none(normal: dict[str, object]) -> None:
    alarms = [alarm for seed in range(200, 220) if (alarm := watched(normal, seed).alarm)]
    assert len(alarms) <= 1


def watched(normal: dict[str, object], seed: int) -> Watch:
    watch = Watch(normal)
    for state in states(seed):
        watch.add(state)
    return watch


def test_a_run_unlike_those_of_the_calibration_is_far_from_them(normal: dict[str, object]) -> None:
    near = [watched(normal, seed).distance for seed in range(200, 205)]
    assert np.median(near) < 1
    strange = Watch(normal)
    for frame in frames(3)[:FIRST]:
        strange.add(state_of(Frame(np.sqrt(np.abs(frame.image)) * 1e4, frame.mask, frame.geometry, frame.key)))
    assert strange.distance > 1
    assert math.isnan(Watch(normal).distance)


def test_a_frame_of_nothing_has_no_state_and_harms_no_watch(normal: dict[str, object]) -> None:
    blank = Frame(np.zeros(SHAPE, np.float32), np.zeros(SHAPE, bool), Geometry(SHAPE), "blank")
    assert np.isnan(state_of(blank)).all()
    watch = Watch(normal)
    for state in states(300):
        watch.add(state)
        watch.add(state_of(blank))
    assert watch.alarm is None


def test_bad_pixels_hardly_change_what_a_frame_is_like() -> None:
    frame = frames(5)[0]
    bad = frame.image.copy()
    bad[::7, ::11] = 1e6
    state, struck = state_of(frame), state_of(Frame(bad, frame.mask, frame.geometry, "bad"))
    changed = np.abs(state - struck)
    assert changed[[STATE.index("light"), STATE.index("noise")]].max() < 0.3


@pytest.mark.parametrize("cuts", [[200], [1, 63, 64, 65, 7], [70, 10, 1, 119]])
def test_frames_followed_together_tell_what_one_after_the_other_does(normal: dict[str, object], cuts: list[int]) -> None:
    run = states(100, dead_panel)
    single, together = Watch(normal), Watch(normal)
    for state in run:
        single.add(state)
    parts = [together.follow(part) for part in np.split(run, np.cumsum(cuts)[:-1])]
    told, limit = np.concatenate(parts), np.asarray(normal["limit"])
    drift, scale = (np.asarray(normal[name]) for name in ("drift", "scale"))
    assert together.alarm == single.alarm
    assert together.alarm is not None
    assert together.alarm.frames == np.flatnonzero(told > 1)[0] + 1
    assert np.isnan(told).sum() == FIRST + ENOUGH - 1
    for end in (FIRST + ENOUGH, 150, 200):
        assert told[end - 1] == pytest.approx(
            (changed(run[:FIRST], run[max(FIRST, end - LAST) : end], drift) / scale).max() / limit
        )
    assert together.distance == single.distance > 0
    assert together.strangest.startswith("the ")
    assert Watch(normal).strangest == ""


def test_the_median_is_of_what_is_known() -> None:
    rng = default_rng(0)
    run = rng.normal(size=(FIRST + ENOUGH, len(STATE)))
    run[rng.random(run.shape) < 0.3] = np.nan
    run[:, 3] = np.nan
    first, last = ([np.median(c[~np.isnan(c)]) for c in part.T if (~np.isnan(c)).any()] for part in (run[:FIRST], run[FIRST:]))
    # Next to a drift without bounds the medians alone are told; of what some frames show and others do not, a higher value.
    told = np.delete(changed(run[:FIRST], run[FIRST:], np.full(len(STATE), 1e9)), 3) * 1e9
    same = np.isclose(told, np.abs(np.array(first) - np.array(last)))
    assert list(np.flatnonzero(~same)) == [STATE.index("ripple") - 1]


@pytest.mark.parametrize("share", [0.0, 0.03, 0.5, 1.0])
def test_a_share_is_told_as_it_was(share: float) -> None:
    image = np.where(np.arange(1000) < 1000 * share, 0, 5).astype(np.float32).reshape(10, 100)
    empty = state_of(Frame(image, np.ones(image.shape, bool), Geometry(image.shape), "some"))[STATE.index("empty")]
    assert share_of(empty) == pytest.approx(share, abs=1e-9)

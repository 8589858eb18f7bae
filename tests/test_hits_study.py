"""The study of hits: what is counted, which runs are asked, and what a watch sees of a run."""

# SPDX-License-Identifier: BSD-3-Clause

import importlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from numpy.random import default_rng

from beamsight.answer import Answer
from beamsight.examples import TEST, TRAINING
from beamsight.frame import Frame, Geometry
from beamsight.runs import indices_of
from beamsight.shots import place, run_numbered, shot_of
from beamsight.state import STATE, share_of, state_of
from beamsight.taking import take
from beamsight.task import columns, find_task, make_batch


@pytest.fixture(scope="module")
def runs() -> ModuleType:
    return importlib.import_module("hits_runs")


@pytest.fixture(scope="module")
def scores() -> ModuleType:
    return importlib.import_module("hits_scores")


@pytest.fixture(scope="module")
def faults() -> ModuleType:
    return importlib.import_module("hits_faults")


@pytest.fixture(scope="module")
def paper() -> ModuleType:
    return importlib.import_module("hits_paper")


def said(scores: ModuleType, *frames: tuple[str, str, float, float]) -> object:
    found = scores.Said()
    for truth, answer, miss, hit in frames:
        chances = {"miss": miss, "weak": 1 - miss - hit, "hit": hit}
        found.add(truth, Answer("key", answer, chances))
    return found


def test_shares_are_those_counted_by_hand(scores: ModuleType) -> None:
    found = said(
        scores,
        ("hit", "hit", 0.0, 1.0),
        ("hit", "weak", 0.1, 0.2),  # kept, though not by its name
        ("hit", "miss", 0.9, 0.0),
        ("hit", "unsure", 0.5, 0.4),  # neither right nor wrong
        ("miss", "miss", 1.0, 0.0),
        ("miss", "weak", 0.2, 0.3),  # would be kept: wrong
        ("weak", "hit", 0.0, 0.9),
        ("weak", "miss", 0.8, 0.0),
    )
    assert found.sensitivity() == scores.Share(2, 3)
    assert found.specificity() == scores.Share(1, 2)
    assert found.accuracy() == scores.Share(3, 5)
    assert found.unsure == scores.Share(1, 8)
    assert found.called("hit", "hit") == scores.Share(1, 3)
    assert found.called("weak", "miss") == scores.Share(1, 2)
    # With unsure frames decided too: the one leans to a miss.
    assert found.sensitivity(False) == scores.Share(2, 4)
    assert found.wrong() == [(0.9, 2), (pytest.approx(0.1), 5)]


def test_a_refused_frame_is_unsure_and_not_kept(scores: ModuleType) -> None:
    found = scores.Said()
    found.add("hit", Answer("key", error="nothing can be trusted"))
    assert found.answer == ["unsure"]
    assert found.kept == [False]
    assert found.sensitivity().value is None


def test_what_is_said_of_parts_is_added(scores: ModuleType) -> None:
    part = said(scores, ("hit", "hit", 0.0, 1.0), ("miss", "miss", 1.0, 0.0))
    whole = scores.together([part, part, part])
    assert whole.accuracy() == scores.Share(6, 6)
    assert scores.worst([scores.Share(0, 0), scores.Share(3, 4), scores.Share(9, 10)]) == 0.75
    assert scores.worst([scores.Share(0, 0)]) is None
    two = scores.two_named(["hit", "miss", "weak"], [0.9, 0.6, 0.2])
    assert (two.sensitivity(), two.specificity()) == (scores.Share(1, 1), scores.Share(0, 1))


def test_runs_that_are_asked_share_nothing_with_those_learnt_from(runs: ModuleType) -> None:
    known, new = runs.twelve()
    assert len(known) == len(new) == 6
    assert len({run.detector for run in (*known, *new)}) == 12
    strange, other = runs.layouts(), runs.beamlines()
    test, training = set(runs.numbers_of(TEST)), set(runs.held_in())
    assert len(training) > 300
    assert {run.number for run in (*known, *new, *strange, *other)} <= test
    assert not training & test
    assert min(indices_of(min(training))) >= TRAINING[0]
    assert {run.number for run in known}.isdisjoint(run.number for run in new)
    taught = [run_numbered(runs.SEED, number) for number in training]
    assert {run.detector for run in taught}.isdisjoint(run.detector for run in strange)
    assert {run.detector for run in other} <= {run.detector for run in taught}
    assert max(run.shape for run in taught) < 500
    assert all(runs.strangeness(run) >= 2 for run in other)
    assert all(0.2 <= run.hit_fraction <= 0.8 and run.strength >= 1 for run in (*known, *new, *strange, *other))


def test_a_task_of_few_runs_is_made_of_their_shots_and_detectors(runs: ModuleType) -> None:
    task, numbers, shape = runs.Shots((13, 26)).task(), set(), (64, 128)
    for index in range(6):
        made = make_batch(task, 0, [index], shape)
        shot = made.scenes[0]
        numbers.add(shot.run)
        modules = run_numbered(runs.SEED, shot.run).modules
        alone = make_batch(find_task("xfel-hits"), 0, [index], shape, drawn=[(shot, modules)])
        assert torch.equal(made.counts, alone.counts)
        assert torch.equal(made.truth, alone.truth)
        asked = [shot_of(run_numbered(runs.SEED, shot.run), shot.frame, default_rng([runs.SEED, i, 21])) for i in range(3)]
        assert all(a.air_ph != shot.air_ph for a in asked)
    assert numbers == {13, 26}


def test_a_frame_without_crystal_is_a_miss(runs: ModuleType) -> None:
    frame = runs.blank(26)
    assert frame.truth == "miss"
    assert frame.scene.crystals == 0
    assert frame.image.shape == run_numbered(runs.SEED, 26).layout().shape


@pytest.mark.parametrize("number", [26, 17])
def test_a_crop_lies_about_the_beam_where_the_image_lets_it(runs: ModuleType, paper: ModuleType, number: int) -> None:
    run = paper.as_one_picture(run_numbered(runs.SEED, number))
    shot = paper.centred(shot_of(run, 0, default_rng(1)))
    beam = np.array(place(shot, (shot.height, shot.width)).centre_px)
    seen = np.array(place(shot, (paper.SIDE, paper.SIDE)).centre_px)
    first, room = beam - seen, np.array([shot.height, shot.width]) - paper.SIDE
    assert (first >= 0).all()
    assert (first <= room).all()
    free = (first > 0) & (first < room)
    assert np.abs(seen - (paper.SIDE - 1) / 2)[free].max(initial=0) <= 0.5


@pytest.mark.parametrize("number", [26, 13, 17])
def test_a_watch_sees_the_same_of_few_pixels_as_of_whole_frames(runs: ModuleType, faults: ModuleType, number: int) -> None:
    run = run_numbered(runs.SEED, number)
    few = faults.states(faults.Glimpse(run), [3])[0]
    rng = default_rng([runs.SEED, number, 3, faults.WATCHED])
    shots = columns([shot_of(replace(run, hit_fraction=0.0), 3, rng)])
    seeds = torch.tensor([int(rng.integers(2**31))])
    whole = take(shots, columns([run.modules]), run.layout().shape, seeds)
    image, mask = whole.counts[0].numpy(), whole.mask[0].numpy()
    assert few == pytest.approx(state_of(Frame(image, mask, Geometry(image.shape), "whole")), abs=1e-5, nan_ok=True)


def test_faults_change_what_they_are_named_for(runs: ModuleType, faults: ModuleType) -> None:
    run = run_numbered(runs.SEED, 6)  # a detector of 4 megapixels that integrates, and fifteen photons a pixel
    looked = faults.Glimpse(run)
    states = {fault: faults.states(looked, range(8), fault).mean(0) for fault in (None, *faults.FAULTS)}
    noise, light, trusted, empty = (STATE.index(name) for name in ("noise", "light", "trusted", "empty"))
    normal = states[None]
    assert states["gain halved"][noise] - normal[noise] == pytest.approx(np.log(0.5), abs=0.02)
    assert states["beam lost"][light] < normal[light] - 1
    assert abs(share_of(states["wrong mask"][trusted]) - share_of(normal[trusted])) > 0.03
    assert np.nanmax(np.abs(states["panel dead"] - normal)[5:]) > 0.3
    assert states["panel dead"][trusted] == pytest.approx(normal[trusted], abs=1e-3)
    assert np.isfinite(normal[empty])


def test_what_is_kept_is_not_made_twice(tmp_path: Path) -> None:
    asked = importlib.import_module("hits_asked")
    made: list[int] = []

    def make() -> list[int]:
        made.append(1)
        return [1, 2]

    path = tmp_path / "part" / "some.json"
    assert asked.kept(path, make) == asked.kept(path, make) == [1, 2]
    assert len(made) == 1

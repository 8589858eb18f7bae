"""The frames of the noise study: stored once, resumed exactly, disturbed by number."""

# SPDX-License-Identifier: BSD-3-Clause

import importlib
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

SIZE, CLEAN_FRAMES = 32, 40
TRAINING = range(2**20, 2**20 + 2 * CLEAN_FRAMES)


@pytest.fixture(scope="module")
def study() -> Any:
    return importlib.import_module("noise_frames")


@pytest.fixture(scope="module")
def clean(study: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return study.store(tmp_path_factory.mktemp("noise") / "train", TRAINING, SIZE, jobs=1)


def files_of(folder: Path) -> list[bytes]:
    return [(folder / f"{name}.npy").read_bytes() for name in ("counts", "centre", "truth")]


def test_a_store_that_was_cut_off_ends_the_same(study: Any, clean: Any, tmp_path: Path) -> None:
    for name in ("counts", "centre", "truth"):
        whole = np.load(clean.folder / f"{name}.npy")
        # Of the second batch a part was written and not yet counted.
        whole[50:] = 0
        np.save(tmp_path / f"{name}.npy", whole)
    (tmp_path / "done.txt").write_text("32")
    study.store(tmp_path, TRAINING, SIZE, jobs=1)
    assert files_of(tmp_path) == files_of(clean.folder)


def test_clean_frames_fill_sixteen_bits_and_have_no_noise(study: Any, clean: Any) -> None:
    frames = [clean.frame(n) for n in range(CLEAN_FRAMES)]
    tops = np.array([f.image.max() for f in frames])
    assert tops.max() == 65535
    assert np.median(tops) > 60_000
    # Where an image is smooth, neighbours differ by far less than counting noise would make them.
    level = max(frames, key=lambda f: np.median(f.image)).image
    steps = np.abs(np.diff(level, axis=1))
    assert np.median(steps) < np.sqrt(np.median(level))


def test_half_of_a_training_is_clean_and_a_third_of_the_rest_has_each_noise(study: Any, clean: Any) -> None:
    frames = study.TrainingSet(clean, CLEAN_FRAMES, tuple(study.STRENGTHS))
    assert len(frames) == 2 * CLEAN_FRAMES
    keys = [frames[n].key for n in range(len(frames))]
    # No scene twice: the noisy ones are others.
    assert len(set(keys)) == len(keys)
    undisturbed = [np.array_equal(frames[n].image, clean.frame(int(keys[n][-8:])).image) for n in range(len(frames))]
    assert all(undisturbed[::2])
    # The kinds take turns; on frames as small as these the mildest blur is too narrow to change anything.
    assert not any(undisturbed[3::6] + undisturbed[5::6])
    assert np.mean(undisturbed[1::6]) < 0.5
    struck = [n for n in range(1, len(frames), 2) if (frames[n].image == 2.0**16).any()]
    assert struck == list(range(5, len(frames), 6))


def test_a_frame_is_a_function_of_its_number_in_any_process(study: Any, clean: Any) -> None:
    frames = study.TrainingSet(clean, CLEAN_FRAMES, tuple(study.STRENGTHS), combined=True)
    packed = pickle.dumps(frames)
    # The stored counts stay on disk.
    assert len(packed) < 2000
    again = pickle.loads(packed)  # noqa: S301  # our own bytes
    assert all(np.array_equal(frames[n].image, again[n].image) for n in (7, 1, 0))


@pytest.mark.parametrize("kind", ["blur", "counting", "salt and pepper"])
def test_strengths_are_those_of_the_paper(study: Any, kind: str) -> None:
    drawn = [study.drawn_strength(kind, np.random.default_rng(n)) for n in range(500)]
    low, high = study.RANGES[kind]
    assert low <= min(drawn) < low + 0.05 * (high - low)
    assert high - 0.05 * (high - low) < max(drawn) <= high


def test_a_test_set_is_the_same_scenes_with_the_clean_labels(study: Any, clean: Any) -> None:
    sets = [study.NoisySet(clean, 8, *s) for s in study.TEST_SETS]
    assert len(sets) == 10
    for n in range(8):
        assert {repr(frames[n].truth) for frames in sets} == {repr(clean.frame(n).truth)}
    faint, bright = (np.mean([f[n].image.sum() for n in range(8)]) for f in (sets[6], sets[0]))
    assert bright / faint == pytest.approx(study.TEST_SETS[6][1], rel=0.01)

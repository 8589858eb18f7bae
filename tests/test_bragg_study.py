"""The study of Bragg frames: tiles of whole images, rules that make a pattern of them, scores that leave out what is doubtful."""

# SPDX-License-Identifier: BSD-3-Clause

import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from beamsight.task import find_task, make_batch

STUDIES = Path(__file__).parents[1] / "studies"
WINDOW = 256


@pytest.fixture(scope="module")
def study() -> Any:
    names = ("bragg_images", "bragg_scores", "bragg_frames")
    return SimpleNamespace(**{name: importlib.import_module(name) for name in names})


def told(study: Any, truth: list[Any], said: list[Any], limit: float = 0.5) -> Any:
    arrays = ([np.array(image, float) for image in part] for part in (truth, said))
    return study.bragg_scores.Told(*arrays, limit, ["no pattern"] * len(truth), (["A", "B"] * len(truth))[: len(truth)])


def test_tiles_of_an_image_lie_as_in_the_image(study: Any) -> None:
    image = np.arange(128 * 192).reshape(128, 192)
    tiles = study.bragg_images.in_tiles(image)
    assert tiles.shape == (2, 3, 64, 64)
    assert (tiles[1, 2] == image[64:, 128:]).all()


def test_images_are_whole_detectors_in_whole_tiles_and_windows_of_large_ones(study: Any) -> None:
    task = find_task("bragg-frames")
    scenes = {index: task.draw(0, index) for index in range(60)}
    small = next(i for i, scene in scenes.items() if scene.height * scene.width < 2_000_000)
    whole, height, width = study.bragg_images.image_of(task, small), scenes[small].height, scenes[small].width
    # No pixel of the detector is lost: what is more is not trusted.
    assert [0 <= n - side < 64 for n, side in zip(whole.counts.shape, (height, width), strict=True)] == [True, True]
    assert not whole.mask[height:].any()
    assert not whole.mask[:, width:].any()
    assert whole.tiles.shape == tuple(n // 64 for n in whole.counts.shape)
    large = next(i for i, scene in scenes.items() if scene.height * scene.width > study.bragg_images.MOST_PIXELS)
    assert study.bragg_images.image_of(task, large).counts.shape == (study.bragg_images.WINDOW_PX,) * 2


def test_the_truth_of_tiles_and_images_is_that_of_the_task(study: Any) -> None:
    task = find_task("bragg-frames")
    for index in range(30):
        found = study.bragg_images.image_of(task, index, WINDOW)
        label = make_batch(task, 0, [index], (WINDOW, WINDOW)).truth[0, 1].item()
        np.testing.assert_equal(study.bragg_images.pattern(found.tiles), label)


def test_a_tile_without_a_pixel_that_measures_is_not_counted(study: Any) -> None:
    task = find_task("bragg-frames")
    images = (study.bragg_images.image_of(task, index, WINDOW) for index in range(200))
    found = next(image for image in images if not image.mask[-64:, -64:].any())
    assert np.isnan(found.tiles[-1, -1])


def test_neither_gain_nor_offset_nor_hidden_pixels_change_a_levelled_image(study: Any) -> None:
    rng = np.random.default_rng(1)
    counts, mask = rng.normal(5, 1, (64, 64)).astype(np.float32), rng.random((64, 64)) < 0.8
    plain = study.bragg_images.levelled(counts, mask)
    assert np.median(plain[mask]) == pytest.approx(0, abs=1e-3)
    assert plain[mask].std() == pytest.approx(1, abs=0.05)
    assert (plain[~mask] == 0).all()
    other = np.where(mask, 300 * counts - 77, 1e9).astype(np.float32)
    np.testing.assert_allclose(study.bragg_images.levelled(other, mask), plain, atol=1e-3)
    for level in (np.zeros((64, 64), np.float32), counts):
        assert np.isfinite(study.bragg_images.levelled(level, mask & False)).all()
    assert (study.bragg_images.levelled(np.zeros((64, 64), np.float32), mask) == 0).all()


def test_images_are_taken_by_turns_as_many_of_each(study: Any) -> None:
    held = {"p": [[1, 1, 1]], "n": [[0, 0, 0]], "d": [[1, 0, 0]]}
    images = [SimpleNamespace(tiles=np.array(held[k], float), name=f"{k}{i}") for i, k in enumerate("ppdpnpdnnnpn")]
    coming = iter(images)
    taken = [image.name for image in study.bragg_images.by_turns(coming, 3)]
    assert taken == ["n4", "p0", "n7", "p1", "n8", "p3"]
    # No image is made that is not needed.
    assert next(coming).name == "n9"


def test_stored_tiles_are_made_once_and_read_with_their_truth(study: Any, tmp_path: Path) -> None:
    task = find_task("bragg-frames")
    tiles = study.bragg_images.store_tiles(task, tmp_path / "t", iter(range(2**20, 2**20 + 400)), 1, 192)
    frames = [tiles[n] for n in range(len(tiles))]
    assert 2 <= len(tiles) <= 18
    assert sum(f.truth == "Bragg spots" for f in frames) >= study.bragg_images.ENOUGH
    assert len({f.key for f in frames}) == len(tiles)
    again = study.bragg_images.store_tiles(task, tmp_path / "t", iter(()), 1, 192)
    assert len(again) == len(tiles)


def test_scores_leave_out_what_is_doubtful(study: Any) -> None:
    nan = np.nan
    answers = told(study, [[[1, 1, 0, 0, nan]], [[0, 1, nan]]], [[[0.9, 0.1, 0.8, 0, 1]], [[0, 0.5, 1]]])
    scores = study.bragg_scores.tile_scores(answers)
    assert scores["tiles"] == 6
    assert scores["share"] == 0.5
    assert scores["accuracy"] == pytest.approx(4 / 6)
    assert scores["precision"] == scores["recall"] == pytest.approx(2 / 3)


def test_rules_count_tiles_and_leave_doubtful_images_apart(study: Any) -> None:
    patterns, counts = np.array([1, 1, 0, 0, np.nan]), np.array([9, 4, 3, 0, 7])
    right = [study.bragg_scores.images_right(counts, patterns, n) for n in (3, 4, 5)]
    assert right == [0.75, 1.0, 0.75]
    assert study.bragg_scores.chosen_rule(counts, patterns) == 4
    # Of rules that are as good, the middle one.
    assert study.bragg_scores.chosen_rule(np.array([9, 0]), np.array([1.0, 0.0])) == 5


def test_the_worst_images_have_the_most_wrong_tiles(study: Any) -> None:
    answers = told(study, [[[1, 0]], [[0, 0]], [[np.nan, 1]]], [[[1, 1]], [[1, 1]], [[1, 1]]])
    assert study.bragg_scores.worst(answers, 2) == [1, 0]
    assert study.bragg_scores.only(answers, "B").truth[0].tolist() == [[0, 0]]


def test_what_was_answered_is_not_asked_again(study: Any, tmp_path: Path) -> None:
    task, asked = find_task("bragg-frames"), []

    def judge(found: Any) -> dict[str, Any]:
        asked.append(found.detector)
        return {"said": found.tiles, "answer": "x"}

    for indices in ([0, 1], [0, 1, 2]):
        study.bragg_images.judged(task, indices, {tmp_path / "a": judge}, WINDOW)
    assert len(asked) == 3
    read = study.bragg_images.read_judged(tmp_path / "a", [2, 0])
    np.testing.assert_array_equal(read[1]["said"], study.bragg_images.image_of(task, 0, WINDOW).tiles)
    assert str(read[0]["answer"]) == "x"


def test_figures_of_perfect_answers_keep_every_bound(study: Any) -> None:
    truth = [[[1, 1, 1, 0]], [[0, 0, 0, 0]], [[1, 0, np.nan, 0]]]
    said = [np.nan_to_num(np.array(t, float)).tolist() for t in truth]
    both = {name: told(study, truth, said) for name in ("ours", "Table IV")}
    figures = study.bragg_frames.rows(both, {"ours": 2, "Table IV": 2})
    assert all(row.kept for row in figures if row.asked is not None)
    assert sum(row.asked is not None for row in figures) == 3
    assert study.bragg_frames.detector_table(both, {"ours": 2, "Table IV": 2}).count("\n") == 3

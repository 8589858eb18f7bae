"""The network that finds small things: cells, tiles, frames of any size, and answers that say where and how surely."""

# SPDX-License-Identifier: BSD-3-Clause

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from beamsight.ahead import made_ahead
from beamsight.answer import UNSURE, from_line
from beamsight.bundle import Bundle, load
from beamsight.calibrate import sure_from
from beamsight.errors import BeamsightError
from beamsight.examples import Source, fewest, positions, simulated, turned
from beamsight.frame import Frame, Geometry
from beamsight.spots import any_in_tile, tiles
from beamsight.state import STATE
from beamsight.targets import OneOf
from beamsight.task import example, make_frame
from beamsight.train import learn, start
from beamsight.views import build_view
from toy_spots import CELL, RECIPE, SIDE, TOY_SPOTS, run, trained


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load(trained())


def test_a_tile_holds_a_spot_unless_none_of_its_cells_does() -> None:
    cells = torch.randn(2, 16, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 3 - 4
    none = (1 - torch.sigmoid(cells)).reshape(2, 2, 8, 3, 8).prod(4).prod(2)
    torch.testing.assert_close(torch.sigmoid(tiles(cells)), 1 - none)


def test_truth_of_tiles_is_doubtful_only_where_it_may_be_either() -> None:
    places = torch.zeros(1, 8, 24)
    places[0, 1, 1], places[0, 2, 9], places[0, 3, 9] = 1, torch.nan, 1
    places[0, 4, 20] = torch.nan
    assert any_in_tile(places)[0, 0].tolist()[:2] == [1, 1]
    assert any_in_tile(places)[0, 0, 2].isnan()


def test_frames_of_a_run_share_what_the_run_drew() -> None:
    flats = {n: {example(TOY_SPOTS, 5, i)[0].flat for i in run(n)[::17]} for n in range(3)}
    assert [len(flat) for flat in flats.values()] == [1, 1, 1]
    assert len(set.union(*flats.values())) == 3


def test_places_turn_with_their_frames() -> None:
    made = simulated(TOY_SPOTS, SIDE, 1, range(16))
    rng = np.random.default_rng(0)
    moved = turned(made, positions(replace(TOY_SPOTS.recipe, batch=16), rng))
    assert made.places is not None
    assert moved.places is not None
    bright = torch.nn.functional.max_pool2d(moved.counts[:, None], CELL)[:, 0]
    # Where a spot is said to lie the light is, turned or not.
    assert bright[moved.places == 1].mean() > 2 * bright[moved.places == 0].mean()
    assert not torch.equal(moved.places, made.places)


def test_answers_say_where_on_frames_of_any_size(bundle: Bundle) -> None:
    frames = [make_frame(TOY_SPOTS, 9, i, shape) for i, shape in enumerate([(128, 128), (200, 330), (200, 330), (64, 70)])]
    for frame, answer in zip(frames, bundle.predict(frames), strict=True):
        assert answer.error is None
        assert answer.places is not None
        sky = frame.scene
        there = sky.photons > 0
        held = {
            (int(y * frame.image.shape[0]) // 64, int(x * frame.image.shape[1]) // 64)
            for y, x in zip(sky.y[there], sky.x[there], strict=True)
        }
        told = {(y, x) for y, x, _ in answer.places}
        assert len(told ^ held) <= max(1, len(held) // 2)
        assert from_line(answer.line()).names == answer.names


def test_the_same_pixels_give_the_same_answer_alone_and_among_others(bundle: Bundle) -> None:
    frames = [make_frame(TOY_SPOTS, 9, i, (128, 192)) for i in range(5)]
    together = list(bundle.predict(frames))
    for frame, answer in zip(frames, together, strict=True):
        alone = next(bundle.predict(frame))
        assert alone.probability == pytest.approx(answer.probability, abs=1e-3)


def test_frames_of_several_shapes_and_refusals_come_back_in_order(bundle: Bundle) -> None:
    def blank(key: str) -> Frame:
        return Frame(np.zeros((96, 64), np.float32), np.zeros((96, 64), bool), Geometry((96, 64)), key)

    frames = [make_frame(TOY_SPOTS, 9, 0, (64, 64)), blank("a"), make_frame(TOY_SPOTS, 9, 1, (128, 64)), blank("b"),
              make_frame(TOY_SPOTS, 9, 2, (64, 64))]  # fmt: skip
    answers = list(bundle.predict(frames))
    assert [a.key for a in answers] == [f.key for f in frames]
    assert [a.error is not None for a in answers] == [False, True, False, True, False]


def test_an_answer_that_is_not_sure_enough_says_so(bundle: Bundle) -> None:
    frames = [make_frame(TOY_SPOTS, 9, i) for i in range(8)]
    sure = replace(bundle, card=bundle.card | {"sure": 0.0})
    never = replace(bundle, card=bundle.card | {"sure": 1.01})
    for a, b in zip(sure.predict(frames), never.predict(frames), strict=True):
        assert a.answer in ("miss", "hit")
        assert b.answer == UNSURE
        assert b.doubtful == [a.answer]


def test_outside_the_unsure_zone_answers_are_right_as_often_as_was_asked() -> None:
    rng = np.random.default_rng(3)
    p = rng.uniform(size=20_000)
    there = rng.uniform(size=p.size) < p
    probability, truth = np.stack([1 - p, p], 1), np.stack([~there, there], 1).astype(float)
    either = OneOf(("miss", "hit"), right=0.95)
    limit = sure_from(either, probability, truth)
    chosen = probability.max(1) >= limit
    right = truth[np.arange(len(p)), probability.argmax(1)] == 1
    assert right[chosen].mean() >= 0.95
    # With probabilities that come true, the mean above the limit is what was asked.
    assert limit == pytest.approx(0.9, abs=0.02)
    assert sure_from(either, probability, 1 - truth) > 1


def test_what_lies_between_two_names_contradicts_neither() -> None:
    three = OneOf(("miss", "weak", "hit"), between=("weak",), right=0.999)
    p = np.array([[0.5, 0.45, 0.05], [0.05, 0.45, 0.5], [0.3, 0.4, 0.3], [0.5, 0.0, 0.5]])
    assert three.sureness(p) == pytest.approx([0.95, 0.95, 1.0, 0.5])
    assert OneOf(three.names).sureness(p) == pytest.approx([0.5, 0.5, 0.4, 0.5])
    # Of a thousand misses one is a hit and many are weak: only the hit is a mistake.
    truth = np.eye(3)[[0] * 600 + [1] * 399 + [2]]
    assert sure_from(three, np.tile(p[:1], (1000, 1)), truth) == pytest.approx(0.95)
    assert sure_from(replace(three, right=0.9995), np.tile(p[:1], (1000, 1)), truth) > 1
    assert sure_from(OneOf(three.names, right=0.7), np.tile(p[:1], (1000, 1)), truth) > 1


def test_the_card_says_what_a_stranger_needs(bundle: Bundle) -> None:
    card = json.loads((Path(bundle.folder) / "card.json").read_text())
    assert card["places"]["side_px"] == 64
    assert 0 < card["places"]["threshold"] < 1
    assert card["view"] == "contrast"
    assert len(card["normal"]["drift"]) == len(STATE)
    assert card["normal"]["limit"] > 0


def test_every_third_batch_has_fewer_and_wider_windows_and_leaves_the_means_alone() -> None:
    recipe = replace(RECIPE, wide=2, batch=8, warmup=3, size=64)
    source = Source(TOY_SPOTS, recipe)
    assert [tuple(source.step(n).counts.shape) for n in range(7)] == [
        (2, 128, 128) if n in (3, 6) else (8, 64, 64) for n in range(7)
    ]
    state, view = start(TOY_SPOTS.target, recipe), build_view("contrast")
    means = {k: v.clone() for k, v in state.network.state_dict().items() if "running_mean" in k}
    for number, same in ((3, True), (4, False)):
        learn(state, view, source.step(number), TOY_SPOTS.target, recipe)
        assert same == all(torch.equal(state.network.state_dict()[k], v) for k, v in means.items())
    with made_ahead(source.step, 2, 5) as batches:
        for number, batch in batches:
            assert torch.equal(batch.counts, source.step(number).counts)
    with pytest.raises(BeamsightError, match="a batch of 16 or more"):
        fewest(replace(recipe, wide=4))

"""The task of lattices: where the beam lies in turned files, 8-bit pictures, what is doubtful, what the paper's scenes are."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.random import default_rng

from beamsight.detector import Detector
from beamsight.examples import TRAINING, Source
from beamsight.physics.crystals import NAMES
from beamsight.targets import scored
from beamsight.task import columns, example, example_detector, exposures, make_batch
from beamsight.tasks.gisaxs_lattice import TASK, draw, draw_beyond, draw_paper
from beamsight.tasks.gisaxs_lattice.films import block, layered, single
from beamsight.tasks.gisaxs_lattice.none import none
from beamsight.tasks.gisaxs_lattice.scene import Pattern, place
from beamsight.tasks.gisaxs_lattice.taking import ANSWERS, DIM_PH, SEEN, label, render, standing_out
from beamsight.train import loss_of
from beamsight.views import build_view

SHAPE = (96, 64)


def taken(scenes: list[Pattern], shape: tuple[int, int] = (128, 128)):
    return exposures(TASK, 0, range(len(scenes)), [(scene, Detector()) for scene in scenes], shape)


def named(scene: Pattern) -> str | None:
    return TASK.target.truth(label(*taken([scene]))[0].numpy())


@pytest.mark.parametrize("turns", range(4))
@pytest.mark.parametrize("shape", [SHAPE, SHAPE[::-1], (80, 80)])
def test_the_beam_is_where_the_geometry_says_in_turned_files(turns: int, shape: tuple[int, int]) -> None:
    scene = Pattern(0, 1e-8, lattice_ph=0.0, direct_ph=100.0, beam_rad=3e-4, beam_y=0.7, beam_x=0.3, turns=turns)
    image = render(columns([scene]), shape)[0].numpy()
    y, x = np.unravel_index(image.argmax(), shape)
    centre = place(scene, shape).centre_px
    assert centre is not None
    assert np.hypot(y - centre[0], x - centre[1]) < 1
    # The specular beam lies twice the incidence farther up, where up is after the turns.
    both = replace(scene, specular_ph=1000.0)
    y, x = np.unravel_index(render(columns([both]), shape)[0].numpy().argmax(), shape)
    length = shape[0] if turns % 2 == 0 else shape[1]
    away = 2 * np.tan(scene.incidence_rad) / scene.side_rad * length
    up = [(-1, 0), (0, -1), (1, 0), (0, 1)][turns]
    assert np.hypot(y - centre[0] - up[0] * away, x - centre[1] - up[1] * away) < 1.2


def test_pictures_are_eight_bits_of_the_logarithm() -> None:
    scene = replace(layered(default_rng(3), "HCP"), decades=4.0, lattice_ph=1e4, cover_y=1.0, cover_x=0.75, turns=0)
    _, exposed = taken([scene])
    _, plain = taken([replace(scene, decades=0.0)])
    picture, counts, mask = exposed.counts[0].numpy(), plain.counts[0].numpy(), exposed.mask[0].numpy()
    assert np.array_equal(picture, picture.round())
    assert picture.max() == 255
    assert not mask[:, 96:].any()
    assert mask[:, :96].all()
    expected = np.clip(np.log10(np.maximum(counts, 1e-30) / counts.max()) / 4 + 1, 0, 1) * 255
    assert np.abs(picture - expected)[mask].max() <= 0.5
    assert (picture[~mask] == 0).all()


def test_what_nothing_can_tell_is_doubtful() -> None:
    bright = {"lattice_ph": 1e3, "decades": 0.0, "turns": 0, "flat_ph": 0.0, "strewn": 0.0, "specular_ph": 0.0}
    for layers, clear in ((2, False), (3, True)):
        scenes = [layered(default_rng([9, n]), "FCC111") for n in range(60)]
        some = next(s for s in scenes if s.layers == layers and s.cover_y * s.cover_x == 1)
        assert (named(replace(some, **bright)) == "FCC111") is clear
    # Too little light, and light that lies evenly.
    film = replace(layered(default_rng(4), "BCC100"), **bright)
    assert named(film) == "BCC100"
    assert named(replace(film, lattice_ph=0.8 * DIM_PH)) is None
    assert named(replace(film, flat_ph=1e4)) is None


def test_few_blocks_show_the_same() -> None:
    blocks = [block(default_rng([11, n]), NAMES[n % 7]) for n in range(700)]
    assert 0.025 < np.mean([scene.alike.sum() > 1 for scene in blocks]) < 0.06  # one in twenty-five, as the task's page says


def test_what_shows_the_same_shares_its_truth() -> None:
    blocks = [replace(block(default_rng([8, n]), "Cubic110"), lattice_ph=1e4, flat_ph=0.0, decades=0.0) for n in range(120)]
    two = next(scene for scene in blocks if scene.alike.sum() == 2)
    truth = label(*taken([two]))[0].numpy()
    assert truth[:-1] == pytest.approx(two.alike / 2)
    assert truth[-1] == 0
    assert TASK.target.truth(truth) is None
    known = scored(truth)
    assert np.isnan(known[:-1][two.alike > 0]).all()
    assert (known[:-1][two.alike == 0] == 0).all()
    # Learnt from: the loss is least where all that shows the same is as probable.
    some = torch.tensor(np.log(truth + 1e-6)[None])
    sure = some.clone()
    sure[0, NAMES.index("Cubic110")] += 3
    assert loss_of(TASK.target, some, torch.tensor(truth[None])) < loss_of(TASK.target, sure, torch.tensor(truth[None]))


def test_crystals_along_one_direction_are_named_by_shadows_of_their_own_alone() -> None:
    for n in range(40):
        for name in NAMES:
            scene = single(default_rng([5, n]), name)
            assert scene.alike.any() or name in ("FCC100", "FCC111", "HCP")
            truth = label(*taken([replace(scene, lattice_ph=1e5, flat_ph=0.0, cover_y=1.0, cover_x=1.0, turns=0)]))[0]
            assert truth.isnan().all() or truth[NAMES.index(name)] == pytest.approx(1 / max(1, scene.alike.sum()))


def test_what_stands_out_is_no_smooth_light() -> None:
    scenes = [
        Pattern(0, 1e-8, lattice_ph=0.0, diffuse_ph=1e5, diffuse_rad=0.03, side_rad=0.05, grazing=0),
        replace(block(default_rng(7), "BCC100"), decades=0.0, lattice_ph=1e3),
    ]
    smooth, rich = standing_out(*taken(scenes)).tolist()
    assert smooth < SEEN
    assert rich > 10_000


def test_none_of_them_is_called_none() -> None:
    scenes = [none(default_rng([2, n])) for n in range(30)]
    truth = label(*taken(scenes))
    assert (truth.argmax(1) == ANSWERS.index("none")).all()
    assert not truth.isnan().any()


def test_the_papers_scenes_and_those_beyond_do_not_overlap() -> None:
    near, far = ([make(default_rng([1, n])) for n in range(80)] for make in (draw_paper, draw_beyond))
    assert {NAMES[s.kind] for s in near} == set(NAMES)
    assert all(s.turning == 1 and s.decades == 0 and s.beam_x < 0.01 for s in near + far)
    assert max(s.radius_m for s in near) < min(s.radius_m for s in far)
    assert max(s.cells.max() for s in near) < min(s.cells.min() for s in far)


def test_all_answers_are_drawn() -> None:
    scenes = [draw(default_rng([3, n])) for n in range(400)]
    share = np.bincount([s.truth for s in scenes], minlength=len(ANSWERS)) / len(scenes)
    assert (share > 0.06).all()
    assert share[-1] < 0.25


def test_scenes_that_come_again_are_rendered_once_and_never_twice_in_a_batch() -> None:
    drawn: list[float] = []
    batches: list[set[float]] = []

    def counted(scenes, shape):
        drawn.extend(scenes.side_rad[:, 0, 0].tolist())
        return render(scenes, shape)

    def named(scenes, exposed):
        batches.append(set(scenes.side_rad[:, 0, 0].tolist()))
        return label(scenes, exposed)

    recipe = replace(TASK.recipe, size=64, batch=4, exposures=2, mirror=False, rotate=False)
    source = Source(replace(TASK, render=counted, label=named), recipe)
    steps = [source.step(n) for n in range(6)]
    assert len(drawn) == len(set(drawn)) == 2 * (6 + 2)
    assert all(len(batch) == 4 for batch in batches)
    assert [len(batches[0] & batches[n]) for n in range(1, 6)] == [0, 2, 0, 0, 0]
    # Two steps on, the scenes that were new stand one place further, before other detectors.
    assert not torch.equal(steps[0].counts[[0, 2]], steps[2].counts[[1, 3]])
    # Whoever makes a step makes the same, and each frame is the example of its number.
    again = Source(TASK, recipe).step(2)
    torch.testing.assert_close(again.counts, steps[2].counts)
    numbers = [TRAINING[(came * 2 + n) * 2] + k for n in range(2) for k, came in enumerate((4, 2))]
    cases = [(example(TASK, recipe.seed, i - i % 2)[0], example_detector(TASK, recipe.seed, i)) for i in numbers]
    alone = make_batch(TASK, recipe.seed, numbers, (64, 64), drawn=cases)
    torch.testing.assert_close(alone.counts, steps[2].counts, rtol=1e-4, atol=1e-4)


def test_the_view_shows_counts_and_pictures_alike() -> None:
    """What stands out hardly depends on the scale that brings it; a beam that outshines all moves little."""
    scene = replace(layered(default_rng(11), "FCC100"), lattice_ph=1e4, decades=0.0, turns=0, cover_y=1.0, cover_x=1.0)
    _, plain = taken([scene])
    _, picture = taken([replace(scene, decades=6.0)])
    view, mask = build_view("decades"), torch.ones(1, 128, 128)
    counts, logs = view(plain.counts, mask)[0], view(picture.counts, mask)[0]
    lit = plain.counts[0] > 5
    alike = [np.corrcoef(counts[n][lit].numpy(), logs[n][lit].numpy())[0, 1] for n in (0, 1, 2)]
    assert min(alike) > 0.6
    outshone = plain.counts.clone()
    outshone[0, 60, 60] = 1e9
    far = torch.ones(128, 128, dtype=torch.bool)
    far[45:76, 45:76] = False
    moved = (view(outshone, mask)[0, :3] - counts[:3]).abs()[:, far]
    assert moved.mean() < 0.05

"""The contract: what every task must keep, asked of every task that is found and of two small ones."""

import hashlib
import subprocess
import sys
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from beamsight.checkpoint import BEST
from beamsight.disturb import DISTURBANCES
from beamsight.errors import UnknownTask
from beamsight.examples import TRAINING, VALIDATION, simulated
from beamsight.export import graph_of
from beamsight.networks import Whole, build_network
from beamsight.targets import OneOf, Tags, scored
from beamsight.task import Task, columns, example, find_task, find_tasks, frames_of, make_batch, make_frame
from beamsight.train import every_other, loss_of, train
from beamsight.views import build_view
from bright import brightly
from command import same_paths
from toy import TOY, TOY_ONE
from toy_spots import TOY_SPOTS

FOUND = list(find_tasks().values())
TASKS = [*FOUND, TOY, TOY_ONE, TOY_SPOTS]
every_task = pytest.mark.parametrize("task", TASKS, ids=lambda t: t.name)
SMALL = (64, 64)
SEED = 3
# Sums over other neighbours in a batch are rounded in another order; counts are then the same but for that.
ROUNDING = 1e-5


def print_of(frame) -> str:
    return hashlib.sha256(frame.image.tobytes() + frame.mask.tobytes() + repr((frame.key, frame.truth)).encode()).hexdigest()


def scenes(task: Task, indices: range) -> list:
    return [example(task, SEED, i)[0] for i in indices]


def test_a_task_was_found() -> None:
    assert FOUND
    assert all(find_task(t.name) is t for t in FOUND)


@pytest.mark.parametrize("task", FOUND, ids=lambda t: t.name)
def test_a_misspelt_task_is_suggested(task: Task) -> None:
    with pytest.raises(UnknownTask, match=task.name):
        find_task(task.name[:-1])


@every_task
def test_an_example_is_a_function_of_its_number(task: Task) -> None:
    alone = [print_of(make_frame(task, SEED, i, SMALL)) for i in (5, 2)]
    again = [print_of(make_frame(task, SEED, i, SMALL)) for i in (2, 5)]
    assert alone == again[::-1]
    assert alone[0] != alone[1]
    assert print_of(make_frame(task, SEED + 1, 5, SMALL)) != alone[0]


@every_task
def test_an_example_does_not_depend_on_its_neighbours(task: Task) -> None:
    together = frames_of(task, SEED, make_batch(task, SEED, range(8), SMALL))
    for frame in together:
        alone = make_frame(task, SEED, int(frame.key.rsplit("/", 1)[1]), SMALL)
        assert alone.truth == frame.truth
        assert np.array_equal(alone.mask, frame.mask)
        assert np.mean(~np.isclose(alone.image, frame.image, rtol=ROUNDING, atol=ROUNDING)) < 1e-3


@pytest.mark.parametrize("task", FOUND, ids=lambda t: t.name)
def test_another_process_makes_the_same_example(task: Task) -> None:
    code = f"from test_tasks import *\nprint(print_of(make_frame(find_task({task.name!r}), {SEED}, 7, {SMALL})))"
    done = subprocess.run([sys.executable, "-c", code], env=same_paths(), capture_output=True, text=True, check=True)
    assert done.stdout.strip() == print_of(make_frame(task, SEED, 7, SMALL))


@every_task
def test_render_gives_photons(task: Task) -> None:
    photons = task.render(columns(scenes(task, range(16))), SMALL)
    assert photons.shape == (16, *SMALL)
    assert photons.isfinite().all()
    assert (photons >= 0).all()


@every_task
def test_one_by_one_equals_columns(task: Task) -> None:
    drawn = scenes(task, range(6))
    together = task.render(columns(drawn), SMALL)
    for n, scene in enumerate(drawn):
        torch.testing.assert_close(task.render(columns([scene]), SMALL)[0], together[n], rtol=1e-3, atol=1e-4)


@every_task
def test_render_makes_everything_on_the_device_that_is_asked_for(task: Task) -> None:
    # A device without memory finds tensors made elsewhere, no accelerator needed.
    with torch.device("meta"):
        photons = task.render(columns(scenes(task, range(4))), SMALL)
    assert photons.device.type == "meta"
    assert photons.shape == (4, *SMALL)


@every_task
def test_frames_of_another_shape_are_made(task: Task) -> None:
    frame = make_frame(task, SEED, 1, (96, 96))
    assert frame.image.shape == (96, 96) == frame.geometry.shape
    assert repr(frame.scene) == repr(make_frame(task, SEED, 1, SMALL).scene)


@every_task
def test_the_view_is_as_announced_and_finite_without_a_trusted_pixel(task: Task) -> None:
    counts = simulated(task, SMALL[0], SEED, range(3)).counts
    for name in task.views:
        view = build_view(name)
        for mask in (torch.ones(3, *SMALL), torch.zeros(3, *SMALL)):
            seen = view(counts, mask)
            assert seen.shape == (3, *view.shape(*SMALL))
            assert seen.isfinite().all()


@every_task
def test_every_truth_is_one_that_the_target_takes(task: Task) -> None:
    batch = simulated(task, SMALL[0], SEED, range(24))
    assert batch.truth.shape == (24, task.target.width)
    for row in batch.truth.numpy():
        shared = isinstance(task.target, OneOf) and np.isnan(scored(row)).any()
        known = np.full_like(row, np.nan) if shared else row
        assert np.array_equal(task.target.encode(task.target.truth(row)), known, equal_nan=True)
        assert not shared or np.isnan(row).all() or row.sum() == pytest.approx(1)
    assert loss_of(task.target, torch.randn(24, task.target.width), batch.truth).isfinite()


@every_task
def test_sweeps_and_views_exist(task: Task) -> None:
    known = {f.name for f in fields(example(task, SEED, 0)[1])} | set(DISTURBANCES)
    assert set(task.sweeps) <= known
    # None at all leaves a sweep out.
    assert all(len(values) != 1 for values in task.sweeps.values())
    assert task.recipe.view in task.views
    assert task.question.strip()
    assert "\n" not in task.question.strip()


@pytest.mark.parametrize("task", [*FOUND, TOY_ONE], ids=lambda t: t.name)
def test_the_exported_graph_is_the_network(task: Task) -> None:
    import onnxruntime

    size = task.recipe.size
    view = build_view(task.recipe.view)
    whole = Whole(
        view, build_network(task.recipe.network, view.shape(size, size)[0], task.target.width, task.recipe.view, size)
    ).eval()
    session = onnxruntime.InferenceSession(graph_of(whole, size))
    batch = simulated(task, size, SEED, VALIDATION[:3])
    with torch.inference_mode():
        expected = [t.numpy() for t in whole(batch.counts, batch.mask.float(), every_other(batch.centre))[:2]]
    every = {"counts": batch.counts, "mask": batch.mask.float(), "centre": every_other(batch.centre)}
    got = session.run(["logits", "embedding"], {i.name: every[i.name].numpy() for i in session.get_inputs()})
    for a, b in zip(expected, got, strict=True):
        # Weights are kept to eleven bits.
        np.testing.assert_allclose(a, b, atol=5e-3, rtol=5e-3)


@pytest.mark.slow
@pytest.mark.timeout(900)
@every_task
def test_a_short_training_beats_chance(task: Task, tmp_path: Path) -> None:
    # Chance gives each name its share of frames as average precision. At a quarter of the size, two minutes suffice for a start.
    size, steps, exposures = task.recipe.size // 4, 150, task.recipe.exposures
    if task.locate:
        size = 128  # where things lie takes more than one tile
    if task.rods:
        # A lattice is told by all of its rods at once, and among faults and noise nothing is learnt in so few steps.
        task, size, steps, exposures = brightly(task), task.recipe.size, 200, 8
    few = {"batch": 32, "warmup": 20, "validation": 512, "validate_every": 75}
    recipe = replace(task.recipe, size=size, steps=steps, exposures=exposures, precision="fp32", **few)
    train(task, tmp_path, recipe)
    truth = simulated(task, size, recipe.seed, TRAINING[:512]).truth.numpy()
    with safe_open(tmp_path / BEST, "pt") as file:
        assert float(file.metadata()["score"]) > np.nanmean(truth) + 0.1


def test_truth_of_tags_may_be_doubtful() -> None:
    assert isinstance(TOY.target, Tags)
    assert simulated(TOY, 64, SEED, range(64)).truth.isnan().any()

"""A task: one question about one kind of image, and the physics that makes labelled examples of it."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import Any

import numpy as np
import torch
from numpy.random import default_rng
from numpy.typing import NDArray

from beamsight.detector import Detector, expose
from beamsight.errors import UnknownTask
from beamsight.frame import Frame, Geometry
from beamsight.recipe import Recipe
from beamsight.targets import Target

# The streams of one example: its scene, its detector, its noise.
SCENE, DETECTOR, NOISE = 0, 1, 2


@dataclass(frozen=True)
class Task:
    """One question about one kind of image.

    `name` and `question` (one line); `target` what is asked; `shape` (H, W) px of the frames made by default.
    `draw(rng)` gives a scene, a frozen dataclass of numbers and fixed-size arrays; `place(scene, shape)` its Geometry;
    `render(scenes, shape)` the mean photons a pixel [B H W] of `columns(scenes)`; `detector(rng)` the Detector of one frame;
    `label(scenes, exposed)` the truth [B T]: 1 present, 0 absent, NaN doubtful.
    `expose(scenes, detectors, shape, seeds)` what detectors of its own make of scenes; None where they are each a `Detector`.
    `written(scenes, exposed)` what of it reaches a file, where that is not all of it as it is.
    `locate(scenes, exposed)` where on a grid of cells what is asked lies [B h w]: 1, 0, NaN doubtful; None where nothing has a
    place. `run(n)`, where frames of a run share more than chance has it, the numbers of the examples of run n in their order,
    which begin later the higher n is: `draw` and `detector` are then given (seed, index).
    `state(seed, index)` what such a frame is like as a whole (`state.state_of`), where that can be told without making all of it.
    `rods` {answer: (|G| x distance, number) of the rods of a lattice's layers}, by which answers tell how far its neighbours are.
    `views` the views by name that suit the task; `sweeps` {field of Detector or disturbance: values from mild to bad} where they
    are not those that every task is measured by; `references` its sources.
    """

    name: str
    question: str
    target: Target
    shape: tuple[int, int]
    draw: Callable[..., Any]
    place: Callable[[Any, tuple[int, int]], Geometry]
    render: Callable[[Any, tuple[int, int]], torch.Tensor]
    detector: Callable[..., Any]
    label: Callable[[Any, Any], torch.Tensor]
    expose: Callable[[Any, Any, tuple[int, int], torch.Tensor], Any] | None = None
    written: Callable[[Any, Any], Any] | None = None
    locate: Callable[[Any, Any], torch.Tensor] | None = None
    run: Callable[[int], Sequence[int]] | None = None
    state: Callable[[int, int], NDArray[np.float64]] | None = None
    rods: Mapping[str, Sequence[tuple[float, float]]] = field(default_factory=dict)
    views: tuple[str, ...] = ("image",)
    recipe: Recipe = field(default_factory=Recipe)
    sweeps: Mapping[str, Sequence[float]] = field(default_factory=dict)
    references: tuple[str, ...] = ()


@dataclass(frozen=True)
class Batch:
    """Examples made together: `counts` [B H W] float32, `mask` [B H W] bool (True = trust), `truth` [B T], their numbers, and
    `places` [B h w] where the task locates what it asks for."""

    counts: torch.Tensor
    mask: torch.Tensor
    truth: torch.Tensor
    scenes: tuple[Any, ...]
    indices: tuple[int, ...]
    places: torch.Tensor | None = None


def columns(scenes: Sequence[Any]) -> Any:
    """The same dataclass with every number as a tensor [B 1 1] and every array as a tensor [B ...], on torch's default device."""
    values = {f.name: _column([getattr(s, f.name) for s in scenes]) for f in fields(scenes[0])}
    return replace(scenes[0], **values)


def _column(values: list[Any]) -> torch.Tensor:
    stacked = torch.tensor(np.asarray(values))
    if stacked.is_floating_point():
        stacked = stacked.float()
    return stacked[:, None, None] if stacked.ndim == 1 else stacked


def example(task: Task, seed: int, index: int) -> tuple[Any, Detector]:
    """Scene and detector of example number `index`: a pure function of (task, seed, index)."""
    scene = task.draw(default_rng([seed, index, SCENE])) if task.run is None else task.draw(seed, index)
    return scene, example_detector(task, seed, index)


def example_detector(task: Task, seed: int, index: int) -> Any:
    """The detector of example number `index`."""
    return task.detector(default_rng([seed, index, DETECTOR])) if task.run is None else task.detector(seed, index)


def make_batch(
    task: Task,
    seed: int,
    indices: Sequence[int],
    shape: tuple[int, int] | None = None,
    change: Callable[[Detector], Detector] | None = None,
    drawn: Sequence[tuple[Any, Detector]] | None = None,
    light: torch.Tensor | None = None,
) -> Batch:
    """The examples `indices`, made on torch's default device; each is the same whatever stands beside it.

    `shape` (H, W) px, by default the task's; `change` alters each drawn detector, as robustness studies do; `drawn` what
    `example` gave for each index, and `light` [B H W] what was rendered of it, where that is known already.
    """
    drawn = drawn or [example(task, seed, i) for i in indices]
    if change is not None:
        drawn = [(scene, change(detector)) for scene, detector in drawn]
    scenes, exposed = exposures(task, seed, indices, drawn, shape or task.shape, light)
    truth = task.label(scenes, exposed)
    places = None if task.locate is None else task.locate(scenes, exposed)
    return Batch(exposed.counts, exposed.mask, truth, tuple(scene for scene, _ in drawn), tuple(indices), places)


def exposures(
    task: Task,
    seed: int,
    indices: Sequence[int],
    drawn: Sequence[tuple[Any, Detector]],
    shape: tuple[int, int],
    light: torch.Tensor | None = None,
) -> tuple[Any, Any]:
    """`columns` of the drawn scenes and what their detectors make of them: all that a label is taken from. `light` [B H W] of the
    scenes, where it was rendered already; a task that exposes by itself takes none."""
    scenes, detectors = columns([scene for scene, _ in drawn]), columns([detector for _, detector in drawn])
    centres = torch.tensor([task.place(scene, shape).centre_px or (0.0, 0.0) for scene, _ in drawn])
    noise = torch.tensor([int(default_rng([seed, i, NOISE]).integers(2**31)) for i in indices])
    if task.expose is not None:
        return scenes, task.expose(scenes, detectors, shape, noise)
    exposed = expose(task.render(scenes, shape) if light is None else light, detectors, centres, noise)
    return scenes, exposed if task.written is None else task.written(scenes, exposed)


def make_frame(task: Task, seed: int, index: int, shape: tuple[int, int] | None = None) -> Frame:
    """Example number `index` as a Frame; its key quotes it: task/seed/index."""
    batch = make_batch(task, seed, [index], shape)
    return frames_of(task, seed, batch)[0]


def frames_of(task: Task, seed: int, batch: Batch) -> list[Frame]:
    """The examples of a batch as Frames."""
    counts, mask, truth = batch.counts.cpu().numpy(), batch.mask.cpu().numpy(), batch.truth.cpu().numpy()
    return [
        Frame(
            image=counts[n],
            mask=mask[n],
            geometry=task.place(scene, (counts.shape[1], counts.shape[2])),
            key=f"{task.name}/{seed}/{index:08d}",
            truth=task.target.truth(truth[n]),
            scene=scene,
        )
        for n, (scene, index) in enumerate(zip(batch.scenes, batch.indices, strict=True))
    ]


def find_tasks() -> dict[str, Task]:
    """Every task by name: the modules of `beamsight.tasks`, and what other packages announce at that entry point."""
    package = importlib.import_module("beamsight.tasks")
    modules = [importlib.import_module(f"beamsight.tasks.{m.name}") for m in pkgutil.iter_modules(package.__path__)]
    found = [m.TASK for m in modules] + [e.load() for e in entry_points(group="beamsight.tasks")]
    return {task.name: task for task in sorted(found, key=lambda t: t.name)}


def find_task(name: str) -> Task:
    """The task of that name. Raises UnknownTask, which lists the close names."""
    tasks = find_tasks()
    if name in tasks:
        return tasks[name]
    close = get_close_matches(name, tasks, n=3, cutoff=0.4) or list(tasks)
    raise UnknownTask(f"no task is called {name!r}; did you mean {' or '.join(close)}?")

"""Batches to learn from and to be judged by: simulated by number, or taken from stored frames.

Every batch is a pure function of its step, so that any process can make it and resuming is a number.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from torch import Tensor, nn

from beamsight.detector import Detector
from beamsight.errors import BeamsightError
from beamsight.frame import Frame, fit
from beamsight.recipe import Recipe
from beamsight.targets import Tags, Target
from beamsight.task import Task, columns, example, example_detector, frames_of, make_batch
from beamsight.views import LOCAL_VIEWS, struck

# Which example numbers serve what: the three never share one, whatever the seed. `simulate` writes test examples.
TEST, VALIDATION, TRAINING = range(2**19), range(2**19, 2**20), range(2**20, 2**40)

# Streams of random numbers of a training, beside those of an example.
AUGMENT, SHUFFLE = 10, 11

WIDE_EVERY = 3  # steps: one of which has wide windows
# The share of stored frames that is kept from training to judge it by.
KEPT = 0.1


@dataclass(frozen=True)
class Examples:
    """`counts` [B S S] float32, `mask` [B S S] bool (True = trust), `truth` [B T] float32 (NaN = doubtful), `centre` [B 2]
    (y, x) px of the beam (NaN = unknown); `seen` [B h w C] what a view shows of them, channels last, where that is known;
    `places` [B h w] where what is asked lies, of tasks that locate it."""

    counts: Tensor
    mask: Tensor
    truth: Tensor
    centre: Tensor
    seen: Tensor | None = None
    places: Tensor | None = None

    def __len__(self) -> int:
        return len(self.truth)

    def to(self, device: str) -> Examples:
        """The same on that device."""
        return replace(self, **{name: value.to(device) for name, value in vars(self).items() if value is not None})


def simulate(
    task: Task,
    n: int,
    seed: int = 0,
    shape: tuple[int, int] | None = None,
    change: Callable[[Detector], Detector] | None = None,
    batch: int = 32,
    first: int = TEST.start,
) -> Iterator[Frame]:
    """The `n` examples from number `first` on, by default test examples, as Frames, made `batch` at a time; `shape` (H, W) px, by
    default the task's.

    `change` alters each drawn detector, as robustness studies do.
    """
    for start in range(first, first + n, batch):
        indices = range(start, min(start + batch, first + n))
        yield from frames_of(task, seed, make_batch(task, seed, indices, shape, change))


def simulated(
    task: Task,
    size: int,
    seed: int,
    indices: Sequence[int],
    drawn: Sequence[tuple[Any, Any]] | None = None,
    light: Tensor | None = None,
) -> Examples:
    """The examples of those numbers, `size` pixels square; `drawn` and `light` as `make_batch` takes them."""
    made = make_batch(task, seed, indices, (size, size), drawn=drawn, light=light)
    centres = [_centre(task.place(scene, (size, size)).centre_px) for scene in made.scenes]
    return Examples(made.counts, made.mask, made.truth.float(), torch.tensor(centres), places=made.places)


def stored(frames: Sequence[Frame], target: Target, size: int, indices: Sequence[int]) -> Examples:
    """The stored frames of those numbers, fitted to `size` pixels. Raises BeamsightError for a frame without truth."""
    # What many datasets offer, and PyTorch's loaders ask for: to read or make a batch at once.
    many = getattr(frames, "__getitems__", None)
    fitted = [fit(frame, size) for frame in (many(indices) if many else (frames[i] for i in indices))]
    for frame in fitted:
        if frame.truth is None and isinstance(target, Tags):
            raise BeamsightError(f"{frame.key} has no truth to learn from; give frames that `beamsight simulate` wrote")
    truth = np.stack([target.encode(frame.truth) for frame in fitted])
    counts, mask = np.stack([frame.image for frame in fitted]), np.stack([frame.mask for frame in fitted])
    centre = torch.tensor([_centre(frame.geometry.centre_px) for frame in fitted])
    return Examples(torch.from_numpy(counts), torch.from_numpy(mask), torch.from_numpy(truth), centre)


def _centre(known: tuple[float, float] | None) -> tuple[float, float]:
    return known or (math.nan, math.nan)


@dataclass(frozen=True)
class Source:
    """Where a training's examples come from: `step(i)` is the batch of step i, `validation()` the batches that judge it.

    Simulated as it goes, or with `frames` their shuffled first nine tenths, judged by the last. `part` is what one of several
    processes takes: of each batch to learn from those rows, of the batches that judge every so many.
    """

    task: Task
    recipe: Recipe
    frames: Sequence[Frame] | None = None
    part: slice = field(default_factory=lambda: slice(None))
    _kept: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def step(self, number: int) -> Examples:
        """The batch of training step `number`, turned and mirrored as the recipe says."""
        recipe = self.recipe
        side, many = (recipe.size, recipe.batch) if self.frames is not None else window(recipe, number)
        if self.frames is None:
            made = self._exposed(number, side, many)
        else:
            places = range(number * recipe.batch, number * recipe.batch + many)[self.part]
            made = stored(self.frames, self.task.target, side, self._shuffled(places))
        return turned(self._trusted(made), positions(recipe, default_rng([recipe.seed, number, AUGMENT]))[:many][self.part])

    def _exposed(self, number: int, side: int, many: int) -> Examples:
        """Each example of a step is of another scene, a few of them new: those that come again lie `exposures` steps apart."""
        task, seed = self.task, self.recipe.seed
        numbers = [_come_again(self.recipe, number, place) for place in range(many)[self.part]]
        scenes, light = self._lit([scene for scene, _ in numbers], side)
        indices = [scene + again for scene, again in numbers]
        drawn = [(scene, example_detector(task, seed, i)) for scene, i in zip(scenes, indices, strict=True)]
        return simulated(task, side, seed, indices, drawn, light)

    def _lit(self, indices: Sequence[int], side: int) -> tuple[list[Any], Tensor | None]:
        """The scenes of those numbers; and their light, where it is kept for the steps that follow."""
        often, kept = self.recipe.exposures, self._kept
        if often == 1 or self.task.expose is not None:
            return [example(self.task, self.recipe.seed, i)[0] for i in indices], None
        if new := [i for i in indices if (i, side) not in kept]:
            scenes = [example(self.task, self.recipe.seed, i)[0] for i in new]
            made = zip(scenes, self.task.render(columns(scenes), (side, side)), strict=True)
            kept.update(zip([(i, side) for i in new], made, strict=True))
        found = [kept[i, side] for i in indices]
        for old in list(kept)[: -often * self.recipe.batch]:
            del kept[old]
        return [scene for scene, _ in found], torch.stack([light for _, light in found])

    def validation(self, n: int) -> Iterator[Examples]:
        """At most `n` examples that training never sees, always the same, in batches."""
        for first in range(0, n, self.recipe.batch)[self.part]:
            last = min(first + self.recipe.batch, n)
            if self.frames is None:
                yield self._trusted(simulated(self.task, self.recipe.size, self.recipe.seed, VALIDATION[first:last]))
            elif kept := range(self._learnt, len(self.frames))[first:last]:
                yield self._trusted(stored(self.frames, self.task.target, self.recipe.size, kept))

    def _trusted(self, made: Examples) -> Examples:
        """The examples with the mask that a whole graph makes for itself: training puts view and network together on its own."""
        if self.recipe.view in LOCAL_VIEWS:  # to which a spot is what a struck pixel is to the others
            return made
        return replace(made, mask=made.mask & (struck(made.counts, made.mask) == 0))

    @property
    def _learnt(self) -> int:
        """How many stored frames are trained on."""
        n = len(self.frames or ())
        if n < 2:
            raise BeamsightError(f"{n} stored frames are too few to train on; give at least 2, better thousands")
        return n - max(1, round(KEPT * n))

    def _shuffled(self, places: Sequence[int]) -> list[int]:
        """The frames at those places of an endless sequence of epochs, each in an order of its own."""
        epochs = {place // self._learnt for place in places}
        orders = {e: default_rng([self.recipe.seed, e, SHUFFLE]).permutation(self._learnt) for e in epochs}
        return [int(orders[place // self._learnt][place % self._learnt]) for place in places]


def _come_again(recipe: Recipe, number: int, place: int) -> tuple[int, int]:
    """The scene at a place of the batch of step `number`, by its example's number, and how often it came before. Places are, in
    turn, for scenes that come for the first, the second ... time."""
    often = recipe.exposures
    again, new = place % often, -(-recipe.batch // often)
    came = number + (often - 1 - again) * often  # a step, counted on so that none is below 0
    return TRAINING[(came * new + place // often) * often], again


def window(recipe: Recipe, number: int) -> tuple[int, int]:
    """Side in px of the windows of training step `number`, and how many there are."""
    if recipe.wide > 1 and number >= recipe.warmup and number % WIDE_EVERY == 0:
        return recipe.size * recipe.wide, fewest(recipe)
    return recipe.size, recipe.batch


def fewest(recipe: Recipe) -> int:
    """How many frames the smallest batch has."""
    if not 1 <= recipe.wide**2 <= recipe.batch:
        raise BeamsightError(f"windows {recipe.wide} times as wide need a batch of {recipe.wide**2} or more, not {recipe.batch}")
    return recipe.batch // recipe.wide**2


def positions(recipe: Recipe, rng: Generator) -> NDArray[np.int64]:
    """(quarter turns, left-right mirrors) [B 2] of a batch, at random among those that the recipe's symmetries allow."""
    turns = rng.integers(4 if recipe.rotate else 1, size=recipe.batch)
    return np.stack([turns, rng.integers(2 if recipe.mirror else 1, size=recipe.batch)], 1)


def turned(examples: Examples, positions: NDArray[np.int64]) -> Examples:
    """Each example mirrored and then turned as its (quarter turns, mirrors) of [B 2] say."""
    if not positions.any():
        return examples
    counts, mask, centre = torch.empty_like(examples.counts), torch.empty_like(examples.mask), examples.centre.clone()
    places = None if examples.places is None else torch.empty_like(examples.places)
    pictures = [(counts, examples.counts), (mask, examples.mask)]
    pictures += [] if places is None or examples.places is None else [(places, examples.places)]
    last = examples.counts.shape[1] - 1
    for n, (turn, mirror) in enumerate(positions.tolist()):
        for whole, parts in pictures:
            whole[n] = torch.rot90(parts[n].flip(1) if mirror else parts[n], turn)
        y, x = centre[n].unbind()
        x = last - x if mirror else x
        for _ in range(turn):
            y, x = last - x, y
        centre[n] = torch.stack([y, x])
    return Examples(counts, mask, examples.truth, centre, places=places)


def shown(examples: Examples, view: nn.Module, half: bool) -> Tensor:
    """What `view` shows of the examples [B h w C], with `half` in bfloat16: what autocast would do, and the change of layout, in
    one pass."""
    with torch.no_grad():
        seen: Tensor = view(examples.counts, examples.mask.float()).permute(0, 2, 3, 1)
    return seen.to(torch.bfloat16 if half else torch.float32).contiguous()


@dataclass(frozen=True)
class Viewed:
    """The batches of a source and what `view` shows of them: what a process of its own can make."""

    source: Source
    view: nn.Module

    def __call__(self, number: int) -> Examples:
        """The batch of training step `number`."""
        made = self.source.step(number)
        return replace(made, seen=shown(made, self.view, self.source.recipe.precision == "bf16"))

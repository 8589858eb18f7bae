"""The part of the network "paired" that finds to which side of a file scattering rises, learnt by itself.

    python studies/train_righting.py OUT [--steps 2500] [--ahead 2]

Upright scenes of the task, mirrored and turned at random; what is asked is the turn. `studies/join_weights.py` puts it beside the
two parts that tell lattices. Prints how many frames of other scenes it rights.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from numpy.random import Generator, default_rng
from torch import nn
from torch.nn.functional import one_hot

from beamsight.ahead import keep_memory, made_ahead
from beamsight.checkpoint import keep_best
from beamsight.comparing import SIDES
from beamsight.examples import AUGMENT, Examples, Source, Viewed, positions
from beamsight.recipe import Recipe
from beamsight.targets import OneOf
from beamsight.task import Task, find_task
from beamsight.tasks.gisaxs_lattice import draw
from beamsight.tasks.gisaxs_lattice.scene import Pattern
from beamsight.train import answers, learn, start
from beamsight.views import build_view

TARGET = OneOf(("upper", "left", "lower", "right"))
SAID_EVERY = 100
BEYOND, JUDGED = 1_000_000, 16  # the first batch that judges, beyond all that are learnt from, and how many do


def upright(rng: Generator) -> Pattern:
    """Any scene of the task, in a file that is not turned."""
    return replace(draw(rng), turns=0)


@dataclass(frozen=True)
class Sides:
    """Batches of which the side is asked that their scattering rises to."""

    viewed: Viewed

    def __call__(self, number: int) -> Examples:
        """The batch of step `number`."""
        recipe, made = self.viewed.source.recipe, self.viewed(number)
        turns = positions(recipe, default_rng([recipe.seed, number, AUGMENT]))[:, 0]
        return replace(made, truth=one_hot(torch.from_numpy(turns), SIDES).float())


def batches_of(task: Task, recipe: Recipe) -> Sides:
    """Of the task's upright scenes."""
    return Sides(Viewed(Source(replace(task, draw=upright), recipe), build_view(recipe.view)))


def main() -> None:
    """Learn, keep the average, and judge it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--ahead", type=int, default=2, help="processes that make batches")
    options = parser.parse_args()
    keep_memory()
    task = find_task("gisaxs-lattice")
    recipe = replace(
        task.recipe, network="righting", steps=options.steps, mirror=True, rotate=True, exposures=8, seed=5, warmup=100
    )
    state, view, batches = start(TARGET, recipe), build_view(recipe.view), batches_of(task, recipe)
    with made_ahead(batches, 0, recipe.steps, options.ahead) as made:
        for number, examples in made:
            loss = learn(state, view, examples, TARGET, recipe)
            state.step = number + 1
            if state.step % SAID_EVERY == 0:
                print(f"step {state.step}  loss {loss:.4f}", flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    share = righted(state.average, batches)
    keep_best(state, share, options.out)
    print(f"righted: {share:.2%} of {JUDGED * recipe.batch} other frames", flush=True)


def righted(network: nn.Module, batches: Sides) -> float:
    """The share of frames of scenes that it did not learn from whose side is found."""
    source, judged = batches.viewed.source, [batches(BEYOND + n) for n in range(JUDGED)]
    probability, truth = answers(network, batches.viewed.view, judged, TARGET, source.recipe)
    return float((probability.argmax(1) == truth.argmax(1)).mean())


if __name__ == "__main__":
    main()

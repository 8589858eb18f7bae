"""Did the pulse hit a crystal?

Frames of serial crystallography at X-ray lasers and storage rings, in runs that share crystal, beam, detector and background. A
spot is visible where a test of every pixel, wrong once in a hundred frames, would find it: none is a miss, ten or more a hit, and
weak what lies between.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import torch
from torch.nn.functional import one_hot

from beamsight.physics.columns import Columns
from beamsight.recipe import Recipe
from beamsight.runs import indices_of
from beamsight.shots import draw_shot, modules_of, place
from beamsight.taking import NAMES, Taken, cells, render, take, verdict, visible_spots
from beamsight.targets import OneOf
from beamsight.task import Task
from beamsight.watched import state_at

# Numbers that every detector of many chips has, beside those that all tasks are measured by.
SWEEPS = {
    "read_ph": (0.0, 0.3, 1.0, 3.0),
    "common_ph": (0.0, 0.1, 0.3, 1.0),
    "hot": (0.0, 1e-5, 1e-4, 1e-3),
    "struck": (0.0, 1e-6, 1e-5, 1e-4),
}


def label(shots: Columns, taken: Taken) -> torch.Tensor:
    """[B 3]: a miss shows no spot, a hit ten or more; what lies between is weak."""
    return one_hot(verdict(visible_spots(shots, taken)).long(), len(NAMES)).float()


TASK = Task(
    "xfel-hits", "Did the pulse hit a crystal?", OneOf(NAMES, between=NAMES[1:2]), (512, 512), draw_shot, place, render,
    modules_of, label, expose=take, locate=cells, run=indices_of, state=state_at, views=("contrast",),
    recipe=Recipe(view="contrast", network="spots", size=384, batch=16, wide=4, mirror=True, rotate=True, validate_every=1000,
                  validation=1024, patience=0),
    sweeps=SWEEPS,
    references=(
        "P.-N. Li, CS229 term project (2018): a network for hits and misses, and where it fails",
        "A. Barty et al., J. Appl. Cryst. 47, 1118 (2014): peakfinder8",
    ),
)  # fmt: skip

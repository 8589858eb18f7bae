"""Which 64 x 64 px frames of the image hold Bragg spots, and does the image show a pattern?

The same pictures and the same rule of what can be seen as for hits; what is asked is where.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import torch

from beamsight.answer import TILE_PX
from beamsight.physics.columns import Columns
from beamsight.recipe import Recipe
from beamsight.runs import indices_of
from beamsight.shots import draw_shot, modules_of, place
from beamsight.taking import Taken, cells, render, take
from beamsight.targets import OneOf
from beamsight.task import Task
from beamsight.watched import state_at

ENOUGH = 3  # tiles with spots make a pattern, as Ushizima et al. have it


def label(shots: Columns, taken: Taken) -> torch.Tensor:
    """[B 2]: a pattern shows spots in three tiles or more, its absence in none; one or two are doubtful."""
    held = (cells(shots, taken, TILE_PX) == 1).sum((1, 2))
    there = torch.stack([held == 0, held >= ENOUGH], 1).float()
    return torch.where(((held > 0) & (held < ENOUGH))[:, None], torch.nan, there)


TASK = Task(
    "bragg-frames", "Which 64 x 64 px frames of the image hold Bragg spots?", OneOf(("no pattern", "Bragg spots")), (512, 512),
    draw_shot, place, render, modules_of, label,
    expose=take, locate=cells, run=indices_of, state=state_at, views=("contrast",),
    recipe=Recipe(view="contrast", network="spots", size=384, batch=16, wide=4, mirror=True, rotate=True, validate_every=1000,
                  validation=1024, patience=0),
    references=("D. Ushizima et al., New York Scientific Data Summit (2016): frames with Bragg spots, case II",),
)  # fmt: skip

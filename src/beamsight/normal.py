"""What normal runs are like: from simulated ones that nothing was learnt from, for a model's card."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from bisect import bisect_left
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beamsight.examples import VALIDATION
from beamsight.shift import FIRST, LAST, normal_of
from beamsight.state import state_of
from beamsight.task import Task, frames_of, make_batch

RUNS, SIDE, BATCH = 200, 256, 16
MOST_RUNS = 2**24


def normal_runs(task: Task, seed: int, runs: int = RUNS, side: int = SIDE) -> dict[str, Any] | None:
    """What the card says of normal runs (`shift.normal_of`), from so many runs of validation examples; of whole frames where
    the task tells what they are like, else `side` pixels square at most; None for a task whose frames do not come in runs."""
    if (numbers := task.run) is None:
        return None
    first = bisect_left(range(MOST_RUNS), VALIDATION.start, key=lambda n: numbers(n)[0])
    shape = (min(side, task.shape[0]), min(side, task.shape[1]))
    return normal_of([states(task, seed, n, shape) for n in range(first, first + runs)])


def states(task: Task, seed: int, run: int, shape: tuple[int, int], frames: int = 2 * FIRST + LAST) -> NDArray[np.float64]:
    """[n F] what the frames of a run are like, as many of `frames` as it has."""
    if task.run is None:
        raise ValueError(f"the frames of {task.name} do not come in runs")
    numbers = list(task.run(run))[:frames]
    if task.state is not None:
        return np.array([task.state(seed, index) for index in numbers])
    batches = (numbers[i : i + BATCH] for i in range(0, len(numbers), BATCH))
    made = (frame for batch in batches for frame in frames_of(task, seed, make_batch(task, seed, batch, shape)))
    return np.array([state_of(frame) for frame in made])

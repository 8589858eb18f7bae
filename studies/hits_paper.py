"""The network of Li (2018) on the centre of each frame, taught by its recipe: stochastic gradient descent on hits and misses."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import Generator, default_rng
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from torch.nn.functional import cross_entropy

from beamsight.ahead import keep_memory
from beamsight.baselines import HitNet
from beamsight.examples import TRAINING
from beamsight.runs import FRAMES_PER_RUN, SHOT, Run, indices_of
from beamsight.shots import Shot, place, run_numbered, shot_of
from beamsight.taking import NAMES
from beamsight.task import find_task, make_batch
from beamsight.views import build_view
from hits_runs import SEED, TASK

SIDE = HitNet.side
# As published: rate, momentum and batch; the rate is divided by 1 + decay * step. How long it learnt is not said.
RATE, DECAY, MOMENTUM, BATCH = 2e-3, 1e-4, 0.9, 100
MADE = 32  # crops at a time
CROPS, ORDER = 41, 42  # streams of random numbers, beside those of an example

Crops = tuple[torch.Tensor, torch.Tensor]


def as_one_picture(run: Run) -> Run:
    """The same run with its detector assembled, as the paper's frames were."""
    return replace(run, form="assembled")


def centred(shot: Shot) -> Shot:
    """The shot whose window of 350 x 350 px lies about the beam, or as near to it as the image goes."""
    sizes = np.array([shot.height, shot.width])
    beam = np.array(place(shot, (shot.height, shot.width)).centre_px)
    first = np.clip(np.round(beam - (SIDE - 1) / 2), 0, sizes - SIDE)
    y, x = ((first + 0.5) / (sizes - SIDE + 1)).tolist()
    return replace(shot, window_y=y, window_x=x)


def cropped(runs: Sequence[Run], shots: Sequence[Shot], indices: Sequence[int]) -> Crops:
    """Counts as the network sees them [n 1 350 350], untrusted ones 0, and the number in NAMES [n] of what each crop shows."""
    task, view, parts = find_task(TASK), build_view("counts"), []
    pairs = [(centred(shot), run.modules) for run, shot in zip(runs, shots, strict=True)]
    for first in range(0, len(pairs), MADE):
        some = slice(first, first + MADE)
        made = make_batch(task, SEED, indices[some], (SIDE, SIDE), drawn=pairs[some])
        parts.append((view(made.counts, made.mask.float()), made.truth.argmax(1)))
    counts, truth = zip(*parts, strict=True)
    return torch.cat(counts), torch.cat(truth)


def learnt_crops(numbers: Sequence[int], n: int) -> Crops:
    """`n` crops of shots of these runs by turns, none of which is asked later; those that are weak are dropped, as published."""
    runs, shots = [], []
    for number in range(n):
        rng: Generator = default_rng([SEED, number, CROPS])
        runs.append(as_one_picture(run_numbered(SEED, numbers[number % len(numbers)])))
        shots.append(shot_of(runs[-1], int(rng.integers(FRAMES_PER_RUN)), rng))
    counts, truth = cropped(runs, shots, [TRAINING[number] for number in range(n)])
    clear = truth != NAMES.index("weak")
    return counts[clear], (truth[clear] == NAMES.index("hit")).long()


def trained(numbers: Sequence[int], path: Path, steps: int, n: int) -> HitNet:
    """The network taught on `n` crops of these runs in so many steps; from `path` where it is kept already."""
    torch.manual_seed(0)
    network = HitNet(1, 2)
    if path.exists():
        network.load_state_dict(load_file(path))
        return network.eval()
    counts, truth = learnt_crops(numbers, n)
    print(f"the paper's network learns from {len(truth):,} crops, {int(truth.sum()):,} of them hits", flush=True)
    learnt(network, counts, truth, steps)
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file(network.state_dict(), path)
    return network.eval()


def learnt(network: HitNet, counts: torch.Tensor, truth: torch.Tensor, steps: int) -> None:
    """The published recipe, on batches of shuffled epochs."""
    keep_memory()
    network.train()
    optimizer = torch.optim.SGD(network.parameters(), lr=RATE, momentum=MOMENTUM)
    for step, rows in enumerate(_batches(len(truth), steps)):
        for group in optimizer.param_groups:
            group["lr"] = RATE / (1 + DECAY * step)
        loss = cross_entropy(network(counts[rows])[0], truth[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 100 == 0:
            print(f"  step {step}, loss {loss.item():.3f}", flush=True)


def _batches(n: int, steps: int) -> Iterator[NDArray[np.int64]]:
    rng, order = default_rng([SEED, ORDER]), np.empty(0, np.int64)
    for _ in range(steps):
        if len(order) < BATCH:
            order = np.concatenate([order, rng.permutation(n)])
        yield order[:BATCH]
        order = order[BATCH:]


def answers(network: HitNet, run: Run, n: int) -> dict[str, list[Any]]:
    """What it says of the first `n` frames of a run: `hit`, its probability, and `shown`, what can be seen on the crop itself."""
    flat, indices = as_one_picture(run), indices_of(run.number)[:n]
    shots = [shot_of(flat, frame, default_rng([SEED, index, SHOT])) for frame, index in enumerate(indices)]
    counts, truth = cropped([flat] * len(shots), shots, indices)
    with torch.inference_mode():
        probability = torch.cat([network(part)[0].softmax(1)[:, 1] for part in counts.split(MADE)])
    return {"hit": probability.tolist(), "shown": [NAMES[k] for k in truth.tolist()]}

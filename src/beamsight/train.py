"""Training: one loop, read from top to bottom, that learns from what is simulated or read as it goes."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import copy
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.random import default_rng
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from beamsight.ahead import keep_memory, made_ahead
from beamsight.beginning import begin_with
from beamsight.checkpoint import CHECKPOINT, Said, State, keep_best, kept_in, prepare, restore, save
from beamsight.errors import BeamsightError
from beamsight.evaluate import average_precision, mean
from beamsight.examples import Examples, Source, Viewed, fewest, shown
from beamsight.frame import Frame
from beamsight.networks import build_network, judged
from beamsight.parallel import (
    act_as_one,
    add_gradients,
    from_first,
    gathered,
    is_first,
    joined,
    mine,
    said_once,
    total,
    under_torchrun,
)
from beamsight.recipe import Recipe
from beamsight.spots import Spots
from beamsight.targets import Tags, Target, scored
from beamsight.task import Task
from beamsight.trainlog import Clock, Log
from beamsight.views import build_view

Batches = Iterator[tuple[int, Examples]]

DECAY, CLIP = 0.999, 1.0
CHECKPOINT_S = 300.0
CENTRE = 0.1  # the weight of the centre beside the question itself
PLACES = 0.3  # the same of where things lie, a thing
OFF_PX, WRONG, WRONG_PX = 0.3, 0.15, (1.0, 12.0)  # how well files know the centre; how many know it badly, and how badly
SOFT_PX = 0.3  # below this a centre is told well enough
DROPOUT = 12  # a stream of random numbers, beside those of the examples
READERS = 16  # processes that read an archive for one GPU, at most
STOPPED = 130  # the exit status of a process that was asked to end, where another says so


def train(
    task: Task,
    out: str | Path,
    recipe: Recipe | None = None,
    frames: Sequence[Frame] | None = None,
    resume: bool = True,
    ahead: int | None = None,
    first: str | Path | None = None,
    stop_after_hours: float = 0.0,
) -> Path:
    """Train on simulated examples, or on stored `frames` with truth, and return the run's folder `out`.

    With `resume`, a run that was cut off goes on where its last checkpoint stands, exactly as if it never stopped; without, what
    `out` holds of a run is replaced. Ctrl-C keeps a checkpoint and raises KeyboardInterrupt; so many hours after the call
    (`stop_after_hours`, 0 = never) a checkpoint is kept too. `ahead`: how many processes make examples ahead, 0 = none.
    `first`: a model folder or run with whose weights a new run begins. Under `torchrun` all processes share each batch, and the
    first one writes. Raises CannotWrite, CannotRead where `first` does not fit, and BeamsightError where `out` holds another
    training or another process of this one is gone.
    """
    called, recipe, folder = time.monotonic(), recipe or task.recipe, Path(out)
    limit = called + 3600 * stop_after_hours if stop_after_hours > 0 else math.inf
    keep_memory()
    with joined(fewest(recipe)):
        said = from_first(lambda: prepare(folder, task.name, recipe, frames, resume))
        with said_once():
            state = start(task.target, recipe, _device())
        if from_first((folder / CHECKPOINT).exists):
            restore(state, folder / CHECKPOINT, said)
        elif first is not None:
            begin_with(state, Path(first))
        if not _ended(state, recipe):
            act_as_one(state.network, recipe.batch)
            source = Source(task, recipe, frames, mine())
            judged = _judged(source)
            with _interruption() as asked, _batches(source, state.step, ahead) as batches:
                clock = Clock(state, asked, limit)
                with kept_in(folder), Log(folder, recipe, state) as log:
                    _steps(state, source, judged, batches, clock, log, said)
            if clock.interrupted:
                raise KeyboardInterrupt if is_first() else SystemExit(STOPPED)
    return folder


def _steps(
    state: State, source: Source, judged: Sequence[Examples], batches: Batches, clock: Clock, log: Log, said: Said
) -> None:
    """Learn until the recipe or the clock says stop; the scores and the checkpoint of the last step are kept."""
    recipe, target = source.recipe, source.task.target
    view, kept = build_view(recipe.view).to(_device()), time.monotonic()
    for number, examples in clock.timed(batches):
        loss = clock.agreed(state, float(learn(state, view, examples, target, recipe)))
        if not math.isfinite(loss):
            raise BeamsightError(f"the loss of step {number} is {loss}: no weights come of it; what was kept before is as it was")
        state.step = number + 1
        log.step(state, loss, learning_rate(state, recipe), progress(state, recipe))
        if state.step % recipe.validate_every == 0 or progress(state, recipe) >= 1:
            scores = _scores(state, view, judged, target, recipe)
            keep_best(state, mean(scores), log.folder)
            log.scores(state, target.names, scores)
        ended = _ended(state, recipe) or clock.stopped
        if is_first() and (ended or time.monotonic() - kept > CHECKPOINT_S):
            save(state, log.folder / CHECKPOINT, said)
            kept = time.monotonic()
        if ended:
            break
    log.end(state, _ended(state, recipe))


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def start(target: Target, recipe: Recipe, device: str = "cpu") -> State:
    """A training before its first step: weights from the recipe's seed."""
    torch.manual_seed(recipe.seed)
    channels = build_view(recipe.view).shape(recipe.size, recipe.size)[0]
    network = build_network(recipe.network, channels, target.width, recipe.view, recipe.size).to(device)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # twice as fast, and unknown to the stubs
    # Biases and norms are left free: to shrink them would shift what the network calls zero.
    matrices = [p for p in network.parameters() if p.ndim > 1]
    others = [p for p in network.parameters() if p.ndim <= 1]
    groups = [{"params": matrices, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    return State(network, copy.deepcopy(network).eval(), torch.optim.AdamW(groups, lr=recipe.learning_rate, fused=True))


def learn(state: State, view: nn.Module, examples: Examples, target: Target, recipe: Recipe) -> Tensor:
    """One step on a batch, or on this process's share of it; gives its part of the loss, a number."""
    torch.manual_seed(int(default_rng([recipe.seed, state.step, DROPOUT]).integers(2**63)))
    state.network.train()
    if examples.counts.shape[-1] > recipe.size:  # too few frames to take means over
        for part in state.network.modules():
            if isinstance(part, nn.modules.batchnorm._BatchNorm):
                part.eval()
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(state, recipe)
    found = look(state.network, view, examples, recipe, half_hidden(examples.centre, recipe.batch))
    loss = loss_of(target, found.logits, examples.truth) + CENTRE * centre_loss(found.centre, examples)
    loss = loss + PLACES * places_loss(found.cells, examples.places)
    state.optimizer.zero_grad()
    torch.autograd.backward(loss)
    add_gradients(state.network)
    nn.utils.clip_grad_norm_(state.network.parameters(), CLIP)
    state.optimizer.step()
    _follow(state)
    return loss.detach()


class Found(NamedTuple):
    """What a network says of a batch: `logits` [B T] float32; `centre` [B 3] px and `cells` [B h w] where it tells them."""

    logits: Tensor
    centre: Tensor | None = None
    cells: Tensor | None = None


def look(network: nn.Module, view: nn.Module, examples: Examples, recipe: Recipe, centre: Tensor) -> Found:
    """What the network says of a batch, computed in the recipe's precision; `centre` [B 2] is what it is told."""
    half = recipe.precision == "bf16"
    seen = shown(examples, view, half) if examples.seen is None else examples.seen
    with torch.autocast(examples.counts.device.type, torch.bfloat16, enabled=half):
        logits, _, *more = judged(network, seen.permute(0, 3, 1, 2), examples.counts, examples.mask.float(), centre)
    told = more[0] if more else None
    return Found(logits.float(), cells=told) if isinstance(network, Spots) else Found(logits.float(), centre=told)


def half_hidden(centre: Tensor, batch: int) -> Tensor:
    """Centres [B 2] as files give them: a third of a pixel off, some by many, and in half of the frames not at all; drawn for
    all of a `batch`, of which these may be one process's share."""
    normal = torch.randn(batch, 2, device=centre.device)[mine()][: len(centre)]
    hidden, wrong, size = torch.rand(3, batch, 1, device=centre.device)[:, mine()][:, : len(centre)]
    far = WRONG_PX[0] * (WRONG_PX[1] / WRONG_PX[0]) ** size * normal / normal.norm(dim=1, keepdim=True).clamp(min=1e-6)
    off = centre + torch.where(wrong < WRONG, far, OFF_PX * normal)
    return torch.where(hidden < 0.5, torch.nan, off)


def centre_loss(guess: Tensor | None, examples: Examples) -> Tensor:
    """How far [] the centres told lie off, as log(1 + px), mean over those that are known, as in `loss_of`: a beam told to half
    a pixel is worth as much as one that is found at all."""
    if guess is None:
        return torch.zeros(())
    known = ~examples.centre.isnan().any(1)
    off = (guess[:, :2] - examples.centre.nan_to_num()).square().sum(1)
    return (torch.log1p((off + SOFT_PX**2).sqrt() - SOFT_PX) * known).sum() / total(known.sum()).clamp(min=1)


def places_loss(cells: Tensor | None, places: Tensor | None) -> Tensor:
    """Cross entropy [] of the cells' logits with what lies there (1, 0, NaN = doubtful), a thing there: most are empty."""
    if cells is None or places is None:
        return torch.zeros(())
    doubtful, there = places.isnan(), places.nan_to_num()
    each = binary_cross_entropy_with_logits(cells, there, reduction="none") * ~doubtful
    return each.sum() / total(there.sum() + len(there))


def loss_of(target: Target, logits: Tensor, truth: Tensor) -> Tensor:
    """Mean loss over what is known of truth [B T]: binary cross entropy a tag, or cross entropy where one name holds.

    Of several processes each gives the sum over its share divided by what all know; their sum is the loss of the whole batch."""
    doubtful, known = truth.isnan(), truth.nan_to_num()
    if isinstance(target, Tags):
        each, counted = binary_cross_entropy_with_logits(logits, known, reduction="none"), ~doubtful
    else:
        each, counted = cross_entropy(logits, known, reduction="none"), ~doubtful.any(1)
    return (each * counted).sum() / total(counted.sum()).clamp(min=1)


def _judged(source: Source) -> list[Examples]:
    with torch.device(_device()):
        return [batch.to(_device()) for batch in source.validation(source.recipe.validation)]


def _scores(
    state: State, view: nn.Module, judged: Sequence[Examples], target: Target, recipe: Recipe
) -> NDArray[np.floating[Any]]:
    """Average precision [T] over what all processes judge."""
    parts = gathered(answers(state.average, view, judged, target, recipe) if judged else None)
    probability, truth = (np.concatenate(v) for v in zip(*filter(None, parts), strict=True))
    return average_precision(probability, truth)


def answers(
    network: nn.Module, view: nn.Module, batches: Sequence[Examples], target: Target, recipe: Recipe
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(probabilities, truth) [N T] of the examples in `batches`."""
    network.eval()
    with torch.inference_mode():
        logits = torch.cat([look(network, view, b, recipe, every_other(b.centre)).logits for b in batches])
    truth = torch.cat([b.truth for b in batches])
    return target.probability(logits.cpu().numpy()), scored(truth.cpu().numpy())


def every_other(centre: Tensor) -> Tensor:
    """Centres [B 2] of which every other one is hidden: models are judged and calibrated for files with and without."""
    hidden = torch.arange(len(centre), device=centre.device)[:, None] % 2 == 1
    return torch.where(hidden, torch.nan, centre)


def progress(state: State, recipe: Recipe) -> float:
    """The share of the training that is done: of its steps, or of its hours where they run out first."""
    hours = state.seconds / 3600 / recipe.max_hours if recipe.max_hours > 0 else 0.0
    return max(state.step / recipe.steps, hours)


def _ended(state: State, recipe: Recipe) -> bool:
    return progress(state, recipe) >= 1 or 0 < recipe.patience <= state.since_best


def learning_rate(state: State, recipe: Recipe) -> float:
    """Linear warm-up, then a cosine to zero at the end."""
    warm = min(1.0, (state.step + 1) / max(1, recipe.warmup))
    return recipe.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * min(1.0, progress(state, recipe))))


def _follow(state: State) -> None:
    """Draw the average a little towards the weights; early on faster, so that it does not remember the random start."""
    decay = min(DECAY, (1 + state.step) / (10 + state.step))
    for slow, fast in zip(state.average.state_dict().values(), state.network.state_dict().values(), strict=True):
        if slow.is_floating_point():
            slow.lerp_(fast, 1 - decay)
        else:
            slow.copy_(fast)


@contextmanager
def _batches(source: Source, first: int, ahead: int | None) -> Iterator[Batches]:
    """(step, its batch) from step `first` on, on the device."""
    last, device = source.recipe.steps, _device()
    # A GPU simulates faster by itself than processors could for it; what is stored is read ahead for either.
    helpers = _helpers(source) if ahead is None else int(ahead)
    if helpers and first < last:
        # What a view shows takes a GPU no time, and more to hand over.
        make = Viewed(source, build_view(source.recipe.view)) if device == "cpu" else source.step
        with made_ahead(make, first, last, helpers) as batches:
            yield ((number, examples.to(device)) for number, examples in batches)
    else:
        with torch.device(device):
            yield ((number, source.step(number).to(device)) for number in range(first, last))


def _helpers(source: Source) -> int:
    if _device() == "cpu":
        return 1
    cores = len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    return 0 if source.frames is None else max(1, min(READERS, cores - 1))


@contextmanager
def _interruption() -> Iterator[Callable[[], bool]]:
    """Tells whether Ctrl-C or a termination was asked for: a step is finished first, since half a step is no state."""
    asked: list[int] = []

    def note(number: int, _: object) -> None:
        asked.append(number)
        if not under_torchrun():  # which hands on what the processes have got already, and kills what does not end
            signal.signal(number, signal.SIG_DFL)  # asked twice, it ends at once

    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = {s: signal.signal(s, note) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

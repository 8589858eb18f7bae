"""Training: one loop, read from top to bottom, that simulates what it learns from."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import copy
import json
import math
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import default_rng
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.utils.tensorboard import SummaryWriter

from beamsight.ahead import keep_memory, made_ahead
from beamsight.checkpoint import BEST, CHECKPOINT, State, begin_with, keep_best, restore, save
from beamsight.errors import BeamsightError, CannotWrite
from beamsight.evaluate import average_precision, mean
from beamsight.examples import Examples, Source, Viewed, shown
from beamsight.frame import Frame
from beamsight.networks import build_network, judged
from beamsight.recipe import Recipe
from beamsight.targets import Tags, Target
from beamsight.task import Task
from beamsight.views import build_view

RUN, LOG = "run.json", "log.txt"
DECAY, CLIP = 0.999, 1.0
LOG_STEPS, CHECKPOINT_S = 50, 300.0
CENTRE, OFF_PX = 0.1, 0.3  # the weight of the centre beside the question itself; how well files know it
SOFT_PX = 0.3  # below this a centre is told well enough
DROPOUT = 12  # a stream of random numbers, beside those of the examples


def train(
    task: Task,
    out: str | Path,
    recipe: Recipe | None = None,
    frames: Sequence[Frame] | None = None,
    resume: bool = True,
    ahead: bool = True,
    first: str | Path | None = None,
) -> Path:
    """Train on simulated examples, or on stored `frames` with truth, and return the run's folder `out`.

    With `resume`, a run that was cut off goes on where its last checkpoint stands, exactly as if it never stopped; without, what
    `out` holds of a run is replaced. Ctrl-C keeps a checkpoint and raises KeyboardInterrupt. `ahead` makes examples in a process
    of its own (CPU only). `first`: a model folder or run with whose weights a new run begins. Raises CannotWrite, CannotRead
    where `first` does not fit, and BeamsightError where `out` holds another training.
    """
    recipe, folder = recipe or task.recipe, Path(out)
    _prepare(folder, task, recipe, resume)
    keep_memory()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    state = start(task.target, recipe, device)
    if (folder / CHECKPOINT).exists():
        restore(state, folder / CHECKPOINT)
    elif first is not None:
        begin_with(state, Path(first))
    if _ended(state, recipe):
        return folder
    view, source = build_view(recipe.view).to(device), Source(task, recipe, frames)
    with torch.device(device):
        judged = list(source.validation(recipe.validation))
    with (
        _Log(folder, recipe, state) as log,
        _interruption() as interrupted,
        _batches(source, state.step, device, ahead) as batches,
    ):
        began = kept = time.monotonic() - state.seconds
        for number, examples in batches:
            loss = learn(state, view, examples, task.target, recipe)
            state.step, state.seconds = number + 1, time.monotonic() - began
            log.step(state, float(loss))
            if state.step % recipe.validate_every == 0 or progress(state, recipe) >= 1:
                scores = average_precision(*answers(state.average, view, judged, task.target, recipe))
                keep_best(state, mean(scores), folder)
                log.scores(state, task.target.names, scores)
            ended = _ended(state, recipe) or interrupted()
            if ended or state.seconds + began - kept > CHECKPOINT_S:
                save(state, folder / CHECKPOINT)
                kept = state.seconds + began
            if ended:
                break
    if interrupted():
        raise KeyboardInterrupt
    return folder


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
    """One step on a batch; gives its loss, a number."""
    torch.manual_seed(int(default_rng([recipe.seed, state.step, DROPOUT]).integers(2**63)))
    state.network.train()
    for group in state.optimizer.param_groups:
        group["lr"] = learning_rate(state, recipe)
    logits, guess = look(state.network, view, examples, recipe, half_hidden(examples.centre))
    loss = loss_of(target, logits, examples.truth) + CENTRE * centre_loss(guess, examples)
    state.optimizer.zero_grad()
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(state.network.parameters(), CLIP)
    state.optimizer.step()
    _follow(state)
    return loss.detach()


def look(network: nn.Module, view: nn.Module, examples: Examples, recipe: Recipe, centre: Tensor) -> tuple[Tensor, Tensor | None]:
    """(logits [B T] float32, centre [B 2] px where the network tells it) of a batch, computed in the recipe's precision;
    `centre` [B 2] is what it is told."""
    half = recipe.precision == "bf16"
    seen = shown(examples, view, half) if examples.seen is None else examples.seen
    with torch.autocast(examples.counts.device.type, torch.bfloat16, enabled=half):
        found = judged(network, seen.permute(0, 3, 1, 2), examples.counts, examples.mask.float(), centre)
    return found[0].float(), found[2] if len(found) > 2 else None


def half_hidden(centre: Tensor) -> Tensor:
    """Centres [B 2] as files give them: a third of a pixel off, and in half of the frames not at all."""
    off = centre + OFF_PX * torch.randn_like(centre)
    return torch.where(torch.rand(len(centre), 1, device=centre.device) < 0.5, torch.nan, off)


def centre_loss(guess: Tensor | None, examples: Examples) -> Tensor:
    """How far [] the centres told lie off, as log(1 + px), mean over those that are known: a beam told to half a pixel is worth
    as much as one that is found at all."""
    if guess is None:
        return torch.zeros(())
    known = ~examples.centre.isnan().any(1)
    off = (guess[:, :2] - examples.centre.nan_to_num()).square().sum(1)
    return (torch.log1p((off + SOFT_PX**2).sqrt() - SOFT_PX) * known).sum() / known.sum().clamp(min=1)


def loss_of(target: Target, logits: Tensor, truth: Tensor) -> Tensor:
    """Mean loss over what is known of truth [B T]: binary cross entropy a tag, or cross entropy where one name holds."""
    doubtful, known = truth.isnan(), truth.nan_to_num()
    if isinstance(target, Tags):
        each, counted = binary_cross_entropy_with_logits(logits, known, reduction="none"), ~doubtful
    else:
        each, counted = cross_entropy(logits, known, reduction="none"), ~doubtful.any(1)
    return (each * counted).sum() / counted.sum().clamp(min=1)


def answers(
    network: nn.Module, view: nn.Module, batches: Sequence[Examples], target: Target, recipe: Recipe
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(probabilities, truth) [N T] of the examples in `batches`."""
    network.eval()
    with torch.inference_mode():
        logits = torch.cat([look(network, view, b, recipe, every_other(b.centre))[0] for b in batches])
    truth = torch.cat([b.truth for b in batches])
    return target.probability(logits.cpu().numpy()), truth.cpu().numpy()


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


def _prepare(folder: Path, task: Task, recipe: Recipe, resume: bool) -> None:
    """Make the folder of a run, or accept the one that is there if it is the same training."""
    said = {"task": task.name, "recipe": asdict(recipe)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if resume and (folder / RUN).exists():
            _same(folder, json.loads((folder / RUN).read_text()), said)
        if not resume:
            for name in (CHECKPOINT, BEST):
                (folder / name).unlink(missing_ok=True)
        (folder / RUN).write_text(json.dumps(said, indent=1))
    except OSError as error:
        raise CannotWrite(
            f"{folder}: a training cannot be kept there: {error.strerror}; choose a folder that can be written"
        ) from None


def _same(folder: Path, before: dict[str, Any], now: dict[str, Any]) -> None:
    # How long it may run does not change what is learnt at a step.
    free = ("max_hours", "patience")
    old, new = ({"task": d["task"]} | {k: v for k, v in d["recipe"].items() if k not in free} for d in (before, now))
    differing = sorted(k for k in old.keys() | new.keys() if old.get(k) != new.get(k))
    if differing:
        was = ", ".join(f"{k} {old.get(k)!r} not {new.get(k)!r}" for k in differing)
        raise BeamsightError(f"{folder} holds another training ({was}); choose another folder or overwrite it")


@contextmanager
def _batches(source: Source, first: int, device: str, ahead: bool) -> Iterator[Iterator[tuple[int, Examples]]]:
    """(step, its batch) from step `first` on, on `device`."""
    last = source.recipe.steps
    if device == "cpu" and ahead and first < last:
        with made_ahead(Viewed(source, build_view(source.recipe.view)), first, last) as batches:
            yield batches
    else:
        with torch.device(device):
            yield ((number, source.step(number)) for number in range(first, last))


@contextmanager
def _interruption() -> Iterator[Callable[[], bool]]:
    """Tells whether Ctrl-C or a termination was asked for: a step is finished first, since half a step is no state."""
    asked: list[int] = []

    def note(number: int, _: object) -> None:
        asked.append(number)
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


class _Log:
    """What a training says: lines for people on standard error and in a file, curves for TensorBoard."""

    def __init__(self, folder: Path, recipe: Recipe, state: State) -> None:
        self.folder, self.recipe = folder, recipe
        self.losses: list[float] = []
        self.mark = (state.step, time.monotonic())

    def __enter__(self) -> _Log:
        self.board = SummaryWriter(str(self.folder), purge_step=self.mark[0])
        return self

    def __exit__(self, *_: object) -> None:
        self.board.close()

    def step(self, state: State, loss: float) -> None:
        self.losses.append(loss)
        if state.step % LOG_STEPS and progress(state, self.recipe) < 1:
            return
        now, loss = time.monotonic(), sum(self.losses) / len(self.losses)
        rate = (state.step - self.mark[0]) * self.recipe.batch / max(1e-9, now - self.mark[1])
        done = progress(state, self.recipe)
        left = state.seconds * (1 - done) / max(done, 1e-9)
        self.say(f"step {state.step}/{self.recipe.steps}  loss {loss:.4f}  {rate:.0f} frames/s  {left / 60:.0f} min left")
        self.board.add_scalar("loss", loss, state.step)
        self.board.add_scalar("learning rate", learning_rate(state, self.recipe), state.step)
        self.board.add_scalar("frames a second", rate, state.step)
        self.losses, self.mark = [], (state.step, now)

    def scores(self, state: State, names: Sequence[str], scores: NDArray[np.floating[Any]]) -> None:
        order = np.argsort(np.nan_to_num(scores, nan=2.0))[:3]
        worst = ", ".join(f"{names[t]} {scores[t]:.3f}" for t in order)
        self.say(f"step {state.step}  mean AP {mean(scores):.4f} (best {state.best:.4f})  lowest: {worst}")
        self.board.add_scalar("mean AP", mean(scores), state.step)
        for name, score in zip(names, scores, strict=True):
            self.board.add_scalar(f"AP/{name}", score, state.step)

    def say(self, line: str) -> None:
        sys.stderr.write(line + "\n")
        with (self.folder / LOG).open("a") as file:
            file.write(line + "\n")

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
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.random import default_rng
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy
from torch.utils.tensorboard import SummaryWriter

from beamsight.ahead import keep_memory, made_ahead
from beamsight.errors import BeamsightError, CannotRead, CannotWrite
from beamsight.evaluate import average_precision, mean
from beamsight.examples import Examples, Source
from beamsight.frame import Frame
from beamsight.networks import build_network
from beamsight.recipe import Recipe
from beamsight.targets import Tags, Target
from beamsight.task import Task
from beamsight.views import build_view

RUN, CHECKPOINT, BEST, LOG = "run.json", "checkpoint.safetensors", "best.safetensors", "log.txt"
DECAY, CLIP = 0.999, 1.0
LOG_STEPS, CHECKPOINT_S = 50, 300.0
DROPOUT = 12  # a stream of random numbers, beside those of the examples


@dataclass
class State:
    """A training at one moment: all that a checkpoint holds. `average` follows `network`; `best` is its score so far."""

    network: nn.Module
    average: nn.Module
    optimizer: torch.optim.AdamW
    step: int = 0
    seconds: float = 0.0
    best: float = -math.inf
    since_best: int = 0


def train(
    task: Task,
    out: str | Path,
    recipe: Recipe | None = None,
    frames: Sequence[Frame] | None = None,
    resume: bool = True,
    ahead: bool = True,
) -> Path:
    """Train on simulated examples, or on stored `frames` with truth, and return the run's folder `out`.

    With `resume`, a run that was cut off goes on where its last checkpoint stands, exactly as if it never stopped; without, what
    `out` holds of a run is replaced. Ctrl-C keeps a checkpoint and raises KeyboardInterrupt. `ahead` makes examples in a process
    of its own (CPU only). Raises CannotWrite, and BeamsightError where `out` holds another training.
    """
    recipe, folder = recipe or task.recipe, Path(out)
    _prepare(folder, task, recipe, resume)
    keep_memory()
    device = "cuda" if torch.cuda.is_available() else "cpu"
    state = start(task.target, recipe, device)
    if (folder / CHECKPOINT).exists():
        restore(state, folder / CHECKPOINT)
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
                _compare(state, mean(scores), folder)
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
    network = build_network(recipe.network, channels, target.width).to(device)
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
    logits, _ = look(state.network, view, examples, recipe)
    loss = loss_of(target, logits, examples.truth)
    state.optimizer.zero_grad()
    torch.autograd.backward(loss)
    nn.utils.clip_grad_norm_(state.network.parameters(), CLIP)
    state.optimizer.step()
    _follow(state)
    return loss.detach()


def look(network: nn.Module, view: nn.Module, examples: Examples, recipe: Recipe) -> tuple[Tensor, Tensor]:
    """(logits [B T], embedding [B E]) float32 of a batch, computed in the recipe's precision."""
    half = recipe.precision == "bf16"
    with torch.no_grad():
        seen = view(examples.counts, examples.mask.float())
        # What autocast would do, and the change of layout, in one pass.
        seen = seen.to(torch.bfloat16 if half else torch.float32, memory_format=torch.channels_last)
    with torch.autocast(examples.counts.device.type, torch.bfloat16, enabled=half):
        logits, embedding = network(seen)
    return logits.float(), embedding.float()


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
        logits = torch.cat([look(network, view, b, recipe)[0] for b in batches])
    truth = torch.cat([b.truth for b in batches])
    return target.probability(logits.cpu().numpy()), truth.cpu().numpy()


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


def _compare(state: State, score: float, folder: Path) -> None:
    """Keep the averaged weights where they score best so far; a score that does not exist never does."""
    if score > state.best or not (folder / BEST).exists():
        state.best, state.since_best = score if score == score else -math.inf, 0
        _write(folder / BEST, state.average.state_dict(), {"step": str(state.step), "score": repr(score)})
    else:
        state.since_best += 1


def save(state: State, path: Path) -> None:
    """The whole state in one safetensors file, written beside and moved into place."""
    moments = state.optimizer.state_dict()["state"]
    tensors = {f"network.{k}": v for k, v in state.network.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in state.average.state_dict().items()}
    tensors |= {f"optimizer.{i}.{k}": v for i, values in moments.items() for k, v in values.items()}
    numbers = {k: repr(getattr(state, k)) for k in ("step", "seconds", "best", "since_best")}
    _write(path, tensors, numbers)


def restore(state: State, path: Path) -> None:
    """The inverse of `save`. Raises CannotRead where the file is damaged or of another network."""
    try:
        with safe_open(path, "pt") as file:
            numbers, tensors = file.metadata(), {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118
        state.network.load_state_dict(_under(tensors, "network."))
        state.average.load_state_dict(_under(tensors, "average."))
        state.optimizer.load_state_dict(state.optimizer.state_dict() | {"state": _moments(state, _under(tensors, "optimizer."))})
        state.step, state.since_best = int(numbers["step"]), int(numbers["since_best"])
        state.seconds, state.best = float(numbers["seconds"]), float(numbers["best"])
    except (SafetensorError, RuntimeError, KeyError, ValueError) as error:
        raise CannotRead(
            f"{path}: no checkpoint of this training ({str(error).splitlines()[0]}); remove it or start elsewhere"
        ) from None


def _moments(state: State, tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """The optimizer's memory of each weight, in the weight's own order in memory: its fused step reads both side by side."""
    weights = [p for group in state.optimizer.param_groups for p in group["params"]]
    moments: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        number, key = name.split(".", 1)
        placed = torch.empty_like(weights[int(number)]).copy_(value).detach() if value.ndim else value
        moments.setdefault(int(number), {})[key] = placed
    return moments


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _write(path: Path, tensors: dict[str, Tensor], numbers: dict[str, str]) -> None:
    beside = path.with_suffix(".part")
    beside.write_bytes(to_safetensors({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, numbers))
    beside.replace(path)


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
        with made_ahead(source.step, first, last) as batches:
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

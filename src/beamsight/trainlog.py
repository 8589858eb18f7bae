"""What a training says: lines for people on standard error and in a file, curves for TensorBoard."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter

from beamsight.checkpoint import State
from beamsight.evaluate import mean
from beamsight.parallel import is_first, processes, totals
from beamsight.recipe import Recipe

LOG = "log.txt"
LOG_STEPS = 50

T = TypeVar("T")


class Log:
    """The log of a run, used as a context; of several processes only the first writes.

    `frames a second` and `waiting`, the share of time in which the device had no examples, are since the line before.
    """

    def __init__(self, folder: Path, recipe: Recipe, state: State) -> None:
        self.folder, self.recipe = folder, recipe
        self.losses: list[float] = []
        self._mark(state)

    def __enter__(self) -> Log:
        # After a checkpoint the curves go on from its step; what was drawn beyond it is drawn again.
        self.board = SummaryWriter(str(self.folder), purge_step=self.step_before) if is_first() else None
        return self

    def __exit__(self, *_: object) -> None:
        if self.board is not None:
            self.board.close()

    def step(self, state: State, loss: float, rate: float, done: float) -> None:
        """Take note of a step, its loss, learning rate and the share of the training that is done."""
        self.losses.append(loss)
        if state.step % LOG_STEPS and done < 1:
            return
        now, loss = time.monotonic(), sum(self.losses) / len(self.losses)
        spent = max(1e-9, now - self.began)
        frames = (state.step - self.step_before) * self.recipe.batch / spent
        waiting = (state.waited - self.waited_before) / spent
        left = state.seconds * (1 - done) / max(done, 1e-9)
        progress = f"step {state.step}/{self.recipe.steps}  loss {loss:.4f}  {frames:.0f} frames/s"
        self.say(f"{progress}  {100 * waiting:.1f} % waiting  {max(0.0, left) / 60:.0f} min left")
        self._draw(state, {"loss": loss, "learning rate": rate, "frames a second": frames, "waiting": waiting})
        self.losses = []
        self._mark(state)

    def scores(self, state: State, names: Sequence[str], scores: NDArray[np.floating[Any]]) -> None:
        """Say the scores [T] of a validation."""
        order = np.argsort(np.nan_to_num(scores, nan=2.0))[:3]
        worst = ", ".join(f"{names[t]} {scores[t]:.3f}" for t in order)
        self.say(f"step {state.step}  mean AP {mean(scores):.4f} (best {state.best:.4f})  lowest: {worst}")
        self._draw(state, {"mean AP": mean(scores)} | {f"AP/{n}": s for n, s in zip(names, scores, strict=True)})

    def end(self, state: State, ended: bool) -> None:
        """Say how long it took, and how much of that was waiting."""
        share = state.waited / max(1e-9, state.seconds)
        rest = "" if ended else "; not at its end: the same command goes on"
        self.say(f"{state.step} steps in {state.seconds / 3600:.2f} h, {100 * share:.1f} % of it waiting{rest}")

    def say(self, line: str) -> None:
        """One line on standard error and in the file."""
        if is_first():
            sys.stderr.write(line + "\n")
            with (self.folder / LOG).open("a") as file:
                file.write(line + "\n")

    def _draw(self, state: State, values: dict[str, float]) -> None:
        if self.board is not None:
            for name, value in values.items():
                self.board.add_scalar(name, value, state.step)
            self.board.flush()

    def _mark(self, state: State) -> None:
        self.step_before, self.waited_before, self.began = state.step, state.waited, time.monotonic()


class Clock:
    """How long a training takes and waits for examples, and whether it should stop before it has ended.

    Each process measures that by itself; once a step they agree, so that none goes on alone.
    """

    def __init__(self, state: State, asked: Callable[[], bool], limit: float) -> None:
        self.began, self.waited, self.limit, self.asked = time.monotonic() - state.seconds, state.waited, limit, asked
        self.interrupted = self.late = False

    @property
    def stopped(self) -> bool:
        """True once a process was asked to end, or the time is over."""
        return self.interrupted or self.late

    def timed(self, items: Iterator[T]) -> Iterator[T]:
        """The same items; the time they take to come is counted as waiting."""
        while True:
            asked = time.monotonic()
            try:
                item = next(items)
            except StopIteration:
                return
            self.waited += time.monotonic() - asked
            yield item

    def agreed(self, state: State, loss: float) -> float:
        """The whole loss from each process's part; `state` gets the mean of their times."""
        now, n = time.monotonic(), processes()
        whole, seconds, waited, interrupted, late = totals(
            loss, (now - self.began) / n, self.waited / n, self.asked(), now > self.limit
        )
        state.seconds, state.waited = seconds, waited
        self.interrupted, self.late = interrupted > 0, late > 0
        return whole

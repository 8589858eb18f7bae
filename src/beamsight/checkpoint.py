"""A training at one moment, and how it is kept, found again and compared with the best so far."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as from_safetensors
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from beamsight.errors import BeamsightError, CannotRead, CannotWrite
from beamsight.frame import Frame
from beamsight.parallel import from_first, is_first
from beamsight.recipe import Recipe

RUN, CHECKPOINT, BEST = "run.json", "checkpoint.safetensors", "best.safetensors"
# How long it may run does not change what is learnt at a step.
FREE = {"max_hours", "patience"}

# What is trained and how: {"task": its name, "recipe": its fields, "frames": which stored ones, None = simulated}.
Said = dict[str, Any]


@dataclass
class State:
    """A training at one moment: all that a checkpoint holds. `average` follows `network`; `best` is its score so far; of its
    `seconds`, it `waited` for examples."""

    network: nn.Module
    average: nn.Module
    optimizer: torch.optim.AdamW
    step: int = 0
    seconds: float = 0.0
    waited: float = 0.0
    best: float = -math.inf
    since_best: int = 0


NUMBERS = {"step": int, "seconds": float, "waited": float, "best": float, "since_best": int}


def prepare(folder: Path, task: str, recipe: Recipe, frames: Sequence[Frame] | None, resume: bool) -> Said:
    """Make the folder of a run, or accept the one that is there if it is the same training; gives what is said of it.

    Without `resume` what it holds of a run is removed. Raises CannotWrite, BeamsightError where it holds another training.
    """
    known = f"{len(frames)} from {frames[0].key}" if frames else None
    said = {"task": task, "recipe": asdict(recipe), "frames": known}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if resume and (folder / RUN).exists():
            _same(str(folder), json.loads((folder / RUN).read_text()), said)
        for name in () if resume else (CHECKPOINT, BEST):
            (folder / name).unlink(missing_ok=True)
        (folder / RUN).write_text(json.dumps(said, indent=1))
    except OSError as error:
        raise CannotWrite(
            f"{folder}: a training cannot be kept there: {error.strerror}; choose a folder that can be written"
        ) from None
    return said


def keep_best(state: State, score: float, folder: Path) -> None:
    """Keep the averaged weights where they score best so far; a score that does not exist never does."""
    if score > state.best or not from_first((folder / BEST).exists):
        state.best, state.since_best = score if score == score else -math.inf, 0
        if is_first():
            _write(folder / BEST, state.average.state_dict(), {"step": str(state.step), "score": repr(score)})
    else:
        state.since_best += 1


def save(state: State, path: Path, said: Said | None = None) -> None:
    """The whole state in one safetensors file, written beside and moved into place; CannotWrite leaves the one before."""
    moments = state.optimizer.state_dict()["state"]
    tensors = {f"network.{k}": v for k, v in state.network.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in state.average.state_dict().items()}
    tensors |= {f"optimizer.{i}.{k}": v for i, values in moments.items() for k, v in values.items()}
    _write(path, tensors, {k: repr(getattr(state, k)) for k in NUMBERS} | {"run": json.dumps(said)})


def restore(state: State, path: Path, said: Said | None = None) -> None:
    """The inverse of `save`; the first process reads for all. Raises CannotRead where the file is damaged or of another network,
    BeamsightError where it is of another training than `said`."""
    content = from_first(lambda: _restored(state, path, path.read_bytes(), said))
    if not is_first():
        _restored(state, path, content, said)


def _restored(state: State, path: Path, content: bytes, said: Said | None) -> bytes:
    try:
        numbers, tensors = {"waited": "0.0", "run": "null"} | _numbers(content), from_safetensors(content)
        before = json.loads(numbers["run"])
        if said is not None and before is not None:
            _same(str(path), before, said)
        state.network.load_state_dict(_under(tensors, "network."))
        state.average.load_state_dict(_under(tensors, "average."))
        state.optimizer.load_state_dict(state.optimizer.state_dict() | {"state": _moments(state, _under(tensors, "optimizer."))})
        for name, kind in NUMBERS.items():
            setattr(state, name, kind(numbers[name]))
    except (SafetensorError, RuntimeError, KeyError, ValueError, TypeError) as error:
        raise CannotRead(
            f"{path}: no checkpoint of this training ({str(error).splitlines()[0]}); remove it or start elsewhere"
        ) from None
    return content


@contextmanager
def kept_in(folder: Path) -> Iterator[None]:
    """What cannot be written there, while a training goes on, becomes CannotWrite."""
    try:
        yield
    except OSError as error:
        if isinstance(error, BeamsightError):
            raise
        reason = error.strerror or str(error)
        raise CannotWrite(
            f"{folder}: cannot be written ({reason}); the last checkpoint is whole: make room, and the same command goes on"
        ) from None


def _same(where: str, before: Said, now: Said) -> None:
    old, new = ({**d["recipe"], "task": d["task"], "frames": d.get("frames")} for d in (before, now))
    differing = sorted(k for k in (old.keys() | new.keys()) - FREE if old.get(k) != new.get(k))
    if differing:
        was = ", ".join(f"{k} {old.get(k)!r} not {new.get(k)!r}" for k in differing)
        raise BeamsightError(f"{where} holds another training ({was}); choose another folder or overwrite it")


def _numbers(content: bytes) -> dict[str, str]:
    """The words beside the tensors of a safetensors file."""
    length = int.from_bytes(content[:8], "little")
    found: dict[str, str] = json.loads(content[8 : 8 + length])["__metadata__"]
    return found


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
    content = to_safetensors({k: v.detach().cpu().contiguous().clone() for k, v in tensors.items()}, numbers)
    with kept_in(path.parent):
        try:
            with beside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # or a machine that loses power keeps a name without content
            beside.replace(path)
        finally:
            beside.unlink(missing_ok=True)

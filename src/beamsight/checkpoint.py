"""A training at one moment, and how it is kept, found again and compared with the best so far."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from beamsight.bundle import WEIGHTS
from beamsight.errors import CannotRead

CHECKPOINT, BEST = "checkpoint.safetensors", "best.safetensors"


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


def keep_best(state: State, score: float, folder: Path) -> None:
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


def begin_with(state: State, folder: Path) -> None:
    """Give a training that has not begun the weights of a run or a model. Raises CannotRead where they are none for it."""
    path = next((folder / name for name in (BEST, WEIGHTS) if (folder / name).exists()), folder / BEST)
    try:
        weights = load_file(path)
        for network in (state.network, state.average):
            network.load_state_dict(weights)
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CannotRead(f"{path}: no weights for this network ({str(error).splitlines()[0]}); name a run or a model") from None


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

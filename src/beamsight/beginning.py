"""What a training begins with: the weights of a run, or of a model, whose graph holds most of its own.

A graph that keeps norms apart from convolutions has nearly all weights as they were trained: they need to lie nowhere else.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor
from torch.nn.functional import pad

from beamsight.bundle import WEIGHTS, load
from beamsight.checkpoint import BEST, State
from beamsight.errors import CannotRead
from beamsight.parallel import from_first, is_first

ANSWERS = ".head."  # the part of a network, or of its halves, that depends on what is asked
VIEW_PARTS = ("orders.",)  # of a network that rests on more views than the one whose weights it begins with
NETWORK, HALF = "network.", ".half"  # before and after the names of a network's weights in a graph


def begin_with(state: State, folder: Path) -> None:
    """Give a training that has not begun the weights of a run or a model; what a network with fewer views lacks, or one of
    another question answers with, stays as it is.

    Raises CannotRead where they are none for it, BadBundle where a model is damaged.
    """
    weights = from_first(lambda: _begun(state, folder, None))
    if not is_first():
        _begun(state, folder, weights)


def weights_of(folder: Path) -> dict[str, Tensor]:
    """Those of a run's best network, or of a model. Raises OSError or SafetensorError where they cannot be read, BadBundle where
    a model is damaged."""
    if (folder / BEST).exists() or not (folder / WEIGHTS).exists():
        return load_file(folder / BEST)
    return in_graph(load(folder).onnx) | load_file(folder / WEIGHTS)


def in_graph(graph: bytes) -> dict[str, Tensor]:
    """The weights of the network that a model's graph holds under their own names."""
    kept = [w for w in onnx.load_from_string(graph).graph.initializer if w.name.startswith(NETWORK)]
    return {
        w.name.removeprefix(NETWORK).removesuffix(HALF): torch.from_numpy(np.array(onnx.numpy_helper.to_array(w))) for w in kept
    }


def not_in_graph(weights: dict[str, Tensor], graph: bytes) -> dict[str, Tensor]:
    """Those of `weights` that the graph lacks or has otherwise, to the bit."""
    there = in_graph(graph)
    return {
        name: v for name, v in weights.items() if name not in there or there[name].dtype != v.dtype or not there[name].equal(v)
    }


def _begun(state: State, folder: Path, weights: dict[str, Tensor] | None) -> dict[str, Tensor]:
    try:
        weights = weights or weights_of(folder)
        for network in (state.network, state.average):
            network.load_state_dict(_filled(_asked(weights, network.state_dict()), network.state_dict()))
    except (OSError, SafetensorError, RuntimeError) as error:
        raise CannotRead(f"{folder}: no weights for this network ({str(error).splitlines()[0]}); name a run or a model") from None
    return weights


def _asked(weights: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """`weights` with an `own` last layer where that of another question has other answers."""
    last = {name: own[name] for name in weights if name in own and ANSWERS in f".{name}"}
    return weights | {name: v for name, v in last.items() if v.shape != weights[name].shape}


def _filled(weights: dict[str, Tensor], own: dict[str, Tensor]) -> dict[str, Tensor]:
    """`weights` with what `own` has beyond them: whole views, and columns, at first 0, where these join."""
    if not any(name.startswith(VIEW_PARTS) and name not in weights for name in own):
        return weights
    filled = {name: value for name, value in own.items() if name.startswith(VIEW_PARTS)} | weights
    for name, value in weights.items():
        more = own[name].shape[1] - value.shape[1] if name in own and value.ndim == 2 and own[name].ndim == 2 else 0
        filled[name] = pad(value, (0, more)) if more > 0 else value
    return filled

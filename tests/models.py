"""A small but real model folder, for tests of everything that answers."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

NAMES = ("bright", "dark", "half masked")
SIZE = 32


def graph(names: tuple[str, ...] = NAMES, size: int = SIZE, opset: int = 18, told: bool = False) -> onnx.ModelProto:
    """Logits that can be computed by hand: mean of log1p(counts) - 2, its negative, and 4 (0.5 - share of trusted pixels).

    With `told`, also a centre: (mean, share) with a spread of the mean.
    """
    nodes = [
        helper.make_node("Add", ["counts", "one"], ["more"]),
        helper.make_node("Log", ["more"], ["log"]),
        helper.make_node("ReduceMean", ["log", "axes"], ["mean"], keepdims=0),
        helper.make_node("ReduceMean", ["mask", "axes"], ["share"], keepdims=0),
        helper.make_node("Unsqueeze", ["mean", "last"], ["m"]),
        helper.make_node("Unsqueeze", ["share", "last"], ["s"]),
        helper.make_node("Concat", ["m", "s"], ["embedding"], axis=1),
        helper.make_node("Gemm", ["embedding", "weight", "bias"], ["logits"]),
    ]
    outputs = [("logits", len(names)), ("embedding", 2)]
    if told:
        nodes.append(helper.make_node("Concat", ["m", "s", "m"], ["told_centre"], axis=1))
        outputs.append(("told_centre", 3))
    weight = np.zeros((2, len(names)), np.float32)
    weight[:, :3] = np.array([[1, -1, 0], [0, 0, -4]])[:, : len(names)]
    bias = np.full(len(names), -3, np.float32)
    bias[:3] = [-2, 2, 2][: len(names)]
    given = {"one": np.float32(1), "axes": np.array([1, 2]), "last": np.array([1]), "weight": weight, "bias": bias}
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", size, size]) for n in ("counts", "mask")],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width]) for name, width in outputs],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in given.items()],
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def safetensors(values: dict[str, np.ndarray[Any, Any]]) -> bytes:
    """The bytes of a safetensors file."""
    header, blob = {}, b""
    for name, value in values.items():
        data = np.ascontiguousarray(value, np.float32).tobytes()
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [len(blob), len(blob) + len(data)]}
        blob += data
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + blob


def card(folder: Path, names: tuple[str, ...] = NAMES, **other: Any) -> dict[str, Any]:
    """A card for the files that lie in the folder."""
    sums = {n: hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in ("model.onnx", "weights.safetensors")}
    width = len(names)
    return {
        "task": "test-frames",
        "question": "How bright is the frame?",
        "view": "image",
        "size": SIZE,
        "target": {"kind": "tags", "names": list(names)},
        "threshold": [0.5] * width,
        "doubtful": [[0.3, 0.7]] * width,
        "calibration": {"scale": [1.0] * width, "shift": [0.0] * width},
        "inputs": {"counts": ["n", SIZE, SIZE], "mask": ["n", SIZE, SIZE]},
        "precision": "f32",
        "recipe": {},
        "scores": {},
        "sweeps": {},
        "versions": {},
        "version": "1",
        "commit": "",
        "created": "2026-11-21T00:00:00+00:00",
        "sha256": sums,
    } | other


def write_bundle(folder: Path, model: onnx.ModelProto | None = None, names: tuple[str, ...] = NAMES, **other: Any) -> Path:
    """A model folder, whole and loadable unless `model` or the card's `other` entries make it otherwise."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes((model or graph(names)).SerializeToString())
    (folder / "weights.safetensors").write_bytes(safetensors({"weight": np.eye(3, dtype=np.float32)}))
    (folder / "card.json").write_text(json.dumps(card(folder, names, **other)))
    return folder

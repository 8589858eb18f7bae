"""A trained run becomes a bundle: one graph with its view inside, its weights, and a card that says what it is."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import copy
import hashlib
import json
import logging
import math
import platform
import subprocess
import warnings
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnxscript.optimizer import fold_constants, remove_unused_nodes
from safetensors import SafetensorError
from safetensors.torch import load_file
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn

from beamsight.answer import TILE_PX
from beamsight.beginning import HALF, not_in_graph
from beamsight.bundle import CARD, MODEL, WEIGHTS
from beamsight.calibrate import (
    calibration,
    centre_calibration,
    doubtful_bands,
    places_calibration,
    sure_from,
    thresholds,
)
from beamsight.checkpoint import BEST, RUN
from beamsight.errors import BeamsightError, CannotRead, CannotWrite
from beamsight.evaluate import score
from beamsight.examples import TEST, VALIDATION, Examples, simulated
from beamsight.joint import Joint
from beamsight.networks import Whole, build_network
from beamsight.normal import RUNS, normal_runs
from beamsight.recipe import Recipe
from beamsight.runtime import compiled
from beamsight.spots import Spots, any_in_tile
from beamsight.targets import OneOf, Target, scored
from beamsight.task import Task, find_task
from beamsight.train import every_other
from beamsight.views import DECADES, PATTERSON, build_view

OPSET = 18
FOLDED = 2048  # numbers of a constant that may be computed beforehand
# Frames that choose thresholds and calibration, that give the card's scores, and on which the graph is compared.
CHOSEN, SCORED, COMPARED = 4000, 2000, 48
FEWEST_RUNS, FRAMES_A_RUN = 8, 20  # runs that tell what is normal: at least, and one for so many of those chosen
CENTRES = 1000  # of those chosen, how many tell how well centres are found
BATCH = 32
# Views of models that say so where they are not sure.
UNSURE = ("contrast", DECADES, PATTERSON)
# Packages whose versions the card notes.
NOTED = ("torch", "onnx", "openvino", "numpy")
# The largest difference in a calibrated probability between graph and eager network that is let through: of the order of
# sums, and of bfloat16 in convolutions, which otherwise is not offered. Where the image tells the centre, a difference in
# the last bits may move it by a quarter of a pixel, and thin rings with it.
TOLERANCE = {"f32": 0.02, "bf16": 0.05}
TOLERANCE_FOUND = {"f32": 0.05, "bf16": 0.25}


def export(run: str | Path, out: str | Path, task: Task | None = None, chosen: int = CHOSEN, scored: int = SCORED) -> Path:
    """Write the bundle of a run folder to `out` and return it: model.onnx, weights.safetensors, with what a training goes on from
    and the graph has not, and card.json.

    Thresholds and calibration come from `chosen` validation frames, scores from `scored` test frames; both are simulated.
    `task` where it is none that `find_task` knows. Raises CannotRead, CannotWrite, and BeamsightError where the exported graph
    does not answer as the trained network does.
    """
    task, recipe, network = load_run(run, task)
    network.load_state_dict(_halved(network))  # what is chosen and scored here is what ships, rounded as it ships
    whole = Whole(build_view(recipe.view), network).eval()
    folder = _folder(out)
    graph = graph_of(whole, recipe.size)
    (folder / MODEL).write_bytes(graph)
    (folder / WEIGHTS).write_bytes(to_safetensors(not_in_graph(_halved(network), graph)))
    logits, truth = _chosen(whole, task, recipe, chosen)
    scale, shift = calibration(task.target, logits, truth)
    differences = compare(folder / MODEL, whole, task, recipe, scale, shift)
    probability = task.target.probability((logits * scale + shift).astype(np.float32))
    limits = thresholds(probability, truth)
    card = {
        **_said(task, recipe),
        "precision": "bf16" if _close(differences, "bf16") else "f32",
        "threshold": limits.tolist(),
        "doubtful": doubtful_bands(probability, truth, limits).tolist(),
        "centre": _centres(whole, task, recipe, min(chosen, CENTRES)),
        "places": _places(whole, task, recipe, min(chosen, CENTRES)),
        "normal": normal_runs(task, recipe.seed, max(FEWEST_RUNS, min(RUNS, chosen // FRAMES_A_RUN))),
        "sure": sure_from(task.target, probability, truth) if recipe.view in UNSURE and isinstance(task.target, OneOf) else 0.0,
        "calibration": {"scale": scale.tolist(), "shift": shift.tolist(), "frames": len(truth)},
        "difference": differences,
        "scores": _scores(whole, task, recipe, scale, shift, limits, scored),
        "sha256": {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in (MODEL, WEIGHTS)},
    }
    (folder / CARD).write_text(json.dumps(_plain(card), indent=1) + "\n")
    return folder


def load_run(run: str | Path, task: Task | None = None) -> tuple[Task, Recipe, nn.Module]:
    """Task, recipe and best network of a run folder. Raises CannotRead where it holds none."""
    folder = Path(run)
    try:
        said = json.loads((folder / RUN).read_text())
        task, recipe = task or find_task(said["task"]), Recipe(**said["recipe"])
        channels = build_view(recipe.view).shape(recipe.size, recipe.size)[0]
        network = build_network(recipe.network, channels, task.target.width, recipe.view, recipe.size)
        network.load_state_dict(load_file(folder / BEST))
    except (OSError, SafetensorError, ValueError, TypeError, KeyError, RuntimeError) as error:
        if isinstance(error, BeamsightError):
            raise
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CannotRead(f"{folder}: no run with scored weights ({reason}); `beamsight train` makes one") from None
    return task, recipe, network.eval()


def graph_of(whole: Whole, size: int) -> bytes:
    """The ONNX graph of view and network for frames `size` pixels square, any number at a time; weights in half precision."""
    counts = torch.ones(2, size, size)
    given: tuple[Tensor, ...] = (counts, torch.ones_like(counts))
    inputs, outputs = ["counts", "mask"], ["logits", "embedding"]
    if isinstance(whole.network, Joint):
        given, inputs, outputs = (*given, torch.full((2, 2), size / 3)), [*inputs, "centre"], [*outputs, "told_centre"]
    axes = {0: torch.export.Dim("N")}
    if isinstance(whole.network, Spots):
        # Frames of any size, in whole tiles.
        outputs, sides = [*outputs, "tiles", "number"], (torch.export.Dim("rows"), torch.export.Dim("columns"))
        axes |= {1: TILE_PX * sides[0], 2: TILE_PX * sides[1]}
    with warnings.catch_warnings():
        # What the exporter says of its own insides is nothing that a user could act on.
        warnings.simplefilter("ignore")
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        program = torch.onnx.export(
            copy.deepcopy(whole), given, dynamo=True, verbose=False, opset_version=OPSET,
            input_names=inputs, output_names=outputs, dynamic_shapes=dict.fromkeys(inputs, axes), optimize=False,
        )  # fmt: skip
    if program is None:
        raise BeamsightError("the exporter gave no graph; is this version of torch one that beamsight knows?")
    # What follows from a few numbers is computed where the graph is read: folded here it would be most of the file. Norms stay
    # apart from convolutions, so that these keep the weights that a training can go on from.
    fold_constants(program.model, output_size_limit=FOLDED)
    remove_unused_nodes(program.model)
    model = _shrunk(program.model_proto)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _shrunk(model: onnx.ModelProto) -> onnx.ModelProto:
    """Large weights in half precision, each with a cast that the runtime folds; no notes of where the graph was made."""
    graph = model.graph
    for node in graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    casts = []
    for weight in graph.initializer:
        if weight.data_type != onnx.TensorProto.FLOAT or math.prod(weight.dims) < 256:
            continue
        name, values = weight.name, onnx.numpy_helper.to_array(weight)
        weight.CopyFrom(onnx.numpy_helper.from_array(values.astype(np.float16), name + HALF))
        casts.append(onnx.helper.make_node("Cast", [name + HALF], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *graph.node]
    del graph.node[:]
    graph.node.extend(nodes)
    del graph.value_info[:]
    return model


def _halved(network: nn.Module) -> dict[str, Tensor]:
    """The network's weights, the large ones in half precision; loads into the network that `build_network` makes."""
    return {k: v.half().contiguous() if v.ndim > 1 else v.contiguous() for k, v in network.state_dict().items()}


def _chosen(whole: Whole, task: Task, recipe: Recipe, n: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """`answers` of the frames that choose: `n` as large as most of those learnt from, and as many pixels of wide ones."""
    first, wide = recipe.validation, recipe.wide
    small = answers(whole, task, recipe, VALIDATION[first : first + n])
    if wide == 1:
        return small
    large = answers(whole, task, recipe, VALIDATION[first + n : first + n + max(1, n // wide**2)], wide)
    return np.concatenate([small[0], large[0]]), np.concatenate([small[1], large[1]])


def answers(whole: Whole, task: Task, recipe: Recipe, indices: Sequence[int], wide: int = 1) -> tuple[NDArray[Any], NDArray[Any]]:
    """(logits, truth) [N T] of the simulated examples `indices`, computed in float32; `wide` times as wide as the recipe's."""
    many = max(1, BATCH // wide**2)
    parts = [indices[i : i + many] for i in range(0, len(indices), many)]
    pairs = [_answer(whole, simulated(task, recipe.size * wide, recipe.seed, part)) for part in parts]
    return np.concatenate([logits for logits, _ in pairs]), np.concatenate([truth for _, truth in pairs])


def _answer(whole: Whole, examples: Examples) -> tuple[NDArray[Any], NDArray[Any]]:
    with torch.inference_mode():
        given = (examples.counts, examples.mask.float(), every_other(examples.centre))
        return whole(*given)[0].numpy(), scored(examples.truth.numpy())


def compare(graph: Path, whole: Whole, task: Task, recipe: Recipe, scale: NDArray[Any], shift: NDArray[Any]) -> dict[str, float]:
    """The largest difference of a calibrated probability between graph and eager network on simulated frames, by precision;
    under "... found" that of frames whose centre the network had to find.

    In batches of three, whatever was exported. Raises BeamsightError where float32 differs by more than is let through.
    """
    examples = simulated(task, recipe.size, recipe.seed, TEST[-COMPARED:])

    def probability(logits: NDArray[Any]) -> NDArray[np.float32]:
        return task.target.probability((logits * scale + shift).astype(np.float32))

    eager = probability(_answer(whole, examples)[0])
    found: dict[str, float] = {}
    for precision in TOLERANCE:
        apart = np.abs(eager - probability(_run(graph, examples, precision))).max(1)
        # The centre of every other frame is hidden.
        found |= {precision: float(apart[::2].max()), f"{precision} found": float(apart[1::2].max())}
    if not _close(found, "f32"):
        most = max(found["f32"], found["f32 found"])
        raise BeamsightError(f"{graph} differs from the network it was made of by {most:.3f} in a probability; not exported")
    return found


def _close(differences: dict[str, float], precision: str) -> bool:
    told, found = differences[precision], differences[f"{precision} found"]
    return told <= TOLERANCE[precision] and found <= TOLERANCE_FOUND[precision]


def _run(graph: Path, examples: Examples, precision: str) -> NDArray[Any]:
    model = compiled(graph.read_bytes(), precision)
    every = {"counts": examples.counts, "mask": examples.mask.float(), "centre": every_other(examples.centre)}
    given = {name: every[name].numpy() for name in (i.any_name for i in model.inputs)}
    batches = [slice(n, n + 3) for n in range(0, len(examples), 3)]
    return np.concatenate([model({name: v[b] for name, v in given.items()})["logits"] for b in batches])


def _centres(whole: Whole, task: Task, recipe: Recipe, n: int) -> dict[str, float] | None:
    """How far the centres lie that the image tells, by what the network says of them, on `n` validation frames; None where it
    tells none, or no frame of the task has one."""
    if not isinstance(whole.network, Joint):
        return None
    parts = [VALIDATION[recipe.validation + i : recipe.validation + min(i + BATCH, n)] for i in range(0, n, BATCH)]
    pairs = [_told(whole, simulated(task, recipe.size, recipe.seed, part)) for part in parts]
    told, truth = (np.concatenate(values) for values in zip(*pairs, strict=True))
    known = np.isfinite(truth).all(1)
    if not known.any():
        return None
    off = np.hypot(*(told[known, :2] - truth[known]).T)
    return centre_calibration(told[known, 2], off) | {"frames": int(known.sum()), "median_px": float(np.median(off))}


def _places(whole: Whole, task: Task, recipe: Recipe, n: int) -> dict[str, float] | None:
    """How the tiles' logits become probabilities, from `n` validation frames; None where a network or a task tells no places."""
    if not isinstance(whole.network, Spots) or task.locate is None:
        return None
    parts = [VALIDATION[recipe.validation + i : recipe.validation + min(i + BATCH, n)] for i in range(0, n, BATCH)]
    pairs = []
    for examples in (simulated(task, recipe.size, recipe.seed, part) for part in parts):
        with torch.inference_mode():
            pairs.append((whole(examples.counts, examples.mask.float())[2].numpy(), any_in_tile(examples.places).numpy()))
    return places_calibration(*(np.concatenate(values) for values in zip(*pairs, strict=True))) | {"side_px": TILE_PX}


def _told(whole: Whole, examples: Examples) -> tuple[NDArray[Any], NDArray[Any]]:
    with torch.inference_mode():
        return whole(examples.counts, examples.mask.float())[2].numpy(), examples.centre.numpy()


def _scores(
    whole: Whole, task: Task, recipe: Recipe, scale: NDArray[Any], shift: NDArray[Any], limits: NDArray[Any], n: int
) -> dict[str, Any]:
    logits, truth = answers(whole, task, recipe, TEST[:n])
    probability = task.target.probability((logits * scale + shift).astype(np.float32))
    return {"frames": n, **score(task.target, probability, truth, limits)}


def _said(task: Task, recipe: Recipe) -> dict[str, Any]:
    """What the card says of the question and of how the model was made."""
    target: Target = task.target
    shape = ["N", recipe.size, recipe.size]
    return {
        "task": task.name,
        "question": task.question.strip(),
        "view": recipe.view,
        "size": recipe.size,
        "target": {"kind": "one_of" if isinstance(target, OneOf) else "tags"} | asdict(target),
        "inputs": {"counts": shape, "mask": shape} | ({"centre": ["N", 2]} if recipe.network == "joint" else {}),
        "recipe": asdict(recipe),
        "sweeps": {k: list(v) for k, v in task.sweeps.items()},
        "rods": {name: [[float(place), float(number)] for place, number in rods] for name, rods in task.rods.items()},
        "references": list(task.references),
        "version": _version("beamsight"),
        "versions": {name: _version(name) for name in ("torch", "onnx", "openvino", "numpy")}
        | {"python": platform.python_version()},
        "commit": _commit(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def _commit() -> str:
    """The commit of the source, where it is a checkout; otherwise nothing."""
    try:
        asked = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
        done = subprocess.run(asked, capture_output=True, text=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def _folder(out: str | Path) -> Path:
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CARD).unlink(missing_ok=True)  # half a bundle must not pass for a whole one
    except OSError as error:
        raise CannotWrite(
            f"{folder}: a model cannot be written there: {error.strerror}; choose a folder that can be written"
        ) from None
    return folder


def _plain(value: Any) -> Any:
    """The same for JSON, which knows no NaN: None in its place; numbers to six figures."""
    if isinstance(value, dict):
        return {k: _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, float):
        return float(f"{value:.6g}") if math.isfinite(value) else None
    return value

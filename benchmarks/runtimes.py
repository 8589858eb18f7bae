"""The same model in the runtimes that a user could pick: milliseconds a frame, and how far the answers move."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from beamsight import bundle
from beamsight.beginning import weights_of
from beamsight.networks import Whole, build_network
from beamsight.runtime import compiled
from beamsight.views import build_view
from studies.rows import ROOT, Row, keep, show

BATCH = 16
Logits = NDArray[np.float32]
Run = Callable[[Logits, Logits], Logits]


def eager(model: bundle.Bundle) -> Run:
    """The network in torch, from the bundle's weights."""
    card, width = model.card, model.target.width
    view = build_view(card["view"])
    network = build_network(card["recipe"]["network"], view.shape(model.size, model.size)[0], width, card["view"], model.size)
    network.load_state_dict(weights_of(model.folder))
    whole = Whole(view, network).eval()

    def run(counts: Logits, mask: Logits) -> Logits:
        with torch.inference_mode():
            return np.asarray(whole(torch.from_numpy(counts), torch.from_numpy(mask))[0])

    return run


def onnx_runtime(model: bundle.Bundle) -> Run:
    """ONNX Runtime in single precision."""
    session = onnxruntime.InferenceSession(model.onnx, providers=["CPUExecutionProvider"])
    names = [i.name for i in session.get_inputs()]
    return lambda counts, mask: session.run(["logits"], given(names, counts, mask))[0]


def given(names: list[str], counts: Logits, mask: Logits) -> dict[str, Logits]:
    """What a graph with inputs of these names takes; the beam's centre is not told."""
    every = {"counts": counts, "mask": mask, "centre": np.full((len(counts), 2), np.nan, np.float32)}
    return {name: every[name] for name in names}


def open_vino(model: bundle.Bundle, precision: str) -> Run:
    """OpenVINO; "bf16": the convolutions, as answering has them."""
    graph = compiled(model.onnx, precision)
    names = [i.any_name for i in graph.inputs]
    return lambda counts, mask: np.array(graph(given(names, counts, mask))["logits"])


def milliseconds(run: Run, counts: Logits, mask: Logits, rounds: int) -> float:
    """Median time a frame."""
    times = []
    for _ in range(rounds + 3):
        start = time.perf_counter()
        run(counts, mask)
        times.append(1e3 * (time.perf_counter() - start) / len(counts))
    return statistics.median(times[3:])


def frames(size: int) -> tuple[Logits, Logits]:
    """Counts and mask [16 size size]: rings on a background, a gap."""
    rng = np.random.default_rng(0)
    y, x = np.indices((size, size))
    radius = np.hypot(y - rng.uniform(0, size, (BATCH, 1, 1)), x - rng.uniform(0, size, (BATCH, 1, 1)))
    counts = rng.poisson(1 + 30 * np.exp(-(((radius - rng.uniform(20, 200, (BATCH, 1, 1))) / 5) ** 2))).astype(np.float32)
    mask = np.ones_like(counts)
    mask[:, 100:106] = 0
    return counts * mask, mask


def measure(model: bundle.Bundle, rounds: int) -> list[Row]:
    """Three rows a runtime: one frame at a time, 16 at a time, and the largest change of a probability against torch."""
    counts, mask = frames(model.size)
    runs: dict[str, Any] = {"torch eager": eager(model), "ONNX Runtime": onnx_runtime(model)}
    runs |= {"OpenVINO f32": open_vino(model, "f32"), "OpenVINO bf16": open_vino(model, "bf16")}
    truth, rows = model.probability(runs["torch eager"](counts, mask)), []
    for name, run in runs.items():
        change = float(np.abs(model.probability(run(counts, mask)) - truth).max())
        rows.append(Row(f"{name}, one frame", milliseconds(run, counts[:1], mask[:1], rounds), "ms", better="lower"))
        rows.append(Row(f"{name}, {BATCH} frames", milliseconds(run, counts, mask, rounds), "ms a frame", better="lower"))
        rows.append(Row(f"{name}, largest change of a probability", change, "", better="lower"))
    return rows


def main() -> None:
    """Measures, prints and keeps the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="scattering-tags", help="a task or a model's folder")
    parser.add_argument("--quick", action="store_true", help="few rounds: tries the benchmark, its figures are not kept")
    asked = parser.parse_args()
    rows = measure(bundle.load(asked.model), 5 if asked.quick else 60)
    show(rows, "One model in several runtimes")
    if not asked.quick:
        keep(rows, ROOT / "benchmarks" / "results" / "runtimes.json")


if __name__ == "__main__":
    main()

"""How well are the tags of simulated frames told? Average precision per tag, calibration, an unknown detector family, baselines.

    python studies/tags.py [--frames 5000] [--alexnet FOLDER] [--counters FOLDER] [--quick]

The frames are test examples, whose numbers no training or validation shares. `--alexnet` and `--counters` are models made by
train_tags.py. Writes docs/studies/tags.json and the pictures beside it, and prints the tables.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beamsight.bundle import Bundle, load
from beamsight.evaluate import auc, average_precision, calibration_error, mean
from beamsight.examples import TEST
from beamsight.frame import Frame
from beamsight.task import Batch, Task, find_task, frames_of, make_batch
from pictures import sensitivity_curve, worst_frames
from rows import ROOT, Row, fill, keep, show
from train_tags import left_out_detector, taught_detector

SEED, BATCH = 1, 32
HIDDEN = "centre unknown"
OUT = ROOT / "docs" / "studies"

Floats = NDArray[np.float64]

# Numbers that a script could threshold instead: what the one-number baselines may use.
NUMBERS: dict[str, Callable[[Floats], float]] = {
    "mean": lambda v: float(v.mean()),
    "median": lambda v: float(np.median(v)),
    "99th percentile": lambda v: float(np.percentile(v, 99)),
    "maximum": lambda v: float(v.max()),
    "spread over mean": lambda v: float(v.std() / max(v.mean(), 1e-9)),
    "zeros": lambda v: float((v <= 0).mean()),
}


def answered(bundles: dict[str, Bundle], task: Task, n: int) -> tuple[dict[str, Floats], Floats, Floats, list[Batch]]:
    """{name: probability [n T]}, truth [n T], one-number features [n F], and the batches, of n test frames."""
    said: dict[str, list[Any]] = {name: [] for name in bundles}
    truth, numbers, batches = [], [], []
    for first in range(0, n, BATCH):
        batch = make_batch(task, SEED, TEST[first : min(first + BATCH, n)])
        truth.append(batch.truth.numpy())
        counts, mask = batch.counts.numpy(), batch.mask.numpy()
        numbers += [[f(c[m]) if m.any() else 0.0 for f in NUMBERS.values()] for c, m in zip(counts, mask, strict=True)]
        for name, bundle in bundles.items():
            frames = frames_of(task, SEED, batch)
            answers = bundle.predict([_centreless(f) for f in frames] if name == HIDDEN else frames)
            # A frame whose every pixel is masked is refused, rightly; its tags count as not found.
            said[name] += [list((a.probability or dict.fromkeys(task.target.names, 0.0)).values()) for a in answers]
        batches.append(replace(batch, counts=batch.counts[:0], mask=batch.mask[:0]))
    return {name: np.array(p) for name, p in said.items()}, np.concatenate(truth), np.array(numbers), batches


def _centreless(frame: Frame) -> Frame:
    """The frame as from a file that does not say where the beam is."""
    return replace(frame, geometry=replace(frame.geometry, centre_px=None))


def best_number(numbers: Floats, truth: Floats) -> Floats:
    """AP [T] of the best single number of NUMBERS, either way up, chosen for each tag on the first half and scored on the
    second."""
    half = len(truth) // 2
    signed = np.concatenate([numbers, -numbers], 1)
    scores = np.stack([average_precision(np.repeat(c[:half, None], truth.shape[1], 1), truth[:half]) for c in signed.T])
    chosen = np.nan_to_num(scores).argmax(0)
    return average_precision(signed[half:][:, chosen], truth[half:])


def family_loss(bundle: Bundle, task: Task, n: int) -> float:
    """Points of mean AP that a model loses from n scenes seen by counters to the same seen by CCDs and neutron detectors."""
    pair = []
    for detector in (taught_detector, left_out_detector):
        said, truth, _, _ = answered({"": bundle}, replace(task, detector=detector), n)
        pair.append(mean(average_precision(said[""], truth)))
    return 100 * (pair[0] - pair[1])


def table(names: tuple[str, ...], truth: Floats, said: dict[str, Floats], number: Floats) -> str:
    """AP and AUC of each tag as a Markdown table."""
    ours = said["ours"]
    columns: dict[str, Floats] = {
        "AP": average_precision(ours, truth),
        "AUC": auc(ours, truth),
        "calibration error": calibration_error(ours, truth),
    }
    columns |= {f"AP, {name}": average_precision(p, truth) for name, p in said.items() if name != "ours"}
    columns["AP, best single number"] = number
    lines = ["| tag | present | absent | " + " | ".join(columns) + " |", "|---" * (3 + len(columns)) + "|"]
    for t, name in enumerate(names):
        counts = f"{(truth[:, t] == 1).sum()} | {(truth[:, t] == 0).sum()}"
        lines.append(f"| {name} | {counts} | " + " | ".join(f"{c[t]:.3f}" for c in columns.values()) + " |")
    return "\n".join([*lines, "| mean | | | " + " | ".join(f"{mean(c):.3f}" for c in columns.values()) + " |"])


def rows(truth: Floats, said: dict[str, Floats], number: Floats, left_out: float | None, taught: float | None) -> list[Row]:
    """The figures that were asked for."""
    ap = average_precision(said["ours"], truth)
    peer = mean(average_precision(said["AlexNet"], truth)) if "AlexNet" in said else None
    return [
        Row(
            "mean AP over visible and absent",
            mean(ap),
            "",
            0.97,
            "higher",
            "0.944-0.957 (its own set); 0.5-0.6",
            "AlexNet, same frames",
            peer,
        ),
        Row("mean AP where the file does not give the beam's centre", mean(average_precision(said[HIDDEN], truth)), ""),
        Row("lowest AP of a tag", float(np.nanmin(ap)), "", 0.90, "higher"),
        Row("mean AP of the best single number", mean(number), ""),
        Row("expected calibration error over tags", mean(calibration_error(said["ours"], truth)), "", 0.03, "lower"),
        Row("mean AP lost on detector kinds left out of training", left_out, "points", 2.0, "lower", "never tried"),
        Row("the same by the shipped model, which was taught them: what is harder to see", taught, "points", better="lower"),
    ]


def main() -> None:
    """Print the tables and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=5000)
    parser.add_argument("--bundle", default="scattering-tags")
    parser.add_argument("--alexnet", type=Path)
    parser.add_argument("--counters", type=Path)
    parser.add_argument("--quick", action="store_true", help="256 frames, nothing kept")
    options = parser.parse_args()
    n = 256 if options.quick else options.frames
    task = find_task("scattering-tags")
    bundles = {name: load(options.bundle) for name in ("ours", HIDDEN)} | (
        {"AlexNet": load(str(options.alexnet))} if options.alexnet else {}
    )
    said, truth, numbers, batches = answered(bundles, task, n)
    number = best_number(numbers, truth)
    left_out = family_loss(load(str(options.counters)), task, n // 2) if options.counters else None
    taught = family_loss(bundles["ours"], task, n // 2) if options.counters else None
    told = table(task.target.names, truth, said, number)
    print(told)
    figures = rows(truth, said, number, left_out, taught)
    show(figures, f"{n} unseen simulated frames, seed {SEED}")
    if not options.quick:
        keep(figures, OUT / "tags.json")
        fill(OUT / "tags.md", "tags", told)
        limits = bundles["ours"].card["threshold"]
        sensitivity_curve(task, SEED, batches, said["ours"], limits, OUT / "tags_sensitivity.webp")
        worst_frames(task, SEED, said["ours"], truth, OUT / "tags_worst.webp")


if __name__ == "__main__":
    main()

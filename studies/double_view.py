"""Does a second view help? Image, Fourier-Bessel coefficients and both, as the study of Lashley et al. asks.

    python studies/double_view.py --runs FOLDER [--frames 5000 20000 50000] [--seeds 3] [--steps 3000] [--side 128] [--quick]

Every view learns from the same stored frames of drawn detectors, for the same number of steps: from all of them with each seed,
from fewer with the first. Tested on scenes that nobody learnt from, on six kinds of frames. Frames and trainings are kept in
FOLDER, and the same command goes on where it was stopped. Writes docs/studies/double_view.json and the tables of double_view.md.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import default_rng
from numpy.typing import NDArray

from beamsight.archive import Archive, read_archive
from beamsight.detector import Detector
from beamsight.disturb import centre_off_px
from beamsight.evaluate import average_precision, mean
from beamsight.examples import simulate
from beamsight.frame import Frame
from beamsight.recipe import Recipe
from beamsight.simulating import simulate_archive
from beamsight.task import Task, find_task
from beamsight.train import train
from noise import probabilities
from noise_frames import perfect
from rows import Row, machine, publish, show

TASK = "scattering-tags"
BATCH, WORKERS = 32, 2
SEED, TEST_SEED, OFF_STREAM = 3, 4, 21
# What each view reached in the paper, of its own tags.
PAPER = {"image": "0.5-0.6", "coefficients": "0.1 above the image", "joint": "slightly better than both"}
REACHED = 0.9

Floats = NDArray[np.floating[Any]]
Change = Callable[[Detector], Detector]


def faint(detector: Detector) -> Detector:
    """A tenth of the light, and the noise of the drawn detector."""
    return replace(detector, exposure=detector.exposure / 10)


def without_gaps(detector: Detector) -> Detector:
    """One module."""
    return replace(detector, module_y=0.0, module_x=0.0)


def with_gaps(detector: Detector) -> Detector:
    """Four modules a side, with gaps of 3 % of the side."""
    return replace(detector, module_y=0.25, module_x=0.25, gap=0.03, gap_masked=1)


# The kinds of test frames: what is changed of each drawn detector, and by how many px of a 256 px frame the told centre is off.
KINDS: dict[str, tuple[Change | None, float]] = {
    "clean": (perfect, 0.0),
    "as drawn": (None, 0.0),
    "a tenth of the light": (faint, 0.0),
    "centre 5 px off": (None, 5.0),
    "no gaps": (without_gaps, 0.0),
    "gaps everywhere": (with_gaps, 0.0),
}


@dataclass(frozen=True)
class First(Sequence[Frame]):
    """The first `n` frames of an archive."""

    frames: Archive
    n: int

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, number: Any) -> Any:
        return self.frames[range(self.n)[number]]


@dataclass(frozen=True)
class Plan:
    """One training."""

    view: str
    frames: int
    seed: int

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.view}-{self.frames}-{self.seed}"


def plans(views: Sequence[str], sizes: Sequence[int], seeds: int) -> list[Plan]:
    """Every view from all frames with each seed, and from fewer with the first; the views side by side."""
    most = max(sizes)
    many = [Plan(view, most, seed) for seed in range(seeds) for view in views]
    return many + [Plan(view, n, 0) for n in sorted(set(sizes) - {most}, reverse=True) for view in views]


def recipe_of(task: Task, plan: Plan, steps: int, side: int) -> Recipe:
    """The task's recipe with that view and seed; judged at its end, as few frames are learnt by heart before it."""
    return replace(
        task.recipe, view=plan.view, seed=plan.seed, steps=steps, size=side, batch=BATCH, learning_rate=2e-3, warmup=200,
        validate_every=max(1, steps // 6), validation=500, patience=0, max_hours=0.0,
    )  # fmt: skip


def tested(task: Task, kind: str, n: int, side: int) -> Iterator[Frame]:
    """`n` test frames of a kind, with what can be seen on them."""
    change, off_px = KINDS[kind]
    for number, frame in enumerate(simulate(task, n, TEST_SEED, (side, side), change)):
        yield centre_off_px(frame, off_px, default_rng([TEST_SEED, number, OFF_STREAM]))


def scored(runs: dict[Plan, Path], task: Task, n: int, side: int) -> dict[str, dict[Plan, Floats]]:
    """{kind: {plan: AP of each tag}}."""
    found = {}
    for kind in KINDS:
        frames = list(tested(task, kind, n, side))
        truth = np.stack([task.target.encode(frame.truth) for frame in frames])
        found[kind] = {plan: average_precision(probabilities(run, task, frames), truth) for plan, run in runs.items()}
        print(f"tested: {kind}", flush=True)
    return found


def over_seeds(scores: dict[Plan, Floats], view: str, frames: int) -> tuple[float, float]:
    """Mean AP of a view, and its standard error over seeds; NaN where there is one seed."""
    each = [mean(ap) for plan, ap in scores.items() if (plan.view, plan.frames) == (view, frames)]
    return float(np.mean(each)), float(np.std(each, ddof=1) / np.sqrt(len(each))) if len(each) > 1 else float("nan")


def reached(scores: dict[Plan, Floats], view: str, sizes: Sequence[int]) -> float | None:
    """How many frames give a mean AP of REACHED, between two sizes by the logarithm; None where none does."""
    points = [(np.log(n), over_seeds(scores, view, n)[0]) for n in sorted(sizes)]
    for (x0, y0), (x1, y1) in pairwise(points):
        if y0 < REACHED <= y1:
            return float(np.exp(x0 + (x1 - x0) * (REACHED - y0) / (y1 - y0)))
    return float(np.exp(points[0][0])) if points[0][1] >= REACHED else None


def rows(found: dict[str, dict[Plan, Floats]], views: Sequence[str], sizes: Sequence[int]) -> list[Row]:
    """What was asked for."""
    clean, most, figures = found["clean"], max(sizes), []
    for view in views:
        value, error = over_seeds(clean, view, most)
        bound = 0.975 if view == "joint" else None
        figures.append(Row(f"{view}: mean AP, clean frames", value, "", bound, paper=PAPER.get(view)))
        figures.append(Row(f"{view}: standard error over seeds", None if np.isnan(error) else error, "", better="lower"))
        figures.append(Row(f"{view}: frames to reach a mean AP of {REACHED:g}", reached(clean, view, sizes), "", better="lower"))
    (joint, joint_error), alone = (
        over_seeds(clean, "joint", most),
        [over_seeds(clean, v, most) for v in ("image", "coefficients")],
    )
    best, best_error = max(alone)
    error = float(np.hypot(joint_error, best_error))
    figures.append(Row("joint above the better of the two, in standard errors", (joint - best) / error, "", 1.0))
    return figures


def kind_table(found: dict[str, dict[Plan, Floats]], views: Sequence[str], most: int) -> str:
    """Mean AP and its standard error: kinds of frames down, views across."""
    lines = ["| frames | " + " | ".join(views) + " |", "|---" * (1 + len(views)) + "|"]
    for kind, scores in found.items():
        cells = ["{:.3f} ± {:.3f}".format(*over_seeds(scores, view, most)) for view in views]
        lines.append(f"| {kind} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def size_table(scores: dict[Plan, Floats], views: Sequence[str], sizes: Sequence[int]) -> str:
    """Mean AP on clean frames: numbers of training frames down, views across."""
    lines = ["| learnt from | " + " | ".join(views) + " |", "|---" * (1 + len(views)) + "|"]
    for n in sorted(sizes):
        lines.append(f"| {n:,} | " + " | ".join(f"{over_seeds(scores, view, n)[0]:.3f}" for view in views) + " |")
    return "\n".join(lines)


def tag_table(names: Sequence[str], found: dict[str, dict[Plan, Floats]], views: Sequence[str], most: int) -> str:
    """AP of each tag on clean frames / as drawn, mean over seeds."""

    def of(kind: str, view: str) -> Floats:
        return np.mean([ap for plan, ap in found[kind].items() if (plan.view, plan.frames) == (view, most)], 0)

    columns = [(of("clean", view), of("as drawn", view)) for view in views]
    lines = ["| tag | " + " | ".join(views) + " |", "|---" * (1 + len(views)) + "|"]
    for t, name in enumerate(names):
        lines.append(f"| {name} | " + " | ".join(f"{clean[t]:.2f} / {drawn[t]:.2f}" for clean, drawn in columns) + " |")
    return "\n".join(lines)


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="folder of the frames and the trainings")
    parser.add_argument("--views", nargs="+", default=["image", "coefficients", "joint"])
    parser.add_argument("--frames", type=int, nargs="+", default=[5000, 20_000, 50_000])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=3000, help=f"of {BATCH} frames")
    parser.add_argument("--side", type=int, default=128, help="px")
    parser.add_argument("--test", type=int, default=2000, help="frames of each kind")
    parser.add_argument("--quick", action="store_true", help="64 px, six steps; nothing kept in docs")
    options = parser.parse_args()
    if options.quick:
        options.frames, options.seeds, options.steps, options.side, options.test = [64, 128], 2, 6, 64, 64
    return options


def main() -> None:
    """Store, train, test, and keep the figures."""
    options, task = parsed(), find_task(TASK)
    most, side = max(options.frames), options.side
    folder = options.runs / f"frames-{most}-{side}"
    if not folder.exists():
        simulate_archive(task, folder, most, SEED, (side, side), training=True, workers=WORKERS)
    frames, runs = read_archive(folder, scenes=False), {}
    for plan in plans(options.views, options.frames, options.seeds):
        print(f"training {plan.name}", flush=True)
        recipe = recipe_of(task, plan, options.steps, side)
        runs[plan] = train(task, options.runs / f"{plan.name}-{options.steps}-{side}", recipe, First(frames, plan.frames))
    found = scored(runs, task, options.test, side)
    tables = (
        kind_table(found, options.views, most),
        size_table(found["clean"], options.views, options.frames),
        tag_table(task.target.names, found, options.views, most),
    )
    print(*tables, sep="\n\n")
    figures = rows(found, options.views, options.frames)
    learnt = f"{most:,} stored frames of {side}², {options.steps:,} steps of {BATCH}, {options.seeds} seeds"
    sizes = f"{learnt}, {options.test:,} test frames of each kind."
    show(figures, sizes)
    if not options.quick:
        marks = ("sizes", "kinds", "numbers", "tags")
        publish(figures, "double_view", dict(zip(marks, (f"{sizes} On {machine()}.", *tables), strict=True)))


if __name__ == "__main__":
    main()

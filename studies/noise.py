"""Does training on noise make a tagger stand noise? The study of Meister et al. (2017) again, with AlexNet and with our network.

    python studies/noise.py --runs FOLDER [--train 10000] [--test 2000] [--steps 1500] [--networks alexnet joint] [--quick]

Trains each network on clean frames, on clean and noisy ones (a third each of blur, counting noise, salt and pepper), and on clean
ones and such with all three noises at once; tests on ten sets. `--kinds` trains on one kind of noise too. Frames and trainings
are kept in FOLDER, and the same command goes on where it was stopped; `--part store` or `train` ends after that part. Writes
docs/studies/noise.json and the tables of noise.md.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from beamsight.bundle import Bundle, load
from beamsight.evaluate import average_precision, mean
from beamsight.examples import TEST, TRAINING, Examples, stored
from beamsight.export import load_run
from beamsight.frame import Frame
from beamsight.networks import Whole
from beamsight.recipe import Recipe
from beamsight.robustness import answered, scored
from beamsight.sweeps import sweeps_of
from beamsight.task import Task, find_task
from beamsight.train import train
from beamsight.views import build_view
from noise_frames import CLEAN, SEEN, STRENGTHS, TASK, TEST_SETS, Clean, NoisySet, TrainingSet, store
from rows import Row, machine, publish, show

BATCH = 32
ALL = tuple(STRENGTHS)
# What each training adds to the clean frames: kinds of noise, and whether all lie on one frame.
TRAININGS: dict[str, tuple[tuple[str, ...], bool]] = {"clean": ((), False), "mixed": (ALL, False), "combined": (ALL, True)}
SINGLE: dict[str, tuple[tuple[str, ...], bool]] = {kind: ((kind,), False) for kind in ALL}
# AlexNet without batch norm diverges at the pace of ours.
RATES = {"alexnet": 3e-4, "joint": 2e-3}
GAINS = {"blur": "15-18 %", "counting": "8 %", "salt and pepper": "10 %"}
ASKED = {1: 2.0, 2: 5.0}  # points lost at the middle and at the strongest of a kind
POSITION = {0: "weakest", 1: "middle", 2: "strongest"}

Floats = NDArray[np.floating[Any]]
# {model: {test set: probability [N T]}}
Told = dict[str, dict[tuple[str, float], Floats]]
# The labels that the paper names, of its ten; ours of how bright a frame is say nothing once its counts are divided.
PAPER_TAGS = (
    "ring", "halo", "higher orders", "diffuse low-q", "diffuse high-q", "isotropic ring", "2-fold", "4-fold", "6-fold"
)  # fmt: skip


def recipe_of(task: Task, network: str, steps: int, size: int) -> Recipe:
    """The task's recipe for that network, of so many steps on frames of that side."""
    view = task.recipe.view if network == "joint" else "image"
    return replace(
        task.recipe, network=network, view=view, learning_rate=RATES[network], steps=steps, batch=BATCH, size=size, warmup=200,
        validate_every=max(1, steps // 4), validation=1000, patience=0, max_hours=0.0,
    )  # fmt: skip


def trained(task: Task, frames: Clean, n: int, recipe: Recipe, name: str, runs: Path) -> Path:
    """The run of one training, done or gone on with."""
    kinds, combined = (TRAININGS | SINGLE)[name]
    folder = runs / f"{recipe.network}-{name.replace(' ', '-')}-{n}-{recipe.steps}-{recipe.size}"
    print(f"training {folder.name}", flush=True)
    return train(task, folder, recipe, frames=TrainingSet(frames, n, kinds, combined))


def probabilities(run: Path, task: Task, frames: Sequence[Frame]) -> Floats:
    """[N T] of the frames, by the best network of a run."""
    _, recipe, network = load_run(run, task)
    whole, rows = Whole(build_view(recipe.view), network).eval(), []
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=recipe.precision == "bf16"):
        for first in range(0, len(frames), BATCH):
            batch: Examples = stored(frames, task.target, recipe.size, range(first, min(first + BATCH, len(frames))))
            rows.append(whole(batch.counts, batch.mask.float(), batch.centre)[0].float().numpy())
    return task.target.probability(np.concatenate(rows))


def bundle_probabilities(bundle: Bundle, frames: Sequence[Frame]) -> Floats:
    """The same by a model folder; a refused frame's tags count as not found."""
    names = bundle.target.names
    answers = bundle.predict(frames[n] for n in range(len(frames)))
    return np.array([list((a.probability or dict.fromkeys(names, 0.0)).values()) for a in answers])


def top_precision(probability: Floats, truth: Floats) -> float:
    """The paper's precision: how often the most probable tag is one of the true ones; doubtful ones left out."""
    top = truth[np.arange(len(truth)), probability.argmax(1)]
    return float(np.nanmean(top))


def score(told: dict[tuple[str, float], Floats], truth: Floats) -> dict[tuple[str, float], float]:
    """{test set: mean AP} against the labels of the clean frames."""
    return {s: mean(average_precision(p, truth)) for s, p in told.items()}


def of_kind(scores: dict[tuple[str, float], float], kind: str) -> float:
    """The mean over the three strengths of a kind."""
    return float(np.mean([scores[kind, strength] for strength in STRENGTHS[kind]]))


def rows(told: Told, truth: Floats, seen: dict[tuple[str, float], Floats]) -> list[Row]:
    """The figures that were asked for; `seen` is what can still be seen at each strength of SEEN."""
    ap = {model: score(sets, truth) for model, sets in told.items()}
    top = {model: {s: top_precision(p, truth) for s, p in sets.items()} for model, sets in told.items()}
    figures = [Row(f"worst of ten test sets, mean AP: {m}", min(v.values()), "") for m, v in ap.items()]
    for kind, paper in GAINS.items() if {"alexnet clean", "alexnet mixed"} <= set(ap) else ():
        for how, scores in (("precision of the most probable tag", top), ("mean AP", ap)):
            gain = 100 * (of_kind(scores["alexnet mixed"], kind) - of_kind(scores["alexnet clean"], kind))
            figures.append(Row(f"gain of AlexNet by training on noise, {kind}: {how}", gain, "points", paper=paper))
    if {"alexnet clean", "alexnet combined"} <= set(ap):
        gain = 100 * np.mean([of_kind(top["alexnet combined"], k) - of_kind(top["alexnet clean"], k) for k in ALL])
        figures.append(
            Row("the same by all three noises on one frame, mean over kinds", float(gain), "points", paper="little to none")
        )
    for model in ("joint mixed", "shipped"):
        figures += losses(model, told[model], truth, seen) if model in told else []
    return figures


def losses(model: str, told: dict[tuple[str, float], Floats], truth: Floats, seen: dict[tuple[str, float], Floats]) -> list[Row]:
    """Points that a model loses against clean: by the labels of the clean frames, and by what can still be seen."""
    scores, figures = score(told, truth), []
    for kind, strengths in STRENGTHS.items():
        for position, bound in ASKED.items():
            at = (kind, strengths[position])
            asked = bound if model.startswith("joint") else None
            name = f"{model}: lost at the {POSITION[position]} {kind} ({at[1]:g})"
            figures.append(Row(name, 100 * (scores[CLEAN] - scores[at]), "points", asked, "lower"))
            if at in seen:
                still = lost_of_seen(told, truth, seen[at], at)
                figures.append(Row(f"{name}, of what can still be seen", still, "points", better="lower"))
    return figures


def lost_of_seen(told: dict[tuple[str, float], Floats], truth: Floats, seen: Floats, at: tuple[str, float]) -> float:
    """Points of mean AP lost over the tags that have a score both on clean frames and by what can be seen `at` a strength."""
    before, after = average_precision(told[CLEAN], truth), average_precision(told[at], seen)
    return 100 * mean(before - after)


def shipped_rows(bundle: Bundle, task: Task, n: int) -> list[Row]:
    """What the shipped model loses by turns and by a wrong centre, on frames of detectors drawn as in training."""
    sweeps = sweeps_of(task, {s.name: s.values for s in sweeps_of(task) if s.name in ("turn_deg", "centre_off_px")})
    turn, centre = scored(answered(bundle, task, sweeps, n), task.target.names, sweeps)["sweeps"]
    worst = max(turn["points"], key=lambda p: p["loss"])
    corners = 100 * (turn["points"][0]["control"] - worst["control"])
    name = f"shipped: lost by a turn of {worst['value']:g} degrees, the worst, against the same pixels lost and not turned"
    return [
        Row(name, worst["loss"], "points", 1.0, "lower"),
        Row("shipped: lost with these pixels, which leave the frame, alone", corners, "points", better="lower"),
        Row("shipped: lost by a centre that is 10 px off", centre["points"][-1]["loss"], "points", 1.0, "lower"),
    ]


def table(told: Told, truth: Floats) -> str:
    """Mean AP and, behind it, precision of the most probable tag: test sets down, models across."""
    lines = ["| test set | " + " | ".join(told) + " |", "|---" * (1 + len(told)) + "|"]
    for kind, strength in TEST_SETS:
        cells = []
        for sets in told.values():
            p = sets[kind, strength]
            cells.append(f"{mean(average_precision(p, truth)):.3f} / {top_precision(p, truth):.3f}")
        lines.append(f"| {kind}{f' {strength:g}' if strength else ''} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def tag_table(names: Sequence[str], told: Told, truth: Floats) -> str:
    """AP of each tag: a column a kind of noise, the mean over its strengths; in a cell the models in their order."""
    models = [m for m in ("alexnet clean", "alexnet mixed", "joint clean", "joint mixed", "shipped") if m in told]
    ap = {m: {s: average_precision(told[m][s], truth) for s in TEST_SETS} for m in models}
    means = {m: {k: np.mean([v for s, v in ap[m].items() if s[0] == k], 0) for k in ("clean", *ALL)} for m in models}
    lines = [f"In each cell: {', '.join(models)}.", "", "| tag | present | clean | " + " | ".join(ALL) + " |", "|---" * 6 + "|"]
    for t, name in enumerate(names):
        cells = [" · ".join(f"{means[m][kind][t]:.2f}" for m in models) for kind in ("clean", *ALL)]
        if not np.isnan(means[models[0]]["clean"][t]):
            lines.append(f"| {name} | {int((truth[:, t] == 1).sum())} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="folder of the frames and the trainings")
    parser.add_argument("--train", type=int, default=10_000, help="clean frames, and as many noisy ones; the paper has 50,000")
    parser.add_argument("--test", type=int, default=2000, help="frames a test set; the paper has 5,000")
    parser.add_argument("--steps", type=int, default=1500, help=f"of each training, of {BATCH} frames")
    parser.add_argument("--networks", nargs="+", choices=list(RATES), default=list(RATES))
    parser.add_argument("--kinds", action="store_true", help="AlexNet on each kind of noise alone too")
    parser.add_argument("--bundle", default=TASK, help="the model that is set beside, by name or folder")
    parser.add_argument("--part", choices=["store", "train", "all"], default="all")
    parser.add_argument("--jobs", type=int, default=2, help="processes that make clean frames")
    parser.add_argument("--quick", action="store_true", help="64 px, ten steps, 96 frames; nothing kept in docs")
    options = parser.parse_args()
    if options.quick:
        options.train, options.test, options.steps = 96, 96, 10
    return options


def trained_runs(options: argparse.Namespace, task: Task, learnt: Clean) -> dict[str, Path]:
    """{network and training: its run}, each trained if it is not yet."""
    single = [("alexnet", name) for name in SINGLE] if options.kinds and "alexnet" in options.networks else []
    wanted = [(network, name) for network in options.networks for name in TRAININGS] + single
    recipes = {network: recipe_of(task, network, options.steps, learnt.size) for network in options.networks}
    return {
        f"{network} {name}": trained(task, learnt, options.train, recipes[network], name, options.runs)
        for network, name in wanted
    }


def told_by(runs: dict[str, Path], bundle: Bundle, task: Task, tested: Clean, n: int) -> Told:
    """What each run and the shipped model say of the ten test sets of `n` frames."""
    sets = {s: NoisySet(tested, n, *s) for s in TEST_SETS}
    told = {model: {s: probabilities(run, task, frames) for s, frames in sets.items()} for model, run in runs.items()}
    return told | {"shipped": {s: bundle_probabilities(bundle, frames) for s, frames in sets.items()}}


def main() -> None:
    """Store, train, test, and keep the figures."""
    options, task = parsed(), find_task(TASK)
    n, n_test, size = options.train, options.test, 64 if options.quick else task.recipe.size
    learnt = store(options.runs / f"train-{n}-{size}", TRAINING[: 2 * n], size, jobs=options.jobs)
    tested = store(options.runs / f"test-{n_test}-{size}", TEST[:n_test], size, every_truth=True, jobs=options.jobs)
    if options.part == "store":
        return
    runs, bundle = trained_runs(options, task, learnt), load(options.bundle)
    if options.part == "train":
        return
    told, truth = told_by(runs, bundle, task, tested, n_test), tested.truth(CLEAN, n_test)
    chosen = [task.target.names.index(name) for name in PAPER_TAGS]
    papers: Told = {m: {s: p[:, chosen] for s, p in sets.items()} for m, sets in told.items()}
    tables = table(papers, truth[:, chosen]), table(told, truth), tag_table(PAPER_TAGS, papers, truth[:, chosen])
    print(*tables, sep="\n\n")
    figures = rows(papers, truth[:, chosen], {s: tested.truth(s, n_test)[:, chosen] for s in SEEN})
    figures += shipped_rows(bundle, task, 16 if options.quick else min(n_test, 1000))
    sizes = f"{n:,} clean and {n:,} noisy frames, {options.steps:,} steps of {BATCH} a training, ten test sets of {n_test:,}."
    show(figures, sizes)
    if not options.quick:
        marks = ("sizes", "sets", "all tags", "tags")
        publish(figures, "noise", dict(zip(marks, (f"{sizes} On {machine()}.", *tables), strict=True)))


if __name__ == "__main__":
    main()

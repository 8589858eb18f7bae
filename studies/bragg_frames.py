"""Which tiles of 64 x 64 px hold Bragg spots, and does the image show a pattern? Case II of Ushizima et al. (2016) again.

    python studies/bragg_frames.py --runs FOLDER [--model bragg-frames] [--test 500] [--validation 200] [--each 100]
                                   [--steps 15000] [--quick]

Simulated images of whole detectors, of large ones a window; none of them was used for training or calibration. Our model stands
beside the network of the paper (Table IV), trained here on the tiles of `--each` images with a pattern and as many without.
Tiles, training and what both say of each image are kept in FOLDER, and the same command goes on where it was stopped. Writes
docs/studies/bragg_frames.json, the tables of bragg_frames.md and a picture of the worst images.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from beamsight.bundle import MODEL, Bundle, load
from beamsight.examples import TEST, TRAINING, VALIDATION
from beamsight.export import load_run
from beamsight.frame import Frame, Geometry
from beamsight.recipe import Recipe
from beamsight.task import Task, find_task
from beamsight.train import train
from bragg_images import (
    ENOUGH,
    KINDS,
    SEED,
    Image,
    Tiles,
    image_of,
    judged,
    probability_of_tiles,
    read_judged,
    store_tiles,
)
from bragg_scores import Told, chosen_rule, images_right, only, tile_scores, worst
from pictures import wrong_tiles
from rows import ROOT, Row, machine, publish, show

TASK, OURS, THEIRS = "bragg-frames", "ours", "Table IV"
SHOWN = 6
WINDOW_QUICK = 512


def rows(told: dict[str, Told], rules: dict[str, int]) -> list[Row]:
    """The figures that were asked for: ours with the paper's network beside it."""
    scores = {name: tile_scores(t) for name, t in told.items()}
    by_three, by_chosen = (
        {name: images_right(t.counts, t.patterns, n or rules[name]) for name, t in told.items()} for n in (ENOUGH, 0)
    )
    ours, theirs = scores[OURS], scores[THEIRS]

    def beside(title: str, values: dict[str, float], **more: Any) -> Row:
        return Row(title, values[OURS], "", peer=THEIRS, peer_value=values[THEIRS], **more)

    def tile_row(title: str, name: str, **more: Any) -> Row:
        return beside(title, {OURS: ours[name], THEIRS: theirs[name]}, **more)

    chosen = {name: float(n) for name, n in rules.items()}
    return [
        tile_row("tiles right", "accuracy", asked=0.99, paper="0.963"),
        Row("tiles right, were all called empty", 1 - ours["share"], ""),
        tile_row("tiles that are claimed and hold spots, of those claimed (precision)", "precision"),
        tile_row("the same, of those that hold spots (recall)", "recall"),
        tile_row("tiles, average precision", "ap"),
        beside(f"images right by the rule of {ENOUGH} tiles", by_three, asked=1.0, paper="1.00"),
        beside("images right by the rule that validation images chose", by_chosen, asked=1.0),
        beside("tiles that this rule asks for", chosen),
        *sided(told, rules, 1.0, "images with a pattern, found by it"),
        *sided(told, rules, 0.0, "images without a pattern, left alone by it"),
        *own_answers(told[OURS]),
    ]


def sided(told: dict[str, Told], rules: dict[str, int], side: float, title: str) -> list[Row]:
    """Of the images whose truth is `side` the share that the chosen rule has right."""
    right = {
        name: float(((t.counts >= rules[name]) == side)[t.patterns == side].mean())
        for name, t in told.items()
        if (t.patterns == side).any()
    }
    return [Row(title, right[OURS], "", peer=THEIRS, peer_value=right[THEIRS])] if right else []


def own_answers(told: Told) -> list[Row]:
    """What the model itself says of the images, whatever its tiles."""
    known = ~np.isnan(told.patterns)
    named = {"no pattern": 0.0, "Bragg spots": 1.0}
    said = np.array([named.get(answer, np.nan) for answer in told.answers])
    sure = known & ~np.isnan(said)
    right = float((said == told.patterns)[sure].mean()) if sure.any() else None
    return [
        Row("images right by the model's own answer, where it is sure", right, ""),
        Row("images that it is unsure of", float(np.isnan(said)[known].mean()), "", better="lower"),
    ]


def detector_table(told: dict[str, Told], rules: dict[str, int]) -> str:
    """Images and what is right of them and of their tiles: detectors down, ours / the paper's network."""
    lines = ["| detector | images | tiles right | images right by the chosen rule |", "|---|---|---|---|"]
    for detector in sorted(set(told[OURS].detectors)):
        here = {name: only(t, detector) for name, t in told.items()}
        tiles = " / ".join(f"{tile_scores(t)['accuracy']:.4f}" for t in here.values())
        known = int((~np.isnan(here[OURS].patterns)).sum())
        right = [f"{images_right(t.counts, t.patterns, rules[name]):.3f}" if known else "-" for name, t in here.items()]
        lines.append(f"| {detector} | {len(here[OURS].truth)} | {tiles} | {' / '.join(right)} |")
    return "\n".join(lines)


def answer_of(bundle: Bundle, found: Image) -> dict[str, Any]:
    """The probability of each tile and the answer of the image. A model with a threshold of 0 tells all tiles."""
    counts = Frame(found.counts, found.mask, Geometry(found.counts.shape), "image")
    answer = next(bundle.predict(counts))
    said = np.zeros(found.tiles.shape, np.float32)
    for row, column, probability in answer.places or ():
        said[row, column] = probability
    return {"said": said, "answer": str(answer.answer)}


def telling_all(bundle: Bundle) -> Bundle:
    """The model that tells each tile with its probability, however low."""
    return replace(bundle, card=bundle.card | {"places": bundle.card["places"] | {"threshold": 0.0}})


def trained(task: Task, tiles: Tiles, folder: Path, steps: int) -> Any:
    """The paper's network, trained on those tiles, done or gone on with."""
    recipe = Recipe(
        view="counts", network="tilenet", size=64, steps=steps, batch=100, learning_rate=1e-3, weight_decay=5e-4,
        warmup=min(100, steps), validate_every=max(1, steps // 6), validation=5000, patience=0,
    )  # fmt: skip
    alone = replace(task, name="bragg-tiles", target=KINDS, locate=None, run=None, recipe=recipe)
    return load_run(train(alone, folder, recipe, frames=tiles), alone)[2]


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="folder of the tiles, the training and the answers")
    parser.add_argument("--model", default=TASK, help="a task or a model's folder")
    parser.add_argument("--test", type=int, default=500, help="images")
    parser.add_argument("--validation", type=int, default=200, help="images that choose a rule")
    parser.add_argument("--each", type=int, default=100, help="images with a pattern, and without, that Table IV learns from")
    parser.add_argument("--steps", type=int, default=15_000, help="of 100 tiles")
    parser.add_argument("--quick", action="store_true", help="few windows of 512 px, ten steps; nothing kept in docs")
    options = parser.parse_args()
    options.window = WINDOW_QUICK if options.quick else None
    if options.quick:
        options.test, options.validation, options.each, options.steps = 16, 8, 4, 10
    return options


def told_of(options: argparse.Namespace, task: Task, bundle: Bundle, network: Any) -> dict[str, dict[str, Told]]:
    """{set: {model: what it says of its images}}, asked where it was not yet."""
    learnt = f"{options.each}-{options.steps}"
    names = {OURS: f"ours-{bundle.card['sha256'][MODEL][:12]}", THEIRS: f"tilenet-{learnt}"}
    limits, every = {OURS: float(bundle.card["places"]["threshold"]), THEIRS: 0.5}, telling_all(bundle)
    found = {}
    for name, indices in (("validation", VALIDATION[: options.validation]), ("test", TEST[: options.test])):
        folder = options.runs / f"{name}-{options.window or 'whole'}"
        judges = {
            folder / "truth": lambda image: {"tiles": image.tiles, "detector": image.detector},
            folder / names[OURS]: lambda image: answer_of(every, image),
            folder / names[THEIRS]: lambda image: {"said": probability_of_tiles(network, image), "answer": ""},
        }
        judged(task, indices, judges, options.window)
        print(f"answered: {name}", flush=True)
        known = read_judged(folder / "truth", indices)
        found[name] = {model: told_from(known, read_judged(folder / names[model], indices), limits[model]) for model in names}
    return found


def told_from(known: Sequence[dict[str, Any]], said: Sequence[dict[str, Any]], limit: float) -> Told:
    """From what `read_judged` gives of the truth and of a model."""
    truth, detectors = [k["tiles"] for k in known], [str(k["detector"]) for k in known]
    return Told(truth, [s["said"] for s in said], limit, [str(s["answer"]) for s in said], detectors)


def sizes(told: Told, tiles: Tiles, options: argparse.Namespace) -> str:
    """How much was learnt from and tested."""
    patterns, scores = told.patterns, tile_scores(told)
    numbers = [int((patterns == side).sum()) for side in (1, 0)]
    doubtful = int(np.isnan(patterns).sum())
    return (
        f"{len(patterns)} images: {numbers[0]} with a pattern, {numbers[1]} without, {doubtful} doubtful. "
        f"{int(scores['tiles']):,} tiles, {100 * scores['share']:.1f} % of them with spots. "
        f"Rules chosen on {options.validation} images. "
        f"Table IV learnt from {len(tiles):,} tiles of {2 * options.each} images, {options.steps:,} steps of 100."
    )


def main() -> None:
    """Store, train, ask, and keep the figures."""
    options, task = parsed(), find_task(TASK)
    bundle = load(options.model)
    kept = options.runs / f"tiles-{options.each}-{options.window or 'whole'}"
    tiles = store_tiles(task, kept, iter(TRAINING), options.each, options.window)
    network = trained(task, tiles, options.runs / f"tilenet-{kept.name}-{options.steps}", options.steps)
    found = told_of(options, task, bundle, network)
    rules = {name: chosen_rule(t.counts, t.patterns) for name, t in found["validation"].items()}
    told, table = found["test"], detector_table(found["test"], rules)
    figures, said = rows(told, rules), sizes(told[OURS], tiles, options)
    print(table)
    show(figures, said)
    path = (options.runs if options.quick else ROOT / "docs" / "studies") / "bragg_frames_worst.webp"
    shown = [
        (image_of(task, TEST[n], options.window), told[OURS].claimed[n], f"image {TEST[n]}") for n in worst(told[OURS], SHOWN)
    ]
    wrong_tiles([(i.counts, i.mask, i.tiles, claimed, f"{i.detector}, {name}") for i, claimed, name in shown], path)
    if not options.quick:
        picture = f"![Tiles that were missed and claimed]({path.name})"
        texts = {"sizes": f"{said} Seed {SEED}. On {machine()}.", "detectors": table, "worst": picture}
        publish(figures, "bragg_frames", texts)


if __name__ == "__main__":
    main()

"""Are lattices told from frames that nobody learnt from? Case III of Ushizima et al. (2016) again, and other programs' physics.

    python studies/gisaxs_lattices.py --runs FOLDER --sets FOLDER [--model gisaxs-lattice] [--each 1000] [--learn 1000]
                                      [--own 2000] [--seeds 3] [--paper-steps 3000] [--steps 1000] [--films 40 10 10]
                                      [--fresh FOLDER] [--quick]

Dataset 1, scenes of the paper's kind; dataset 2, with parameters outside the ranges of training; dataset 1 with the noise of
photons: by the network of Table VI and by HOG with a linear classifier, both trained here on other scenes of dataset 1, by the
shipped model, and by it after it went on learning from the same scenes. Then by the shipped model alone: HipGISAXS's patterns,
films that BornAgain simulates into --sets, those of another seed in --fresh, and measured images of none. What is drawn,
trained and answered is kept in --runs, and the same command goes on where it was stopped. Writes
docs/studies/gisaxs_lattices.json, pictures, and its page's tables.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from beamsight.bundle import MODEL, Bundle, load
from beamsight.examples import TEST, TRAINING
from beamsight.frame import Frame
from beamsight.task import Task, find_task
from gisaxs_frames import Dataset, simulated_none, store
from gisaxs_learners import HOG, OURS, PAPER, SHIPPED, answered, as_pictures, keep_names, kept, linear, ours, table_vi
from gisaxs_scores import (
    Said,
    answer_table,
    confidently_wrong,
    confusion_table,
    first_two,
    kind_table,
    overconfidence,
    refused,
    right,
    share,
    told,
    worst,
)
from gisaxs_sets import DATA, NONE, Asked, absent, films, hipgisaxs, make_films, measured, turned
from pictures import titled_frames
from rows import ROOT, Row, machine, publish, show

TASK = "gisaxs-lattice"
FIRST, SECOND, NOISY = "dataset 1", "dataset 2", "dataset 1 with Poisson noise"
FRESH = "fresh"  # films of another seed
TURNED = "-turned"  # the frames of a set by quarter turns
# What is asked of us, and what the paper's network and HOG reached.
BOUNDS = {FIRST: (99.0, 92.29, 92.00), SECOND: (95.0, 82.60, 79.88), NOISY: (98.0, 91.57, 79.57)}
# Test scenes of the two datasets, and the training scenes of each seed, are other examples.
APART = 2**17

Accuracies = Mapping[tuple[str, str], Sequence[float]]


@dataclass(frozen=True)
class Found:
    """Per cent right {(dataset, model): of each seed}, the shipped model once; what it said of the other sets, by their title;
    and their frames."""

    accuracy: Accuracies
    said: Mapping[str, Sequence[Said]]
    asked: Mapping[str, Sequence[Asked]]


def dataset_rows(accuracy: Accuracies) -> list[Row]:
    """The paper's Table V again: means over seeds."""
    rows = []
    for name, (bound, cnn, hog) in BOUNDS.items():
        mean = {model: float(np.mean(values)) for (of, model), values in accuracy.items() if of == name}
        published = f"CNN {cnn:.2f}, HOG {hog:.2f}"
        for model in (SHIPPED, OURS):
            rows.append(
                Row(f"{name}, {model}", mean.get(model), "%", bound, paper=published, peer=PAPER, peer_value=mean.get(PAPER))
            )
        rows.append(Row(f"{name}, {PAPER}'s network", mean.get(PAPER), "%", paper=f"{cnn:.2f}"))
        rows.append(Row(f"{name}, {HOG}", mean.get(HOG), "%", paper=f"{hog:.2f}"))
    return rows


def other_rows(said: Mapping[str, Sequence[Said]]) -> list[Row]:
    """Other programs' patterns, and images of none."""
    # Files of BCC 110 have the edges of BCC 100: either name is the lattice's.
    published, bornagain, none = (said.get(name, ()) for name in ("hipgisaxs", "bornagain", "none"))
    clear, lattices = told(bornagain), [one for one in bornagain if one.truth != NONE]
    double = [one for one in lattices if one.alike]
    return [
        Row(
            "HipGISAXS's four lattices, right among all names",
            share(one.allowed for one in published),
            "%",
            85.0,
            paper="92.29, trained on that program's images",
        ),
        Row("the same, body-centred planes told apart by the files' names", right(published), "%"),
        Row("HipGISAXS, each turned, right", share(one.allowed for one in said.get(f"hipgisaxs{TURNED}", ())), "%"),
        Row("HipGISAXS, believed and wrong", confidently_wrong(published), "%", better="lower"),
        *_probability_rows("HipGISAXS", published),
        Row("BornAgain, right", right(clear), "%", 90.0),
        Row("BornAgain, each turned, right", right(told(said.get(f"bornagain{TURNED}", ()))), "%"),
        Row("BornAgain, frames", float(len(lattices)), "", 350.0),
        Row("BornAgain, believed and wrong", confidently_wrong(lattices), "%", 2.0, "lower"),
        Row("BornAgain, lattices that show the same: one of them", share(one.allowed for one in double), "%"),
        *_probability_rows("BornAgain", lattices),
        Row("BornAgain's films of none, refused", refused(bornagain), "%", 90.0),
        *_fresh_rows(said.get(FRESH, ()), clear),
        Row("measured images of none, refused", refused(none), "%", 90.0),
        Row("our simulation's frames of none, refused", refused(said.get("simulated", ())), "%", 90.0),
    ]


def _probability_rows(title: str, said: Sequence[Said]) -> list[Row]:
    return [
        Row(f"{title}, true name among the two most probable", first_two(said), "%"),
        Row(f"{title}, probabilities promise too much by", overconfidence(said), "points", better="lower"),
    ]


def _fresh_rows(said: Sequence[Said], first: Sequence[Said]) -> list[Row]:
    """Of films of another seed, and of these and the `first` together."""
    if not said:
        return []
    title, lattices = "BornAgain's films of another seed", [one for one in said if one.truth != NONE]
    return [
        Row(f"{title}, right", right(told(lattices)), "%"),
        Row(f"{title}, frames", float(len(lattices)), ""),
        Row(f"{title}, believed and wrong", confidently_wrong(lattices), "%", better="lower"),
        Row("BornAgain's films of both seeds, right", right([*first, *told(lattices)]), "%"),
    ]


def seed_table(accuracy: Accuracies) -> str:
    """Datasets down, models across: mean over seeds and the span."""
    models = [m for m in (PAPER, HOG, OURS, SHIPPED) if any(of == m for _, of in accuracy)]
    lines = ["| | " + " | ".join(models) + " | published CNN / HOG |", "|---" * (len(models) + 2) + "|"]
    for name, (_, cnn, hog) in BOUNDS.items():
        cells = [spanned(accuracy.get((name, model), ())) for model in models]
        lines.append(f"| {name} | " + " | ".join(cells) + f" | {cnn:.2f} / {hog:.2f} |")
    return "\n".join(lines)


def spanned(values: Sequence[float]) -> str:
    """Mean, and the lowest and highest where there are several."""
    if not values:
        return "-"
    span = f" ({min(values):.1f}-{max(values):.1f})" if len(values) > 1 else ""
    return f"{np.mean(values):.2f}{span}"


def datasets(task: Task, options: argparse.Namespace) -> dict[str, list[Asked]]:
    """The three test sets."""
    from beamsight.tasks.gisaxs_lattice import draw_beyond, draw_paper

    each, folder = options.each, options.runs / "frames"
    first = store(task, draw_paper, TEST[:APART], each, folder / f"first-{each}")
    second = store(task, draw_beyond, TEST[APART : 2 * APART], each, folder / f"second-{each}")
    return {FIRST: first.asked(False, "first"), SECOND: second.asked(False, "second"), NOISY: first.asked(True, "noisy")}


def learnt_from(task: Task, options: argparse.Namespace, seed: int, each: int) -> Dataset:
    """What is learnt from with a seed, so many frames of each lattice."""
    from beamsight.tasks.gisaxs_lattice import draw_paper

    indices = TRAINING[seed * APART * 8 : (seed + 1) * APART * 8]
    return store(task, draw_paper, indices, each, options.runs / "frames" / f"learn-{each}-{seed}")


def learner(
    model: str, task: Task, options: argparse.Namespace, seed: int, name: str, bundle: Bundle
) -> Callable[[Sequence[Frame]], list[str]]:
    """What a learner, trained or gone on with from the `bundle`, calls frames."""
    folder = options.runs / name
    if model == OURS:
        # The scenes of all seeds: rendering costs more than learning, and few scenes are learnt by heart.
        scenes = [learnt_from(task, options, number, options.own) for number in range(options.seeds)]
        return ours(task, scenes, folder, seed, options.steps, bundle.folder).names
    learn = learnt_from(task, options, seed, options.learn)
    return linear(learn, seed) if model == HOG else table_vi(task, learn, folder, seed, options.paper_steps).names


def right_of(
    model: str, task: Task, tests: Mapping[str, Sequence[Asked]], options: argparse.Namespace, seed: int, bundle: Bundle
) -> list[float]:
    """Per cent right of a learner in each test; it is not trained where all that it said is kept."""
    name = {
        PAPER: f"table-vi-{options.learn}-{options.paper_steps}-{seed}",
        HOG: f"hog-{options.learn}-{seed}",
        OURS: f"ours-{bundle.card['sha256'][MODEL][:12]}-{options.seeds}x{options.own}-{options.steps}-{seed}",
    }[model]
    paths = [options.runs / "answers" / f"{name}-{test.replace(' ', '-')}-{options.each}.json" for test in tests]
    if all(path.exists() for path in paths):
        return [kept(path, asked) for path, asked in zip(paths, tests.values(), strict=True)]
    names = learner(model, task, options, seed, name, bundle)
    for path, asked in zip(paths, tests.values(), strict=True):
        keep_names(path, names([one.frame for one in asked] if model == OURS else as_pictures(asked)))
    return right_of(model, task, tests, options, seed, bundle)


def compared(
    task: Task, tests: Mapping[str, Sequence[Asked]], options: argparse.Namespace, bundle: Bundle
) -> dict[tuple[str, str], list[float]]:
    """Per cent right of every learner with every seed."""
    found: dict[tuple[str, str], list[float]] = {}
    for seed in range(options.seeds):
        for model in (HOG, PAPER, OURS):
            shares = right_of(model, task, tests, options, seed, bundle)
            print(f"{model}, seed {seed}: {shares}", flush=True)
            for test, value in zip(tests, shares, strict=True):
                found.setdefault((test, model), []).append(value)
    return found


def others(options: argparse.Namespace) -> dict[str, list[Asked]]:
    """The sets that other programs and detectors made, those that can be had."""
    found = {}
    for name, folder, frames in (("hipgisaxs", "gisaxs", hipgisaxs), ("none", "scattering", measured)):
        missing = absent(DATA / folder)
        print(f"not measured: {name}, {missing}") if missing else found.update({name: list(frames())})
    each = tuple(options.films)
    found["bornagain"] = list(films(make_films(options.sets, each), each))
    found |= {f"{name}{TURNED}": turned(found[name]) for name in ("hipgisaxs", "bornagain") if name in found}
    if options.fresh is not None:
        found[FRESH] = list(films(options.fresh))
    return found


def measured_all(options: argparse.Namespace) -> Found:
    """Every stage, those that are kept already read."""
    task, bundle = find_task(TASK), load(options.model)
    tests = datasets(task, options)
    accuracy = compared(task, tests, options, bundle)
    sets = others(options) | {"simulated": list(simulated_none(task, options.none))}
    answers = options.runs / "answers"
    for name, asked in tests.items():
        said = answered(bundle, asked, answers, f"{name.replace(' ', '-')}-{options.each}")
        accuracy[name, SHIPPED] = [right(said) or 0.0]
    drawn = "-".join(map(str, options.films))
    said_of_sets = {
        name: answered(bundle, asked, answers, f"{name}-{drawn if name.startswith('bornagain') else len(asked)}")
        for name, asked in sets.items()
    }
    return Found(accuracy, said_of_sets, sets)


def worst_picture(asked: Sequence[Asked], said: Sequence[Said], path: Path, shown: int = 10) -> str:
    """A picture of the frames that gave their true name the least probability; gives the page's link."""
    chosen = worst(said, shown)
    if not chosen:
        return "There are none."
    titles = [f"{said[n].title}\n{said[n].truth}, called {said[n].answer}\n{said[n].best} {said[n].believed:.2f}" for n in chosen]
    titled_frames([(asked[n].frame, title) for n, title in zip(chosen, titles, strict=True)], path, across=5)
    return f"![the frames that were answered worst]({path.name})\n\n" + answer_table([said[n] for n in chosen])


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="folder of what is drawn, trained and answered")
    parser.add_argument("--sets", type=Path, required=True, help="folder of BornAgain's films")
    parser.add_argument("--model", default=TASK, help="a task or a model's folder")
    parser.add_argument("--each", type=int, default=1000, help="test frames of each lattice")
    parser.add_argument("--learn", type=int, default=1000, help="frames of each lattice that the baselines learn from")
    parser.add_argument("--own", type=int, default=2000, help="frames of each lattice and seed that ours goes on with")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--paper-steps", type=int, default=3000, help="of 100 frames")
    parser.add_argument("--steps", type=int, default=1000, help="of ours, of as many frames as its recipe says")
    parser.add_argument(
        "--films", type=int, nargs=3, default=[40, 10, 10], help="powders and crystals of each lattice; each none"
    )
    parser.add_argument("--fresh", type=Path, help="folder of films of another seed")
    parser.add_argument("--none", type=int, default=300, help="frames of none of our own simulation")
    parser.add_argument("--quick", action="store_true", help="few frames, six steps, one seed; nothing kept in docs")
    options = parser.parse_args()
    if options.quick:
        options.each, options.learn, options.own, options.seeds, options.paper_steps, options.steps = 4, 6, 6, 1, 6, 6
        options.films, options.none = [0, 1, 1], 4
    return options


def main() -> None:
    """Draw, train, ask, count, and keep the figures."""
    options = parsed()
    found = measured_all(options)
    figures, path = dataset_rows(found.accuracy) + other_rows(found.said), options.runs
    path = path if options.quick else ROOT / "docs" / "studies"
    tables = {"datasets": seed_table(found.accuracy)}
    for name, said in found.said.items():
        if name == FRESH or name.endswith(TURNED):
            continue
        tables[name] = answer_table(said) if name == "none" else confusion_table(said)
        if name in ("hipgisaxs", "bornagain"):
            tables[f"{name}-worst"] = worst_picture(found.asked[name], said, path / f"gisaxs_{name}_worst.webp")
    tables["kinds"] = kind_table(found.said["bornagain"])
    if FRESH in found.said:
        tables["fresh"] = kind_table(found.said[FRESH])
    print(*tables.values(), sep="\n\n")
    text = (
        f"{options.each:,} test frames of each lattice; baselines learnt from {options.learn:,} of each, ours from "
        f"{options.own:,} of each and seed, {options.seeds} seeds, "
        f"Table VI {options.paper_steps:,} steps of 100, ours {options.steps:,} of 64."
    )
    show(figures, text)
    if not options.quick:
        publish(figures, "gisaxs_lattices", {"sizes": f"{text} On {machine()}.", **tables})


if __name__ == "__main__":
    main()

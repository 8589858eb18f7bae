"""Are hits told from misses in runs that a model never saw? Sensitivity and specificity run by run, as Li (2018) asks.

    python studies/hits_across_runs.py --runs FOLDER [--model xfel-hits] [--frames 96] [--blanks 2000] [--steps 1000] [--quick]

Twelve simulated runs on twelve detectors: the published network and ours learn from six of them and are asked about all; the
shipped model saw none. Then detectors and beamlines that a model never saw, measured frames, frames without crystal, and runs
that go wrong. What is trained and answered is kept in FOLDER, and the same command goes on where it was stopped. Writes
docs/studies/hits_across_runs.json, hits_worst.webp, and the tables of hits_across_runs.md.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from beamsight.answer import UNSURE
from beamsight.bundle import load
from beamsight.runs import Run, indices_of
from beamsight.task import find_task, make_frame
from hits_asked import Sizes, asked, learnt, of_blanks, of_faults, of_measured, of_paper
from hits_faults import FAULTS, FOLLOWED, Watched, fault_table
from hits_runs import SEED, TASK, beamlines, blank, drawn, held_in, layouts, pixels, twelve
from hits_scores import (
    HIT,
    MISS,
    WEAK,
    Said,
    Share,
    condition_table,
    largest,
    measured_table,
    name_table,
    run_table,
    together,
    worst,
)
from pictures import titled_frames
from rows import ROOT, Row, machine, publish, show

PAPER, CROP, SIX, APART, SHIPPED = "Li (2018)", "Li (2018), by its crop", "ours, the same six", "ours, held out", "shipped"
# The worst of the runs that the paper shows.
WORST = {"sensitivity": "0.873", "specificity": "0.149", "accuracy": "0.632"}
FIGURES: dict[str, Callable[[Said], Share]] = {
    "sensitivity": Said.sensitivity, "specificity": Said.specificity, "accuracy": Said.accuracy,
}  # fmt: skip

By = Mapping[int, Said]


@dataclass(frozen=True)
class Found:
    """All that was measured: runs `known` to those who learnt from six, `new` to them, on new `layouts` and at new `beamlines`;
    what was `said` of them by each model; the `measured` frames, `blanks` with the numbers of their runs, and runs `watched`."""

    known: list[Run]
    new: list[Run]
    layouts: list[Run]
    beamlines: list[Run]
    said: dict[str, dict[int, Said]]
    measured: list[dict[str, Any]]
    blanks: tuple[list[int], Said]
    watched: list[Watched]


def of_runs(said: By, runs: Sequence[Run]) -> list[Said]:
    """What was said of those runs."""
    return [said[run.number] for run in runs]


def run_rows(found: Found) -> list[Row]:
    """The worst run: of the six that are new, by ours that learnt from the others, and of all twelve by the shipped model, which
    saw none; the paper's network on the same."""
    rows = []
    for model, runs, of in ((SIX, found.new, "six new runs"), (SHIPPED, [*found.known, *found.new], "twelve new runs")):
        ours, peer = (of_runs(found.said[name], runs) for name in (model, PAPER))
        who = f"{model}: worst of {of}"
        for name, figure in FIGURES.items():
            beside = worst(figure(s) for s in peer)
            asked_for = None if name == "accuracy" else 0.99
            value = worst(figure(s) for s in ours)
            rows.append(Row(f"{who}, {name}", value, "", asked_for, paper=WORST[name], peer=PAPER, peer_value=beside))
        unsure = largest(s.unsure for s in ours)
        rows.append(Row(f"{who}, frames unsure", percent(unsure), "%", 3.0, "lower"))
        for name, figure in (("sensitivity", Said.sensitivity), ("specificity", Said.specificity)):
            rows.append(Row(f"{who}, {name} with unsure frames decided too", worst(figure(s, False) for s in ours), ""))
        for truth in (HIT, MISS):
            called = worst(s.called(truth, truth) for s in ours)
            rows.append(Row(f"{who}, {truth} called by its very name", called, ""))
    return rows


def percent(share: float | None) -> float | None:
    """Of a share."""
    return None if share is None else 100 * share


def together_rows(found: Found) -> list[Row]:
    """All frames of the twelve runs, and of those that a held-out model never saw the like of."""
    twelve_runs = [*found.known, *found.new]
    whole, crop = (together(of_runs(found.said[name], found.new)) for name in (PAPER, CROP))
    weak = together(of_runs(found.said[SHIPPED], twelve_runs))
    rows = [
        Row(
            "Li (2018) on six new runs together, accuracy", whole.accuracy().value, "", paper="0.84, mean of six runs never seen"
        ),
        Row("the same, by what its crop shows", crop.accuracy().value, ""),
        Row(
            "weak frames that the shipped model calls a sure miss",
            percent(weak.called(WEAK, MISS, False).value),
            "%",
            better="lower",
        ),
        Row("weak frames that it would keep", percent(weak.kept_of(WEAK, False).value), "%"),
    ]
    for name, runs in (("detector layouts", found.layouts), ("beamlines", found.beamlines)):
        ours, shipped = (together(of_runs(found.said[model], runs)) for model in (APART, SHIPPED))
        rows.append(
            Row(f"{name} never seen, accuracy", ours.accuracy().value, "", 0.98, paper="fails across experiments",
                peer="shipped, same frames", peer_value=shipped.accuracy().value)
        )  # fmt: skip
        rows.append(Row(f"{name} never seen, frames unsure", percent(ours.unsure.value), "%", better="lower"))
    return rows


def measured_rows(found: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Measured frames: an unsure answer is not right, and a weak frame must not be called a sure miss."""
    clear = [one for one in found if one["truth"] != WEAK]
    right = sum(one["answer"] != UNSURE and decided(one) == one["truth"] for one in clear)
    named = sum(one["answer"] == one["truth"] for one in clear)
    dropped = sum(one["answer"] == MISS for one in found if one["truth"] == WEAK)
    return [
        Row("measured hits and misses decided rightly", percent(right / len(clear)) if clear else None, "%", 100.0),
        Row("measured hits and misses called by their very name", percent(named / len(clear)) if clear else None, "%"),
        Row("measured weak hits called a miss", float(dropped) if clear else None, "", 0.0, "lower"),
    ]


def decided(one: Mapping[str, Any]) -> str:
    """The decision that the probabilities of a measured frame make."""
    chance = one["probability"]
    return HIT if chance.get(HIT, 0.0) > chance.get(MISS, 1.0) else MISS


def blank_rows(said: Said) -> list[Row]:
    """Frames without crystal that are called hits, and what would be kept."""
    called = said.called(MISS, HIT, False)
    return [
        Row("frames without crystal called a hit", percent(called.value), "%", 0.2, "lower", "finders report spots on noise"),
        Row("the same, upper end of its 95 % interval", percent(called.interval[1]), "%", better="lower"),
        Row(
            "frames without crystal that would be kept, unsure ones too",
            percent(said.kept_of(MISS, False).value),
            "%",
            better="lower",
        ),
        Row("frames without crystal called unsure", percent(said.unsure.value), "%", better="lower"),
    ]


def alarm_rows(found: Sequence[Watched]) -> list[Row]:
    """Faults that are told within 200 frames, and alarms of normal runs."""

    def told(which: Sequence[Watched]) -> float | None:
        return percent(Share(sum(w.found for w in which), len(which)).value)

    wrong, normal = [w for w in found if w.fault], [w for w in found if w.fault is None]
    alarms = Share(sum(w.raised is not None for w in normal), len(normal))
    return [
        Row(f"shift alarm within {FOLLOWED} frames, all faults", told(wrong), "%", 90.0, paper="none has one"),
        Row("the same, where the background can be seen", told([w for w in wrong if w.bright]), "%"),
        *(Row(f"the same, {fault}", told([w for w in wrong if w.fault == fault]), "%") for fault in FAULTS),
        Row("normal runs with an alarm", percent(alarms.value), "%", 1.0, "lower"),
    ]


def worst_frames(said: Mapping[int, Said], blanks: tuple[list[int], Said], path: Path, shown: int = 8) -> str:
    """A picture of the frames that the shipped model decided wrongly and called sure, the surest first; gives the page's link."""
    wrong = sorted(((sure, run, n) for run, of in said.items() for sure, n in of.wrong()), reverse=True)[:shown]
    frames = []
    for _, number, n in wrong:
        run, of = next(drawn([number])), said[number]
        frame = make_frame(find_task(TASK), SEED, indices_of(number)[n], run.layout().shape)
        frames.append((frame, f"a {of.truth[n]}, P(hit) {of.hit[n]:.3f}, P(miss) {of.miss[n]:.3f}\nrun {number}, {run.detector}"))
    for number, hit, answer in zip(blanks[0], blanks[1].hit, blanks[1].answer, strict=True):
        if answer == "hit" and len(frames) < shown:
            frames.append((blank(number), f"no crystal, P(hit) {hit:.3f}\nrun {number}"))
    if not frames:
        return "There are none."
    titled_frames(frames, path)
    return f"![frames that were decided wrongly]({path.name})"


def parsed() -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, required=True, help="folder of what is trained and answered")
    parser.add_argument("--model", default=TASK, help="the model that saw none of it, by name or folder")
    parser.add_argument("--frames", type=int, default=96, help="of each run; half of those with more than 5 megapixels")
    parser.add_argument("--blanks", type=int, default=2000, help="frames without crystal")
    parser.add_argument("--steps", type=int, default=1000, help="of our short trainings, of 16 windows of 256 px or one of 1024")
    parser.add_argument("--paper-steps", type=int, default=300, help="of the paper's network, of 100 crops")
    parser.add_argument("--quick", action="store_true", help="small detectors, few frames, six steps; nothing kept in docs")
    return parser.parse_args()


def sizes_of(options: argparse.Namespace) -> Sizes:
    """What the options say, or little enough for a minute."""
    if options.quick:
        return Sizes(8, 8, 6, 2, crops=40, chosen=32, normal=2, faulty=1, most_px=1.2e6)
    return Sizes(options.frames, options.blanks, options.steps, options.paper_steps)


def measured_all(options: argparse.Namespace, sizes: Sizes) -> Found:
    """Every stage, those that are kept already read."""
    folder, shipped = options.runs, load(options.model)
    known, new, strange, other = ([r for r in runs if pixels(r) <= sizes.most_px] for runs in (*twelve(), layouts(), beamlines()))
    six = learnt("six", [run.number for run in twelve()[0]], folder, sizes)
    apart = learnt("held-out", held_in(), folder, sizes)
    said: dict[str, dict[int, Said]] = {name: {} for name in (PAPER, CROP, SIX, APART, SHIPPED)}
    every = {run.number: run for run in (*known, *new, *strange, *other)}
    for number, run in every.items():
        models = (
            {SHIPPED: shipped}
            | ({SIX: six} if run in (*known, *new) else {})
            | ({APART: apart} if run in (*strange, *other) else {})
        )
        for name, found in asked(models, run, sizes.frames, folder / "answers").items():
            said[name][number] = found
    said[PAPER], said[CROP] = of_paper(known, [*known, *new], said[SHIPPED], folder, sizes)
    measured_frames = of_measured(shipped, folder / "answers")
    blanks = of_blanks(shipped, sizes.blanks, folder / "answers", sizes.most_px)
    return Found(known, new, strange, other, said, measured_frames, blanks, of_faults(shipped, folder / "watched", sizes))


def tables_of(found: Found) -> dict[str, str]:
    """The tables of the page by their marks."""
    twelve_runs = [*found.known, *found.new]
    every = [*twelve_runs, *found.layouts, *found.beamlines]
    of_twelve = {name: found.said[name] for name in (PAPER, SIX, SHIPPED)}
    apart = {name: found.said[name] for name in (APART, SHIPPED)}
    names = {name: together(of_runs(of, twelve_runs)) for name, of in of_twelve.items()}
    return {
        "runs": run_table(twelve_runs, found.known, of_twelve),
        "conditions": condition_table(list({run.number: run for run in every}.values())),
        "names": name_table(names),
        "layouts": run_table(found.layouts, (), apart),
        "beamlines": run_table(found.beamlines, (), apart),
        "measured": measured_table(found.measured),
        "faults": fault_table(found.watched),
    }


def main() -> None:
    """Train, ask, count, and keep the figures."""
    options = parsed()
    sizes = sizes_of(options)
    found = measured_all(options, sizes)
    tables = tables_of(found)
    print(*tables.values(), sep="\n\n")
    figures = run_rows(found) + together_rows(found) + measured_rows(found.measured) + blank_rows(found.blanks[1])
    figures += alarm_rows(found.watched)
    asked_of = f"{sizes.frames} frames a run, {len(found.blanks[0]):,} frames without crystal, {sizes.normal} normal runs"
    text = f"{asked_of}; {sizes.steps:,} steps of 16 windows of 256² a training, {sizes.paper_steps} of 100 crops of the paper's."
    show(figures, text)
    path = options.runs if options.quick else ROOT / "docs" / "studies"
    picture = worst_frames(found.said[SHIPPED], found.blanks, path / "hits_worst.webp")
    if not options.quick:
        publish(figures, "hits_across_runs", {"sizes": f"{text} On {machine()}.", **tables, "worst": picture})


if __name__ == "__main__":
    main()

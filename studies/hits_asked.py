"""The stages of the study of hits: what is trained and what is answered, each kept in a file and not made twice."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from beamsight.bundle import CARD, MODEL, Bundle, load
from beamsight.examples import TEST
from beamsight.export import export
from beamsight.frame import Frame, Geometry
from beamsight.recipe import Recipe
from beamsight.runs import Run
from beamsight.task import find_task
from beamsight.train import train
from hits_faults import FAULTS, Watched, faulty, watched
from hits_paper import answers as paper_answers
from hits_paper import trained as paper_trained
from hits_runs import TASK, Shots, blank, drawn, frames_of_run, numbers_of, pixels
from hits_scores import Said, together, two_named
from sfx_frames import FRAMES, measured

GROUP, PART = 8, 100  # frames answered at a time, and blanks kept at a time
# What is on the measured frames, by who measured them (SOURCES.md beside them).
MEASURED = {
    **{f"pilatus/thau_3_2_00{n}": "hit" for n in ("03", "14")},
    "pilatus/thau_3_2_0015": "weak",
    **{f"pilatus/thau_3_2_00{n}": "miss" for n in (16, 17, 19)},
    **{f"cspad/idx-20130301060858{n}.cbf": "hit" for n in (401, 601, 701, 801)},
    "rayonix/hit-20181213155134902": "weak",
    "jungfrau/conv0": "hit",
    "jungfrau/conv12": "hit",
    "eiger16m/dlsnxs2cbf_therm_0001": "hit",
    "timepix/TIMEPIX_SU_512": "hit",
}


@dataclass(frozen=True)
class Sizes:
    """How much is done: frames a run, blanks, steps of our trainings and of the paper's, crops that the latter learns from,
    frames that calibrate, normal runs and runs a fault, and the largest frames."""

    frames: int
    blanks: int
    steps: int
    paper_steps: int
    crops: int = 1500
    chosen: int = 1500
    normal: int = 100
    faulty: int = 20
    most_px: float = 2e7


def recipe_of(sizes: Sizes) -> Recipe:
    """The task's recipe for a short training on small windows, a third of the steps on wide ones."""
    each = max(1, sizes.steps // 4)
    return replace(
        find_task(TASK).recipe, steps=sizes.steps, size=256, warmup=min(100, each), validate_every=each,
        validation=min(256, sizes.chosen), patience=0, max_hours=0.0,
    )  # fmt: skip


def learnt(name: str, numbers: Sequence[int], folder: Path, sizes: Sizes) -> Bundle:
    """Our model that learnt from those runs alone and was calibrated on other shots of them; made if it is not yet."""
    place, task = folder / f"{name}-{sizes.steps}", Shots(tuple(numbers)).task()
    if not (place / "bundle" / CARD).exists():
        print(f"training {place.name} on {len(numbers)} runs", flush=True)
        run = train(task, place / "run", recipe_of(sizes))
        export(run, place / "bundle", task, chosen=sizes.chosen, scored=min(sizes.chosen, 200))
    return load(place / "bundle")


def kept(path: Path, make: Callable[[], Any]) -> Any:
    """What `make` gives, in JSON; from `path` where it is kept already."""
    if not path.exists():
        values = make()
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(".part")
        part.write_text(json.dumps(values))
        part.rename(path)
    return json.loads(path.read_text())


def name_of(bundle: Bundle) -> str:
    """Of a model's files: of another model they are others."""
    return str(bundle.card["sha256"][MODEL][:12])


def groups(frames: Iterator[Frame]) -> Iterator[list[Frame]]:
    """Some frames at a time, as they are made."""
    while some := list(islice(frames, GROUP)):
        yield some


def asked(bundles: Mapping[str, Bundle], run: Run, n: int, folder: Path) -> dict[str, Said]:
    """What each of the models says of a run's first frames, which are made once for all that were not asked yet."""
    paths = {name: folder / f"{name_of(bundle)}-{run.number}-{n}.json" for name, bundle in bundles.items()}
    said = {name: Said() for name, path in paths.items() if not path.exists()}
    if said:
        print(f"asking about run {run.number}: {run.detector}", flush=True)
        for frames in groups(frames_of_run(run, n)):
            for name, found in said.items():
                for frame, answer in zip(frames, bundles[name].predict(frames), strict=True):
                    found.add(frame.truth, answer)
    return {name: Said(**kept(path, lambda name=name: asdict(said[name]))) for name, path in paths.items()}


def of_paper(
    known: Sequence[Run], runs: Sequence[Run], truth: Mapping[int, Said], folder: Path, sizes: Sizes
) -> list[dict[int, Said]]:
    """What the paper's network says of each run, against what the whole frame shows, and against what its crop does."""
    name = f"paper-{sizes.paper_steps}"
    network = paper_trained([run.number for run in known], folder / f"{name}.safetensors", sizes.paper_steps, sizes.crops)
    whole, crop = {}, {}
    for run in runs:
        n = len(truth[run.number].truth)
        path = folder / "answers" / f"{name}-{run.number}-{n}.json"
        found = kept(path, lambda run=run, n=n: paper_answers(network, run, n))
        whole[run.number] = two_named(truth[run.number].truth, found["hit"])
        crop[run.number] = two_named(found["shown"], found["hit"])
    return [whole, crop]


def of_measured(bundle: Bundle, folder: Path) -> list[dict[str, Any]]:
    """What a model says of each measured frame; none where they are not there."""

    def answered() -> list[dict[str, Any]]:
        found = []
        for name, truth in MEASURED.items():
            m = measured(name)
            answer = next(bundle.predict(Frame(m.image, m.mask, Geometry(m.image.shape, panels=m.panels), name)))
            found.append({"name": name, "truth": truth, "answer": answer.answer, "probability": answer.probability})
        return found

    return list(kept(folder / f"{name_of(bundle)}-measured.json", answered)) if FRAMES.is_dir() else []


def of_blanks(bundle: Bundle, n: int, folder: Path, most_px: float) -> tuple[list[int], Said]:
    """The runs of `n` frames without crystal, each of another run of the test range, and what a model says of them."""
    numbers = [run.number for run in drawn(numbers_of(TEST)) if pixels(run) <= most_px][:n]

    def answered(part: Sequence[int]) -> dict[str, Any]:
        print(f"blanks from run {part[0]}", flush=True)
        said = Said()
        for frames in groups(map(blank, part)):
            for answer in bundle.predict(frames):
                said.add("miss", answer)
        return asdict(said)

    said = []
    for part in (numbers[i : i + PART] for i in range(0, len(numbers), PART)):
        path = folder / f"{name_of(bundle)}-blanks-{part[0]}-{len(part)}.json"
        said.append(Said(**kept(path, lambda part=part: answered(part))))
    return numbers, together(said)


def of_faults(bundle: Bundle, folder: Path, sizes: Sizes) -> list[Watched]:
    """What a watch with a model's card says of normal runs and of such with faults, as they are drawn; nothing where the card
    does not know what is normal."""
    normal = bundle.card.get("normal")
    if normal is None:
        return []
    print("watching runs", flush=True)
    runs = list(drawn(numbers_of(TEST)[: sizes.normal]))
    found = [watched(run, None, normal, folder) for run in runs]
    for fault in FAULTS:
        some = [run for run in runs if faulty(run, fault)][: sizes.faulty]
        found += [watched(run, fault, normal, folder) for run in some]
    return found

"""The verbs that make frames and models: simulate, train, evaluate, export. They need the extra `train`."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields, make_dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

from cyclopts import Parameter

from beamsight.errors import BeamsightError
from beamsight.recipe import Recipe

if TYPE_CHECKING:
    from beamsight.bundle import Bundle
    from beamsight.sweeps import Instrument

    RecipeOptions = Recipe
else:
    # The options of `train` are the fields of a recipe; those not given keep the task's own value.
    _TASKS_OWN = Parameter(help="By default the task's own.")
    _KINDS = get_type_hints(Recipe)
    RecipeOptions = make_dataclass(
        "RecipeOptions", [(f.name, Annotated[_KINDS[f.name] | None, _TASKS_OWN], None) for f in fields(Recipe)]
    )
    # cyclopts looks for the types of a dataclass in its module.
    RecipeOptions.__module__ = __name__


_AS_THE_TASK = RecipeOptions()
Flag = Annotated[bool, Parameter(negative="")]


def simulate(
    task: str,
    out: Path,
    /,
    *,
    number: Annotated[int, Parameter(name=["-n", "--number"])] = 1000,
    seed: int = 0,
    size: int | None = None,
    training: Flag = False,
    workers: int | None = None,
    cluster: str | None = None,
    quiet: Annotated[bool, Parameter(name=["--quiet", "-q"], negative="")] = False,
) -> int:
    """Simulate labelled frames into a folder of HDF5 files. The same command goes on where it was stopped.

    Example: `beamsight simulate scattering-tags frames -n 10000 --seed 1 --workers 2`

    Parameters
    ----------
    task
        What to simulate.
    out
        Folder of the frames.
    number
        How many.
    seed
        The same seed gives the same frames, on any number of workers.
    size
        Side of square frames in pixels, by default the task's own shape.
    training
        Frames to learn from, which share no scene with those to judge by, whatever the seed.
    workers
        Processes of this machine, or jobs of a queue; without, all is made in this process.
    cluster
        Dask scheduler as `tcp://HOST:PORT`, or `slurm`, `pbs` or `lsf`.
    quiet
        Say nothing but errors.
    """
    with _torch("simulate"):
        from beamsight.console import Progress, making
        from beamsight.predict import Tally
        from beamsight.simulating import simulate_archive
        from beamsight.task import find_task

        tally, before = Tally(), list[int]()
        with _stopping(), Progress(tally, quiet, lambda: (sum(before), number, True), making) as progress:

            def tell(frames: int) -> None:
                # The first number is of an earlier run.
                if before:
                    tally.frames += frames
                else:
                    before.append(frames)
                progress.step()

            shape = None if size is None else (size, size)
            folder = simulate_archive(find_task(task), out, number, seed, shape, training, workers, cluster, tell)
        if not quiet:
            _told("frames", folder)
    return 0


def train(
    task: str,
    out: Path,
    /,
    *,
    recipe: Annotated[RecipeOptions, Parameter(name="*", show_default=False)] = _AS_THE_TASK,
    frames: Path | None = None,
    start: str | None = None,
    stop_after: float = 0.0,
    ahead: int | None = None,
    overwrite: Flag = False,
) -> int:
    """Train a model on frames that are simulated as it goes. The same command goes on where a training was stopped.

    Example: `beamsight train scattering-tags run --steps 20000 --batch 64`

    On several devices: `torchrun --nproc-per-node 2 -m beamsight train scattering-tags run`

    Parameters
    ----------
    task
        What to learn.
    out
        Folder of the run.
    frames
        Learn from these frames, made by `beamsight simulate`, in place of fresh ones.
    start
        Begin with the weights of this task's model, model folder or run, in place of random ones; of another
        task's with all but its last layer.
    stop_after
        Hours after which to keep a checkpoint and end, before a scheduler kills; the same command goes on.
    ahead
        How many processes make or read frames ahead; by default one, for a GPU that reads frames up to sixteen.
    overwrite
        Begin anew in a folder that holds a run.
    """
    with _torch("train"):
        from beamsight.archive import read_archive
        from beamsight.bundle import shipped
        from beamsight.parallel import is_first
        from beamsight.task import find_task
        from beamsight.train import train as learn

        found = find_task(task)
        changed = {k: v for k, v in asdict(recipe).items() if v is not None}
        stored = None if frames is None else read_archive(frames, scenes=False)
        first = None if start is None else shipped().get(start, Path(start))
        wanted = replace(found.recipe, **changed)
        run = learn(found, out, wanted, stored, not overwrite, ahead, first, stop_after)
        if is_first():
            _told("run", run)
    return 0


def evaluate(
    bundle: str,
    frames: Path | None = None,
    /,
    *,
    number: Annotated[int | None, Parameter(name=["-n", "--number"])] = None,
    seed: int = 0,
    robustness: Flag = False,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    instrument: Path | None = None,
    as_json: Annotated[Flag, Parameter(name="--json")] = False,
) -> int:
    """Score a model on labelled frames, by default on fresh simulated ones; with --robustness, on worse and worse ones.

    Example: `beamsight evaluate run/bundle frames`

    With --robustness the same scenes are seen with less light, blurred, turned, with gaps, dead pixels and more, stronger and
    stronger. The folder OUT gets robustness.html, robustness.json and robustness.csv.

    Parameters
    ----------
    bundle
        A model folder, or a task whose model ships.
    frames
        Folder made by `beamsight simulate`.
    number
        How many fresh frames: by default 2000, and 500 at each strength with --robustness.
    seed
        The same seed gives the same frames.
    robustness
        Report how the score falls as detectors and pictures get worse.
    output
        Folder of the report, with --robustness.
    instrument
        JSON file of your own detector's numbers and of what to vary.
    as_json
        Print the scores as JSON instead of a table.
    """
    from beamsight.console import usage

    if frames is not None and (robustness or instrument is not None):
        asked = "--robustness" if robustness else "--instrument"
        return usage("evaluate", f"{asked} simulates frames of its own; leave out {frames}")
    if robustness != (output is not None):
        return usage("evaluate", "give -o OUT for the report" if robustness else f"-o {output} is for a report of --robustness")
    with _torch("evaluate"):
        from beamsight.archive import read_archive
        from beamsight.bundle import load
        from beamsight.evaluate import evaluate as score
        from beamsight.evaluate import table
        from beamsight.sweeps import Instrument, read_instrument
        from beamsight.task import find_task

        with _stopping():
            model, seen = load(bundle), Instrument() if instrument is None else read_instrument(instrument)
            if output is not None:
                options = {"frames": 500 if number is None else number, "seed": seed, "instrument": instrument}
                return _robustness(model, seen, options, output, as_json)
            what = seen.seen(find_task(model.card["task"])) if frames is None else read_archive(frames, scenes=False)
            scores = score(model, what, 2000 if number is None else number, seed)
        _print(scores if as_json else table(scores))
    return 0


def _robustness(model: Bundle, instrument: Instrument, options: dict[str, Any], folder: Path, as_json: bool) -> int:
    """Measure, write the page, and say what it says."""
    from beamsight.answer import Answer
    from beamsight.console import Progress
    from beamsight.curves import make_folder, write_robustness
    from beamsight.predict import Tally, about_run
    from beamsight.robustness import answered, scored
    from beamsight.sweeps import strengths_of, sweeps_of
    from beamsight.task import find_task

    task, n, tally = find_task(model.card["task"]), options["frames"], Tally()
    sweeps = sweeps_of(task, instrument.sweeps)
    make_folder(folder)
    with Progress(tally, False, lambda: (0, n * strengths_of(sweeps), True)) as progress:

        def tell(answer: Answer) -> None:
            tally.add(answer)
            progress.step()

        said = answered(model, instrument.seen(task), sweeps, n, options["seed"], tell)
    report = scored(said, model.target.names, sweeps, options["seed"])
    about = about_run(model, shlex.join(["beamsight", *sys.argv[1:]]), {}) | options
    about["instrument"] = about["instrument"] and str(about["instrument"])
    about["detector"] = instrument.detector and asdict(instrument.detector)
    page = write_robustness(folder, about, report, {key: s.examples for key, s in said.items()})
    _print(report if as_json else report["sentence"])
    if not as_json:
        _told("report", page)
    return 0


def export(run: Path, out: Path, /) -> int:
    """Make a model folder of a training run.

    Example: `beamsight export run my-model`

    Parameters
    ----------
    run
        Folder of a training.
    out
        Folder of the model.
    """
    with _torch("export"):
        from beamsight.export import export as write

        with _stopping():
            _told("model", write(run, out))
    return 0


def _print(scores: Any) -> None:
    import json

    from beamsight.console import out

    out(scores if isinstance(scores, str) else json.dumps(scores, indent=1, ensure_ascii=False, default=float))


def _told(what: str, where: Path) -> None:
    from beamsight.console import out

    out(f"{what}: {where}")


class _Missing(BeamsightError):
    """A verb whose packages are not installed."""


@contextmanager
def _torch(verb: str) -> Iterator[None]:
    from beamsight.doctor import needs_torch

    missing = needs_torch(verb)
    if missing:
        raise _Missing(missing)
    yield


@contextmanager
def _stopping() -> Iterator[None]:
    from beamsight.console import stoppable

    with stoppable():
        yield

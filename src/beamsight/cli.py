"""The command line: each verb parses, calls one function and prints. Imports stand in the verb that needs them."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import os
import sys
from collections.abc import Generator
from contextlib import closing as closing_of
from pathlib import Path
from typing import Annotated, Any, cast

from cyclopts import App, CycloptsError, Parameter

from beamsight import checking, making
from beamsight.errors import BadArchive, BeamsightError, CannotRead, CannotWrite, LostWorkers
from beamsight.hits import NOTHING_ELSE, Looked


def _versions() -> str:
    from beamsight.doctor import versions

    return versions()


app = App(
    name="beamsight",
    help="Answer questions about detector images with models trained on simulated physics.",
    version=_versions,
    version_format="plaintext",
    help_format="markdown",
    help_on_error=False,
    suppress_keyboard_interrupt=False,
    print_error=False,
    exit_on_error=False,
    result_action="return_value",
)
app.register_install_completion_command()
for _verb in (making.simulate, making.train, making.evaluate, making.export, checking.check):
    app.command(_verb)

Output = Annotated[Path | None, Parameter(name=["--output", "-o"])]
Jobs = Annotated[int, Parameter(name=["--jobs", "-j"])]
Flag = Annotated[bool, Parameter(negative="")]
Quiet = Annotated[bool, Parameter(name=["--quiet", "-q"], negative="")]
Verbose = Annotated[bool, Parameter(name=["--verbose", "-v"], negative="")]


@app.command
def predict(
    model: str,
    /,
    *paths: str,
    output: Output = None,
    json: Flag = False,
    mask: Path | None = None,
    poni: Path | None = None,
    geom: Path | None = None,
    frames: str | None = None,
    threshold: float | None = None,
    jobs: Jobs = 0,
    workers: int | None = None,
    cluster: str | None = None,
    overwrite: Flag = False,
    no_report: Flag = False,
    verbose: Verbose = False,
    quiet: Quiet = False,
    looked: Annotated[Looked, Parameter(name="*")] = NOTHING_ELSE,
) -> int:
    """Answer a model's question for every frame of files, folders, globs or HDF5 addresses.

    Example: `beamsight predict scattering-tags run_12.h5 "scan/*.cbf" -o out`

    The folder OUT gets answers.jsonl (a line a frame, as they come), answers.csv, answers.h5 and report.html. The same command
    goes on where a run was stopped. Exit status: 0 all answered, 1 some refused, 2 usage, 3 nothing readable, 130 Ctrl-C.

    Parameters
    ----------
    model
        A task whose model ships, or a model folder.
    paths
        Files, folders, globs, `@list.txt`, or addresses such as `file.h5::/entry/data/data`.
    output
        Folder of the results. May be left out with --json.
    json
        Print the lines of answers.jsonl on standard output.
    mask
        Mask file for all frames: 1 = masked.
    poni
        Geometry file of pyFAI.
    geom
        Geometry file of CrystFEL, in place of --poni.
    frames
        Which frames of each stack, as `start:stop:step`.
    threshold
        Probability from which a tag is named, in place of the model's own.
    jobs
        Reading processes; 0 leaves one processor to the model.
    workers
        Processes that read and answer, each on one processor; with --cluster slurm, pbs or lsf: jobs.
    cluster
        Who answers instead: `tcp://HOST:PORT` of a Dask scheduler, or slurm, pbs or lsf.
    overwrite
        Begin anew in a folder that holds answers.
    no_report
        Write no report.html.
    verbose
        Say more.
    quiet
        Say nothing but errors.
    """
    from beamsight.bundle import load
    from beamsight.running import Wanted, answer_paths

    if not paths or (output is None and not json):
        return _usage("predict", "name what to read" if not paths else "give -o OUT for the results, or --json to print them")
    if threshold is not None and not 0 <= threshold <= 1:
        return _usage("predict", f"--threshold {threshold} is no probability; give one between 0 and 1")
    if jobs and (workers is not None or cluster is not None):
        return _usage("predict", "--jobs is for one machine without --workers; each worker has one reading process")
    if poni is not None and geom is not None:
        return _usage("predict", "--poni and --geom place the same frames; give one")
    _log(verbose)
    reading: dict[str, Any] = {"mask": mask, "poni": poni, "geom": geom, "frames": frames}
    reading["jobs"] = jobs or max(1, min(8, (os.cpu_count() or 2) - 1))
    if looked.write_hits is not None and (workers is not None or cluster is not None):
        return _usage("predict", f"--write-hits {looked.write_hits} is written by one process; leave out --workers and --cluster")
    bundle = load(model)
    if looked.finding and bundle.fitted is not None:
        asked = "--peaks" if looked.peaks else "--write-hits"
        return _usage("predict", f"{asked} needs a model that sees every pixel; {bundle.card['task']} sees frames made smaller")
    wanted = Wanted(output, json, overwrite, quiet, not no_report, threshold, workers, cluster, looked)
    return answer_paths(bundle, list(paths), reading, wanted)


@app.command
def demo(task: str | None = None, /, *, output: Output = Path("demo-out")) -> int:
    """Answer real images that the package sasdata brings: X-ray and neutron small-angle scattering.

    Example: `beamsight demo -o demo-out`

    Parameters
    ----------
    task
        A task or model folder; by default the first model that ships and gives tags, as these images are of many things.
    output
        Folder of the results, begun anew.
    """
    from importlib.util import find_spec

    from beamsight.bundle import load, shipped
    from beamsight.targets import Tags

    spec = find_spec("sasdata")
    if spec is None or spec.origin is None:
        return _usage("demo", "the images come with the package sasdata: pip install 'beamsight[demo]'")
    images = Path(spec.origin).parent / "example_data" / "2d_data"
    models = [task] if task else [name for name in shipped() if isinstance(load(name).target, Tags)]
    if not models:
        return _usage("demo", "no model of tags ships with this copy; name a model folder")
    return predict(models[0], str(images / "*"), output=output, overwrite=True)


@app.command
def show(
    path: str,
    /,
    *,
    output: Output = None,
    task: str | None = None,
    mask: Path | None = None,
    poni: Path | None = None,
    geom: Path | None = None,
    frames: str | None = None,
) -> int:
    """Show a frame: its picture, mask, geometry and, with --task, the answer.

    Example: `beamsight show run_12.h5 --frames 5 -o frame.png --task scattering-tags`

    Parameters
    ----------
    path
        A file, folder or address; the first frame is shown.
    output
        Picture to write, PNG by its name; else the picture is drawn on the terminal.
    task
        A task or model folder that should answer.
    mask
        Mask file: 1 = masked.
    poni
        Geometry file of pyFAI.
    geom
        Geometry file of CrystFEL, in place of --poni.
    frames
        Which frames, as `start:stop:step`; the first of them is shown.
    """
    from beamsight.console import NOTHING, out, say
    from beamsight.frame import Frame
    from beamsight.show import draw, facts, save
    from beamsight.sources import read_frames

    with closing_of(cast("Generator[Any]", read_frames([path], mask=mask, poni=poni, geom=geom, frames=frames))) as coming:
        frame = next(coming, None)
    if not isinstance(frame, Frame):
        say(f"beamsight: {frame.key}: {frame.reason}" if frame else f"beamsight: {path}: no frame found")
        return NOTHING
    answer = _answer(frame, task)
    for line in facts(frame, answer):
        out(line)
    if output is not None:
        save(frame, answer, output)
        out(f"picture: {output}")
    elif sys.stdout.isatty():
        draw(frame)
    return 0


def _answer(frame: Any, task: str | None) -> Any:
    from beamsight.bundle import load

    return None if task is None else next(load(task).predict(frame))


@app.command
def tasks() -> int:
    """List the tasks: what can be asked, and which model answers.

    Example: `beamsight tasks`
    """
    from beamsight.bundle import load, shipped
    from beamsight.console import out
    from beamsight.doctor import needs_torch

    known = {name: (load(folder).card["question"], load(folder).name) for name, folder in shipped().items()}
    if needs_torch("") is None:
        from beamsight.task import find_tasks

        known = {t.name: (t.question, "no model ships; train one") for t in find_tasks().values()} | known
    for name, (question, model) in sorted(known.items()):
        out(f"{name}\n  {question}\n  model: {model}")
    if not known:
        out("no task is known to this copy: no model ships, and tasks themselves need pip install 'beamsight[train]'")
    return 0


@app.command
def doctor() -> int:
    """Tell what is installed, what is missing and what to do about it.

    Example: `beamsight doctor`
    """
    from beamsight.console import ALL, SOME, out
    from beamsight.doctor import examine

    rows, works = examine()
    for thing, found, what in rows:
        out(f"{thing:<18}{found:<14}{what}")
    return ALL if works else SOME


def _usage(verb: str, text: str) -> int:
    from beamsight.console import usage

    return usage(verb, text)


def _log(verbose: bool) -> None:
    import logging

    logging.basicConfig(level=logging.INFO if verbose else logging.ERROR, format="%(name)s: %(message)s")


def run(arguments: list[str]) -> int:
    """The exit status of a command; whatever goes wrong is one line on standard error."""
    from beamsight.console import NOTHING, SOME, USAGE, Stopped, say

    try:
        status = app(arguments)
    except CycloptsError as error:
        say(f"beamsight: {' '.join(str(error).split())} (`beamsight --help` lists the verbs)")
        return USAGE
    except KeyboardInterrupt as stopped:
        say("beamsight: stopped; what was done is kept, the same command goes on from there")
        return stopped.status if isinstance(stopped, Stopped) else 130
    except BeamsightError as error:
        say(f"beamsight: {error}")
        kinds = {CannotWrite: SOME, LostWorkers: SOME, CannotRead: NOTHING, BadArchive: NOTHING}
        return next((code for kind, code in kinds.items() if isinstance(error, kind)), USAGE)
    except Exception as error:
        # A mistake of ours; its traceback is for those who ask for it.
        if os.environ.get("BEAMSIGHT_DEBUG"):
            raise
        what = " ".join(f"{type(error).__name__}: {error}".split())
        say(f"beamsight: unforeseen {what} (BEAMSIGHT_DEBUG=1 shows where; please report it)")
        return SOME
    return status if isinstance(status, int) else 0


def main() -> None:
    """The command `beamsight`."""
    sys.exit(run(sys.argv[1:]))

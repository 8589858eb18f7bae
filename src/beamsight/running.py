"""One run of `beamsight predict`, as its user sees it: progress, the closing line, a table, an exit status."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Collection, Generator
from contextlib import AbstractContextManager, nullcontext
from contextlib import closing as closing_of
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import numpy as np

from beamsight.answer import Answer
from beamsight.answers import REPORT, Store, open_store, read_about
from beamsight.bundle import Bundle
from beamsight.console import ALL, NOTHING, SOME, Progress, closing, out, say, stoppable, table
from beamsight.hits import NOTHING_ELSE, Examiner, Looked, examining
from beamsight.predict import Tally, about_run, predict_into, write_tables
from beamsight.report import summarise, title_of
from beamsight.shift import Alarm, Watch
from beamsight.sources import Expected, read_frames

WATCHED = 16  # frames between two looks whether a run has changed


@dataclass(frozen=True)
class Wanted:
    """What is to be made of the answers: a folder `output`, lines on standard output, a page; and how much is said.

    With `workers` or `cluster`, which `cluster.connected` takes, other processes answer. `looked`: what else is looked for.
    """

    output: Path | None = None
    json: bool = False
    overwrite: bool = False
    quiet: bool = False
    report: bool = True
    threshold: float | None = None
    workers: int | None = None
    cluster: str | None = None
    looked: Looked = NOTHING_ELSE


@dataclass
class _Run:
    """All that one run is about; `client` is None where this process answers."""

    bundle: Bundle
    paths: list[str]
    reading: dict[str, Any]
    wanted: Wanted
    client: Any
    store: Store | None
    tally: Tally = field(default_factory=Tally)
    expected: Expected = field(default_factory=Expected)


def answer_paths(bundle: Bundle, paths: list[str], reading: dict[str, Any], wanted: Wanted) -> int:
    """Answer every frame of `paths`, which `reading` says how to read, and give the exit status of the command."""
    if reading.get("mask") is not None:
        _tell_mask(reading["mask"])
    # Whether the workers can be reached is known before a folder is begun anew.
    with stoppable(), _workers(wanted) as client:
        run = _Run(bundle, paths, reading, wanted, client, _opened(bundle, reading, wanted))
        try:
            _answer(run)
        finally:
            if run.store is not None:
                run.store.close()
            if not wanted.quiet:
                say(closing(run.tally))
    return _finish(run.store, run.tally, wanted)


def _workers(wanted: Wanted) -> AbstractContextManager[Any]:
    if wanted.workers is None and wanted.cluster is None:
        return nullcontext()
    from beamsight.cluster import connected

    return connected(wanted.workers, wanted.cluster)


def _opened(bundle: Bundle, reading: dict[str, Any], wanted: Wanted) -> Store | None:
    if wanted.output is None:
        return None
    given = reading | {"threshold": wanted.threshold} | wanted.looked.told()
    options = {k: str(v) for k, v in given.items() if v is not None and k != "jobs"}
    store = open_store(wanted.output, about_run(bundle, shlex.join(["beamsight", *sys.argv[1:]]), options), wanted.overwrite)
    for note in store.notes:
        say(f"beamsight: {note}")
    if store.count and not wanted.quiet:
        say(f"beamsight: {store.count:,} frames were answered before; going on from there")
    return store


def _answer(run: _Run) -> None:
    store, wanted, expected = run.store, run.wanted, run.expected
    before = store.count if store is not None else 0
    with Progress(run.tally, wanted.quiet, lambda: (before, expected.frames, expected.all_found)) as progress:

        def tell(line: str) -> None:
            if wanted.json:
                out(line)
            progress.step()

        (_here if run.client is None else _over)(run, tell)
    if store is not None:
        write_tables(store.folder, wanted.report)


def _here(run: _Run, tell: Callable[[str], None]) -> None:
    """The answers of this process."""
    store, wanted = run.store, run.wanted
    skip = cast("Collection[str]", store.done if store is not None else ())
    reading = {"size": run.bundle.fitted, "skip": skip, "expected": run.expected, **run.reading}
    watch = _guard(run.bundle.card.get("normal"))

    def told(answer: Answer) -> None:
        tell(answer.line() if wanted.json else "")
        watch(answer)

    with _examiner(run) as examine, closing_of(cast("Generator[Any]", read_frames(run.paths, **reading))) as frames:
        expected = (lambda: run.expected.frames, examine)
        predict_into(store, run.bundle, frames, run.tally, wanted.threshold, wanted.report, told, *expected)


def _guard(normal: dict[str, Any] | None) -> Callable[[Answer], None]:
    """Takes answers, and says it once where frames are no longer like the first of this call."""
    if not normal:
        return lambda _: None
    run, waiting, raised = Watch(normal), list[Any](), list[Alarm]()

    def look(answer: Answer) -> None:
        if answer.state is None or raised:
            return
        waiting.append(answer.state)
        if len(waiting) == WATCHED:
            run.follow(np.array(waiting, np.float64))
            waiting.clear()
            if run.alarm is not None:
                raised.append(run.alarm)
                say(f"beamsight: the run has changed: {run.alarm.words}")

    return look


def _examiner(run: _Run) -> AbstractContextManager[Examiner | None]:
    """What looks at each frame beside the model: of frames that are seen as they are."""
    if run.bundle.fitted is not None:
        return nullcontext()
    card, wanted = run.bundle.card, run.wanted
    by = {"task": card["task"], "model": run.bundle.name, "threshold": wanted.threshold}
    return examining(wanted.looked, bool(card.get("normal")), by, wanted.overwrite)


def _over(run: _Run, tell: Callable[[str], None]) -> None:
    """The answers of workers."""
    from beamsight.bulk import errand, predict_over

    reading, wanted = run.reading, run.wanted
    pictures = wanted.report and run.store is not None
    mask, poni, geom = (reading.get(name) for name in ("mask", "poni", "geom"))
    task = errand(run.bundle, mask, poni, wanted.threshold, pictures, geom, wanted.looked)
    predict_over(run.client, task, run.paths, run.store, run.tally, reading.get("frames"), run.expected, tell)


def _tell_mask(path: Path) -> None:
    """Say how much a mask hides before any frame is read: a mask the wrong way round is the commonest mistake with them."""
    from beamsight.readers import load_mask

    share = 100 - 100 * load_mask(str(path)).mean()
    doubt = "; is it the right way round? 1 means masked" if share > 50 else ""
    say(f"beamsight: {path}: {share:.1f} % of pixels masked{doubt}")


def _finish(store: Store | None, tally: Tally, wanted: Wanted) -> int:
    """Print the table of a run and give its exit status, which is of the whole record and not of this run alone."""
    frames, refused = tally.frames, tally.refused
    if store is not None:
        summary, first = summarise(store.folder)
        frames, refused = summary.frames, summary.refused
        if not wanted.json and not wanted.quiet and first:
            table(first, [title_of(a.key) for a in first], frames - len(first))
            out(summary.told(read_about(store.folder)["names"]))
            out(f"report: {store.folder / REPORT}" if wanted.report else f"answers: {store.folder}")
    if frames == refused:
        return NOTHING
    return SOME if refused else ALL

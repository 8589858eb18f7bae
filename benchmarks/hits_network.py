"""How long the network decides on a frame: by itself, beside OM's peakfinder8, and from compressed files to the page of a run."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from beamsight.bundle import Bundle, load
from beamsight.examples import TEST
from beamsight.frame import Frame, Geometry
from beamsight.running import Wanted, answer_paths
from beamsight.shots import run_numbered
from beamsight.task import Task, find_task, make_batch
from predict import write_eiger
from studies.rows import Row
from studies.sfx_frames import measured

SEED = 0
CORES = 2
SMALL, LARGE = "EIGER 1M", "EIGER 16M"
MEASURED_LARGE = "eiger16m/dlsnxs2cbf_therm_0001"
# Different frames in a file, which repeats them, and how many it holds.
DISTINCT = {SMALL: 16, LARGE: 3}
HELD = {SMALL: 400, LARGE: 40}


def simulated(task: Task, detector: str, n: int) -> NDArray[np.uint32]:
    """[n H W] counts of that detector whole, each of another run; what is not trusted holds the highest code, as in files."""
    return np.stack(list(islice(_simulated(task, detector), n)))


def _simulated(task: Task, detector: str) -> Iterator[NDArray[np.uint32]]:
    for number in TEST:
        run = run_numbered(SEED, number)
        if (run.detector, run.form) == (detector, "assembled"):
            made = make_batch(task, SEED, [number], run.layout().shape)
            counts = made.counts[0].numpy().clip(0).astype(np.uint32)
            yield np.where(made.mask[0].numpy(), counts, np.iinfo(np.uint32).max)


def milliseconds(decide: Callable[[], object]) -> float:
    """Of one call."""
    start = time.perf_counter()
    decide()
    return 1e3 * (time.perf_counter() - start)


def raced(deciders: list[Callable[[], float]], rounds: int) -> list[float]:
    """The medians of what each gives, asked in turn: whatever else the machine does meets all. The first round compiles."""
    table = [[decide() for decide in deciders] for _ in range(rounds + 1)]
    return [statistics.median(column) for column in zip(*table[1:], strict=True)]


def deciding(model: Bundle, frame: Frame) -> Callable[[], float]:
    """Milliseconds from a frame in memory to its answer, one after the other."""
    return lambda: milliseconds(lambda: next(model.predict(frame)))


def decision_rows(model: str, theirs: Callable[[], float], rounds: int) -> list[Row]:
    """One frame at a time, without reading; `theirs` gives the milliseconds of OM's search on the measured large frame."""
    both, one = load(model, threads=CORES), load(model, threads=1)
    made = simulated(find_task(both.card["task"]), SMALL, 1)[0].astype(np.int64)
    # No code is left: the mask says what is trusted.
    mask = made < np.iinfo(np.uint32).max
    small = Frame(np.where(mask, made, 0).astype(np.float32), mask, Geometry(made.shape), SMALL)
    told = measured(MEASURED_LARGE)
    large = Frame(told.image, told.mask, Geometry(told.image.shape), LARGE)
    small_two, small_one = raced([deciding(both, small), deciding(one, small)], rounds)
    large_two, large_one, peer = raced([deciding(both, large), deciding(one, large), theirs], rounds)
    small_title, large_title = (f"{f.key}, {f.image.size / 1e6:.1f} Mpx" for f in (small, large))
    beside = {"peer": "OM, ms", "peer_value": peer}
    return [
        Row(f"decision, {small_title}, two cores", small_two, "ms", 8, "lower", paper="12 ms for a crop of 350²"),
        Row(f"decision, {small_title}, one core", small_one, "ms", better="lower"),
        Row(f"decision, {large_title}, two cores", large_two, "ms", better="lower", **beside),
        Row(f"decision, {large_title}, one core", large_one, "ms", better="lower", **beside),
        Row(f"decision, {large_title}, two cores, times as quick as OM's peakfinder8", peer / large_two, "times", 10, **beside),
    ]


def end_to_end(model: str, source: Path, n: int, out: Path, rounds: int) -> float:
    """Frames a second from a file to the answers, their tables and the page of the run; median of `rounds` after a first."""
    bundle, rates = load(model), []
    for k in range(rounds + 1):
        start = time.perf_counter()
        status = answer_paths(bundle, [str(source)], {}, Wanted(output=out / str(k), quiet=True))
        rates.append(n / (time.perf_counter() - start))
        if status != 0:
            raise SystemExit(f"{source} was not answered: exit status {status}")
    return statistics.median(rates[1:])


def end_to_end_rows(model: str, folder: Path, rounds: int, quick: bool) -> list[Row]:
    """From bitshuffle-LZ4 HDF5, reading and all that is written included."""
    task, rows = find_task(load(model).card["task"]), []
    for detector, distinct in DISTINCT.items():
        n = 4 if quick else HELD[detector]
        images = simulated(task, detector, 1 if quick else distinct)
        place = folder / detector.replace(" ", "-")
        place.mkdir()
        rate = end_to_end(model, write_eiger(place, images, n), n, place / "out", rounds)
        rows.append(Row(f"end to end, bitshuffle-LZ4 HDF5, {detector} uint32, {n} frames", rate, "frames/s"))
    return rows

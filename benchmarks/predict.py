"""How fast frames are answered, from command to answer, and how much memory that takes.

Everything but the latency goes through the command line, as a user's frames do.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
import psutil
import tifffile
from numpy.typing import NDArray

from beamsight import bundle
from studies.rows import ROOT, Row, keep, show

SIDE = 1024
DISTINCT = 32  # different frames; longer stacks repeat them
FILE_FRAMES = 500
ASKED_MEMORY_MB = 800


def frames(n: int) -> NDArray[np.uint32]:
    """[n 1024 1024] uint32 photons: rings on a falling background, one a pixel; gaps hold the type's maximum, as in EIGERs."""
    rng = np.random.default_rng(1)
    y, x = np.indices((SIDE, SIDE))
    made = np.empty((n, SIDE, SIDE), np.uint32)
    for image in made:
        r = np.hypot(y - rng.uniform(0.3, 0.7) * SIDE, x - rng.uniform(0.3, 0.7) * SIDE)
        rings = sum(np.exp(-(((r - k * rng.uniform(80, 120)) / 6) ** 2)) for k in (1, 2, 3))
        image[:] = rng.poisson(0.3 + 40 / (r + 20) + 2 * rings)
    made[:, 512:550] = made[:, :, 500:510] = np.iinfo(np.uint32).max
    return made


def write_eiger(folder: Path, images: NDArray[np.uint32], n: int) -> Path:
    """A master file whose links reach `n` frames, one bitshuffle-LZ4 chunk each: 500 in one file, linked as often as n asks."""
    stack = folder / "series_data_000001.h5"
    per_file, shape = min(n, FILE_FRAMES), images.shape[1:]
    with h5py.File(stack, "w") as file:
        data = file.create_dataset(
            "entry/data/data", (per_file, *shape), np.uint32, chunks=(1, *shape), **hdf5plugin.Bitshuffle(cname="lz4")
        )
        for i in range(per_file):
            data[i] = images[i % len(images)]
    master = folder / "series_master.h5"
    with h5py.File(master, "w") as file:
        file.create_group("entry").attrs["NX_class"] = "NXentry"
        group = file.create_group("entry/data")
        group.attrs["NX_class"] = "NXdata"
        for i in range(-(-n // per_file)):
            group[f"data_{i + 1:06d}"] = h5py.ExternalLink(stack.name, "entry/data/data")
    return master


def write_tiffs(folder: Path, images: NDArray[np.uint32], n: int) -> Path:
    """A folder of `n` plain TIFF files."""
    folder.mkdir()
    for i in range(n):
        tifffile.imwrite(folder / f"{i:06d}.tif", images[i % len(images)])
    return folder


def command(model: str, source: Path, *options: str) -> list[str]:
    """The command a user would type."""
    return [str(Path(sys.executable).with_name("beamsight")), "predict", model, str(source), *options]


def answered_per_second(model: str, source: Path, n: int, out: Path, rounds: int) -> float:
    """Frames a second of the whole command, its start and its report included; median of `rounds`."""
    rates = []
    for k in range(rounds):
        start = time.perf_counter()
        subprocess.run(command(model, source, "-o", str(out / f"{source.stem}-{k}")), check=True, capture_output=True)
        rates.append(n / (time.perf_counter() - start))
        lines = (out / f"{source.stem}-{k}" / "answers.jsonl").read_text().count("\n")
        if lines != n:
            raise SystemExit(f"{n} frames were asked for, {lines} were answered")
    return statistics.median(rates)


def first_answer_seconds(model: str, source: Path, rounds: int) -> float:
    """Seconds from the command to its first line; median of `rounds`."""
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        with subprocess.Popen(command(model, source, "--json"), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            lines = iter(process.stdout or ())
            next(lines)
            seconds.append(time.perf_counter() - start)
            list(lines)
    return statistics.median(seconds)


def latency_ms(model: str, images: NDArray[np.uint32], rounds: int) -> tuple[float, float]:
    """Median and 99th percentile of milliseconds to answer one frame in memory, one after another."""
    loaded = bundle.load(model)
    milliseconds = []
    for i in range(rounds + 20):
        start = time.perf_counter()
        list(loaded.predict(images[i % len(images)]))
        milliseconds.append(1e3 * (time.perf_counter() - start))
    # The first calls compile the graph and fill caches.
    steady = milliseconds[20:]
    return statistics.median(steady), float(np.percentile(steady, 99))


def memory_mb(model: str, source: Path, out: Path) -> tuple[float, float]:
    """Peak resident memory of the command and its children, and how its median grew from the second tenth to the last, %."""
    samples = []
    with subprocess.Popen(
        command(model, source, "-o", str(out)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        while process.poll() is None:
            samples.append(resident_mb(psutil.Process(process.pid)))
            time.sleep(0.2)
    tenth = max(1, len(samples) // 10)
    early, late = statistics.median(samples[tenth : 2 * tenth] or samples), statistics.median(samples[-tenth:])
    return max(samples), 100 * (late / early - 1)


def resident_mb(process: psutil.Process) -> float:
    """Resident memory of a process and its children; pages they share count once each, so this is an upper bound."""
    total = 0.0
    try:
        for p in [process, *process.children(recursive=True)]:
            total += p.memory_info().rss / 1e6
    except psutil.NoSuchProcess:
        pass
    return total


def main() -> None:
    """Measures, prints and keeps the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="scattering-tags", help="a task or a model's folder")
    parser.add_argument("--quick", action="store_true", help="few frames: tries the benchmark, its figures are not kept")
    asked = parser.parse_args()
    stack, files, long, rounds = (100, 40, 400, 1) if asked.quick else (1000, 500, 20_000, 3)
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(asked.model, Path(folder), stack, files, long, rounds)
    show(rows, "Answering")
    if not asked.quick:
        keep(rows, ROOT / "benchmarks" / "results" / "predict.json")


def measure(model: str, folder: Path, stack: int, files: int, long: int, rounds: int) -> list[Row]:
    """The rows: `stack` frames in HDF5, `files` TIFF files, `long` frames for the memory."""
    images = frames(DISTINCT)
    eiger = write_eiger(folder, images, stack)
    from_hdf5 = answered_per_second(model, eiger, stack, folder / "hdf5", rounds)
    from_tiff = answered_per_second(model, write_tiffs(folder / "tiff", images, files), files, folder / "out", rounds)
    median, p99 = latency_ms(model, images, 100 * rounds)
    first = first_answer_seconds(model, folder / "tiff" / "000000.tif", 2 * rounds + 1)
    peak, growth = memory_mb(model, write_eiger(folder, images, long), folder / "long")
    return [
        Row(f"end to end, bitshuffle-LZ4 HDF5 1024² uint32, {stack} frames", from_hdf5, "frames/s", 60),
        Row(f"end to end, TIFF 1024² uint32, {files} files", from_tiff, "frames/s", 60),
        Row("one frame 1024² in memory, median", median, "ms", 8, "lower"),
        Row("one frame 1024² in memory, 99th percentile", p99, "ms", 8, "lower"),
        Row(f"peak resident memory over {long:,} frames, children included", peak, "MB", ASKED_MEMORY_MB, "lower"),
        Row(f"growth of memory over {long:,} frames, second tenth to last", growth, "%", 5, "lower"),
        Row("from command to first answer", first, "s", 2.5, "lower"),
    ]


if __name__ == "__main__":
    main()

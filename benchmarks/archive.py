"""How many frames a second are written and read back in any order, and how large they are: our archives beside others.

20,000 frames of 256² uint16, half of them sparse, half dense. One process writes; two read, each its half of one shuffle of all
frames, from a warm cache, and unpack them. LMDB and WebDataset hold the same packed frames; WebDataset can only shuffle by shard
and within a buffer. Whole frames come with mask, geometry and truth.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import argparse
import multiprocessing
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import lru_cache, partial
from multiprocessing.pool import Pool
from pathlib import Path

import h5py
import hdf5plugin
import lmdb
import numpy as np
import webdataset
from numpy.typing import NDArray

from beamsight.archive import DATA, data_name, read_archive
from beamsight.archive_files import LIBVER
from beamsight.archive_write import FRAMES_PER_FILE, write_archive
from beamsight.chunks import create, packed, put, unpacked
from beamsight.frame import Frame, Geometry
from studies.rows import ROOT, Row, keep, show

SIDE, POOL, PROCESSES = 256, 200, 2
# A buffer of WebDataset, its own advice.
BUFFER = 1000
TRUTH = {f"tag {n}": n % 3 == 0 for n in range(17)}


@lru_cache
def pool() -> NDArray[np.uint16]:
    """[POOL SIDE SIDE] counts: every other frame single photons, every other rings on a background; frame i is i modulo POOL."""
    rng = np.random.default_rng(0)
    y, x = np.indices((SIDE, SIDE)) - SIDE / 2
    rings = 3 + 30 * np.exp(-(((np.hypot(y, x) - 60) / 8) ** 2))
    return rng.poisson([0.02 + 0 * rings, rings] * (POOL // 2)).astype(np.uint16)


def counts(n: int) -> Iterator[NDArray[np.uint16]]:
    """The first n frames."""
    for i in range(n):
        yield pool()[i % POOL]


def frames(n: int) -> Iterator[Frame]:
    """The first n as whole frames, with a mask of gaps."""
    mask = np.ones((SIDE, SIDE), bool)
    mask[SIDE // 2 - 4 : SIDE // 2 + 4] = False
    for i, image in enumerate(counts(n)):
        place = Geometry((SIDE, SIDE), 172e-6, 1e-10, 2.0, (i % 100.0, 120.0))
        yield Frame(image.astype(np.float32), mask, place, f"benchmark/0/{i:08d}", TRUTH)


def write_chunks(folder: Path, n: int) -> None:
    """Counts alone, as our archives hold them."""
    coming = counts(n)
    for part in range(-(-n // FRAMES_PER_FILE)):
        here = min(FRAMES_PER_FILE, n - part * FRAMES_PER_FILE)
        with h5py.File(folder / data_name(part), "w", libver=LIBVER) as file:
            data = create(file, DATA, here, (SIDE, SIDE), "u2")
            for i in range(here):
                put(data, i, packed(next(coming)))


def write_h5py(folder: Path, n: int) -> None:
    """The same by h5py alone: one file, one frame a chunk."""
    with h5py.File(folder / "data.h5", "w", libver=LIBVER) as file:
        kind = hdf5plugin.Bitshuffle(cname="lz4")
        data = file.create_dataset(DATA, (n, SIDE, SIDE), "u2", chunks=(1, SIDE, SIDE), fletcher32=True, **kind)
        for i, image in enumerate(counts(n)):
            data[i] = image


def write_lmdb(folder: Path, n: int) -> None:
    """A record a frame, packed as ours; one transaction for as many frames as we put in a file."""
    with lmdb.open(str(folder / "lmdb"), map_size=2**36) as store:
        coming = counts(n)
        for first in range(0, n, FRAMES_PER_FILE):
            with store.begin(write=True) as some:
                for i in range(first, min(first + FRAMES_PER_FILE, n)):
                    some.put(b"%08d" % i, packed(next(coming)))


def write_webdataset(folder: Path, n: int) -> None:
    """Shards of as many frames as we put in a file, packed as ours."""
    with webdataset.ShardWriter(str(folder / "%06d.tar"), maxcount=FRAMES_PER_FILE, verbose=0) as shards:
        for i, image in enumerate(counts(n)):
            shards.write({"__key__": f"{i:08d}", "bslz4": packed(image)})


def write_whole(folder: Path, n: int) -> None:
    """An archive of whole frames."""
    write_archive(frames(n), folder / "archive")


def read_ours(folder: Path, numbers: NDArray[np.int64], whole: bool) -> int:
    """Counts, or whole frames, from an archive."""
    archive = read_archive(folder / "archive", scenes=False)
    return sum(np.size(archive[int(i)].image if whole else archive.counts(int(i))) for i in numbers)


def read_h5py(folder: Path, numbers: NDArray[np.int64]) -> int:
    """Counts by h5py alone."""
    with h5py.File(folder / "data.h5") as file:
        data = file[DATA]
        return sum(data[int(i)].size for i in numbers)


def read_lmdb(folder: Path, numbers: NDArray[np.int64]) -> int:
    """Counts from LMDB."""
    with lmdb.open(str(folder / "lmdb"), readonly=True, lock=False, readahead=False) as store, store.begin() as look:
        return sum(unpacked(look.get(b"%08d" % i), "u2", (SIDE, SIDE)).size for i in numbers)


def read_webdataset(folder: Path, numbers: NDArray[np.int64]) -> int:
    """Counts of this process's share of the shards, about as many as `numbers`: shards cannot be asked for a frame."""
    shards = sorted(map(str, folder.glob("*.tar")))
    mine = shards[int(numbers[0]) % PROCESSES :: PROCESSES]
    coming = webdataset.WebDataset(mine, shardshuffle=len(mine), seed=0).shuffle(BUFFER)
    return sum(unpacked(sample["bslz4"], "u2", (SIDE, SIDE)).size for sample in coming)


Write = Callable[[Path, int], None]
Read = Callable[[Path, NDArray[np.int64]], int]
FORMATS: dict[str, tuple[Write, Read | None]] = {
    "chunks": (write_chunks, None),
    "whole": (write_whole, partial(read_ours, whole=True)),
    "counts": (write_whole, partial(read_ours, whole=False)),
    "h5py": (write_h5py, read_h5py),
    "LMDB": (write_lmdb, read_lmdb),
    "WebDataset": (write_webdataset, read_webdataset),
}


def written(write: Write, folder: Path, n: int, rounds: int) -> tuple[float, float]:
    """(frames a second, bytes a frame) of one writing process; median of `rounds`, the last of which stays in `folder`."""
    rates = []
    for _ in range(rounds):
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        start = time.perf_counter()
        write(folder, n)
        rates.append(n / (time.perf_counter() - start))
    # What is allocated: LMDB announces a file of the whole map.
    size = sum(p.stat().st_blocks * 512 for p in folder.rglob("*") if p.is_file())
    return statistics.median(rates), size / n


def read_back(processes: Pool, read: Read, folder: Path, n: int, rounds: int) -> float:
    """Frames a second of PROCESSES that share one shuffle of all frames; median of `rounds`, after one that warms the cache."""
    rates = []
    for seed in range(rounds + 1):
        order = np.random.default_rng(seed).permutation(n)
        halves = [order[order % PROCESSES == p] for p in range(PROCESSES)]
        start = time.perf_counter()
        pixels = processes.map(partial(read, folder), halves, chunksize=1)
        rates.append(n / (time.perf_counter() - start))
        if sum(pixels) != n * SIDE**2:
            raise RuntimeError(f"{folder.name}: {sum(pixels)} pixels were read where {n * SIDE**2} were written")
    return statistics.median(rates[1:])


def measure(processes: Pool, folder: Path, n: int, rounds: int) -> list[Row]:
    """The rows."""
    write, size, read = dict[str, float](), dict[str, float](), dict[str, float]()
    # Before anything is timed the counts are made, and the processes have imported what they need.
    pool()
    processes.map(time.sleep, [2.0] * PROCESSES, chunksize=1)
    for name, (writer, reader) in FORMATS.items():
        place = folder / ("whole" if name == "counts" else name)
        if name != "counts":
            write[name], size[name] = written(writer, place, n, rounds)
        if reader is not None:
            read[name] = read_back(processes, reader, place, n, rounds)
        if name != "whole":
            shutil.rmtree(place)
    rows = [
        Row("counts written, one process", write["chunks"], "frames/s", 8000),
        Row("counts read, one global shuffle, two processes", read["counts"], "frames/s", 8000),
    ]
    for name in ("h5py", "LMDB", "WebDataset"):
        ratios = write["chunks"] / write[name], read["counts"] / read[name]
        # The shard format is the one that has to be slower.
        asked = 1.0 if name == "WebDataset" else None
        rows += [
            Row(f"counts written, times the rate of {name}", ratios[0], "", asked, peer=name, peer_value=write[name]),
            Row(f"counts read, times the rate of {name}", ratios[1], "", asked, peer=name, peer_value=read[name]),
            Row(f"size of counts, beside {name}", size["chunks"], "bytes/frame", None, "lower", peer=name, peer_value=size[name]),
        ]
    return [
        *rows,
        Row("whole frames written, one process", write["whole"], "frames/s"),
        Row("whole frames read, one global shuffle, two processes", read["whole"], "frames/s"),
        Row("size of whole frames", size["whole"], "bytes/frame", better="lower"),
    ]


def main() -> None:
    """Measures, prints and keeps the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="where the frames are written; by default among temporary files")
    parser.add_argument("--quick", action="store_true", help="few frames: tries the benchmark, its figures are not kept")
    asked = parser.parse_args()
    n, rounds = (2000, 1) if asked.quick else (20_000, 3)
    with (
        tempfile.TemporaryDirectory(dir=asked.folder) as folder,
        multiprocessing.get_context("spawn").Pool(PROCESSES) as processes,
    ):
        rows = measure(processes, Path(folder), n, rounds)
    show(rows, "Archives")
    if not asked.quick:
        keep(rows, ROOT / "benchmarks" / "results" / "archive.json")


if __name__ == "__main__":
    main()

"""How much faster two workers tag an archive than one, and whether every frame is answered once when one is killed.

The frames are small and the model is three sums, so that what is measured is the cluster: listing, reading, sending, writing.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import argparse
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import h5py
import hdf5plugin
import numpy as np
from tests.models import write_bundle

from beamsight.addresses import Address
from beamsight.answers import LINES, read_answers
from beamsight.readers import close, open_stacks
from studies.rows import ROOT, Row, keep, show

SIDE = 64
DISTINCT = 256  # different frames; the archive repeats them
FILE_FRAMES = 10_000
LOOK_S = 0.02


@dataclass(frozen=True)
class Measured:
    """Frames a second from the first lines to the last and of the whole command, and the keys in the order of the record."""

    answering: float
    whole: float
    keys: list[str]


def write_archive(folder: Path, n: int) -> Path:
    """A master file whose links reach `n` frames [64 64] uint16, one bitshuffle-LZ4 chunk each, some thousands a file."""
    images = np.random.default_rng(1).poisson(5, (DISTINCT, SIDE, SIDE)).astype(np.uint16)
    master = folder / "series_master.h5"
    with h5py.File(master, "w") as file:
        file.create_group("entry").attrs["NX_class"] = "NXentry"
        group = file.create_group("entry/data")
        group.attrs["NX_class"] = "NXdata"
        for k, start in enumerate(range(0, n, FILE_FRAMES), 1):
            part = folder / f"series_data_{k:06d}.h5"
            _write_data(part, images, min(FILE_FRAMES, n - start))
            group[f"data_{k:06d}"] = h5py.ExternalLink(part.name, "entry/data/data")
    return master


def _write_data(path: Path, images: np.ndarray, n: int) -> None:
    with h5py.File(path, "w") as file:
        compression = hdf5plugin.Bitshuffle(cname="lz4")
        data = file.create_dataset("entry/data/data", (n, SIDE, SIDE), np.uint16, chunks=(1, SIDE, SIDE), **compression)
        first = min(n, len(images))
        data[:first] = images[:first]
        chunks = [data.id.read_direct_chunk((i, 0, 0))[1] for i in range(first)]
        for i in range(first, n):
            data.id.write_direct_chunk((i, 0, 0), chunks[i % first])


def expected_keys(master: Path) -> list[str]:
    """The keys of all frames, in order, as they are read in one process."""
    stacks = open_stacks(Address(str(master)))
    try:
        return [stack.keys[n] for stack in stacks for n in range(len(stack.keys))]
    finally:
        close(stacks)


@contextmanager
def cluster(cores: list[int]) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """A scheduler's address, and its workers, each with all it starts on a processor of its own."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    processes = [_started("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard")]
    try:
        _wait_for(port, processes[0])
        options = ("--nthreads", "1", "--no-nanny", "--no-dashboard")
        for core in cores:
            worker = _started("worker", address, *options)
            processes.append(worker)
            os.sched_setaffinity(worker.pid, {core})
        yield address, processes[1:]
    finally:
        for process in reversed(processes):
            process.kill()
            process.wait()


def _started(*words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "dask", *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.1)
    raise SystemExit("the Dask scheduler does not start: pip install 'beamsight[cluster]'")


def predict(model: Path, master: Path, out: Path, cores: list[int], n: int, kill_at: int | None = None) -> Measured:
    """Answer the archive with a worker on each of `cores`; the last one is killed once the record has `kill_at` bytes."""
    with cluster(cores) as (address, workers):
        command = [sys.executable, "-m", "beamsight", "predict", str(model), str(master), "-o", str(out), "--cluster", address]
        start = time.perf_counter()
        with subprocess.Popen([*command, "--quiet"]) as process:
            seen = []
            while process.poll() is None:
                size = (out / LINES).stat().st_size if (out / LINES).exists() else 0
                if size and (not seen or seen[-1][1] != size):
                    seen.append((time.perf_counter(), size))
                if kill_at is not None and size > kill_at:
                    workers[-1].kill()
                    kill_at = None
                time.sleep(LOOK_S)
        if process.returncode or kill_at is not None:
            raise SystemExit(f"predict ended with status {process.returncode}, and a worker was {'not ' * bool(kill_at)}killed")
        (first_s, first), (last_s, last) = seen[0], seen[-1]
        answering = n * (last - first) / last / (last_s - first_s)
        return Measured(answering, n / (time.perf_counter() - start), [a.key for a in read_answers(out) if a.error is None])


def measure(folder: Path, n: int) -> list[Row]:
    """The rows, of an archive of `n` frames."""
    cores = sorted(os.sched_getaffinity(0))[:2]
    if len(cores) < 2:
        raise SystemExit("two workers on separate processors need two processors")
    model, master = write_bundle(folder / "model"), write_archive(folder, n)
    keys = expected_keys(master)
    one = predict(model, master, folder / "one", cores[:1], n)
    two = predict(model, master, folder / "two", cores, n)
    half = (folder / "one" / LINES).stat().st_size // 2
    killed = predict(model, master, folder / "killed", cores, n, half)
    told = f"{n:,} frames {SIDE}²"
    return [
        Row(f"{told}, 1 worker on its own core, answering", one.answering, "frames/s"),
        Row(f"{told}, 2 workers on cores of their own, answering", two.answering, "frames/s"),
        Row("2 workers beside 1, answering", two.answering / one.answering, "×", 1.7),
        Row("2 workers beside 1, whole command with its start, tables and page", two.whole / one.whole, "×"),
        Row("2 workers, one killed half-way: keys missing", len(set(keys) - set(killed.keys)), "keys", 0, "lower"),
        Row("2 workers, one killed half-way: keys twice", len(killed.keys) - len(set(killed.keys)), "keys", 0, "lower"),
        Row("2 workers, one killed half-way: keys out of order", _out_of_order(keys, killed.keys), "keys", 0, "lower"),
    ]


def _out_of_order(asked: list[str], found: list[str]) -> int:
    place = {key: n for n, key in enumerate(asked)}
    return sum(place[a] > place[b] for a, b in pairwise(found))


def main() -> None:
    """Measures, prints and keeps the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few frames: tries the benchmark, its figures are not kept")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as folder:
        rows = measure(Path(folder), 12_000 if quick else 200_000)
    show(rows, "Answering on a cluster")
    if not quick:
        keep(rows, ROOT / "benchmarks" / "results" / "cluster.json")


if __name__ == "__main__":
    main()

"""How fast Fourier-Bessel coefficients are: beside ASPIRE, by the fifty thousand, with gaps, in an exported graph.

Frames hold photon counts. Ours and ASPIRE's expand in the same functions and give the same number of real coefficients.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import argparse
import logging
import multiprocessing
import resource
import statistics
import time
import warnings
from collections.abc import Callable
from functools import partial
from multiprocessing.pool import Pool
from typing import Any

import numpy as np
import torch
from torch import Tensor

from beamsight.ahead import keep_memory
from beamsight.fourier_bessel import FourierBessel
from beamsight.runtime import compiled
from studies.rows import ROOT, Row, keep, show

ORDERS, RADIAL = 32, 64
COUNT = RADIAL * (2 * ORDERS + 1)
MANY = 50_000
PROCESSES = 2  # of one thread each, on two cores
FAST_LIMIT = 84


def frames(n: int, side: int) -> Tensor:
    """[n side side] photon counts."""
    rng = np.random.default_rng(0)
    return torch.from_numpy(rng.poisson(rng.uniform(0.1, 3, (side, side)), (n, side, side)).astype(np.float32))


def gapped(n: int, side: int) -> Tensor:
    """[n side side] masks with the gaps of six modules and a beamstop."""
    mask = torch.ones(side, side)
    for place in (side // 3, 2 * side // 3):
        mask[place : place + side // 50] = 0
    mask[:, side // 2 : side // 2 + side // 50] = 0
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    mask[(y - side / 2) ** 2 + (x - side / 2) ** 2 < (side / 20) ** 2] = 0
    return mask.expand(n, side, side)


def seconds(work: Callable[[], Any], rounds: int) -> float:
    """Median over `rounds`, after one that is not counted."""
    work()
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def one_thread() -> None:
    """A process uses one core, and keeps its memory from batch to batch: to fetch it anew takes as long as the sums."""
    torch.set_num_threads(1)
    keep_memory()
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)


def on_cores(pool: Pool, work: Callable[[int], float], rounds: int) -> float:
    """Milliseconds an image where every process does `work(rounds)` at once, which tells its own milliseconds."""
    return statistics.mean(pool.map(work, [rounds] * PROCESSES, chunksize=1)) / PROCESSES


def ours(side: int, batch: int, gaps: bool, rounds: int) -> float:
    """Milliseconds an image, `batch` at a time, the beam on the middle pixel; of gapped frames what is hidden is completed."""
    transform = FourierBessel(side // 2, ORDERS, RADIAL, moves=0, complete=gaps)
    images, middle = frames(batch, side), torch.full((1, 2), side / 2)
    masks = gapped(batch, side) if gaps else torch.ones(batch, side, side)
    with torch.no_grad():
        return 1e3 * seconds(lambda: transform(images, masks, middle), rounds) / batch


def direct(side: int) -> Any:
    """ASPIRE's FBBasis2D of about as many coefficients: it holds every radial order up to the pixels' own limit, so half as many
    angular orders give the number."""
    from aspire.basis import FBBasis2D

    return FBBasis2D(side, ell_max=ORDERS // 2, dtype=np.float32)


def fast(side: int) -> Any:
    """ASPIRE's FLEBasis2D of about as many coefficients, by its limit of frequency, to a relative precision of 1e-6."""
    from aspire.basis import FLEBasis2D

    return FLEBasis2D(side, bandlimit=FAST_LIMIT, epsilon=1e-6, dtype=np.float32, match_fb=False)


def theirs(make: Callable[[int], Any], side: int, batch: int, rounds: int) -> float:
    """Milliseconds an image, `batch` at a time."""
    from aspire.image import Image

    basis, images = make(side), Image(frames(batch, side).numpy())
    return 1e3 * seconds(lambda: basis.evaluate_t(images), rounds) / batch


def peak_gb(_: int) -> float:
    """The most memory that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6


def one_frame_ms(side: int, rounds: int) -> float:
    """Milliseconds of one frame in the exported graph, its centre between pixels, its gaps completed."""
    transform = FourierBessel(side // 2, ORDERS, RADIAL, moves=1).eval()
    given = {"counts": frames(2, side), "mask": gapped(2, side).clone(), "centre": torch.full((2, 2), side / 2 + 0.3)}
    program = torch.onnx.export(
        transform, tuple(given.values()), dynamo=True, verbose=False, opset_version=18, input_names=list(given),
        output_names=["coefficients"], dynamic_shapes={name: {0: torch.export.Dim("N")} for name in given},
    )  # fmt: skip
    if program is None:
        raise RuntimeError("the exporter gave no graph")
    graph = compiled(program.model_proto.SerializeToString(), "f32", 1)
    one = {name: value[:1].numpy() for name, value in given.items()}
    return 1e3 * seconds(lambda: graph(one), rounds)


def measure(pool: Pool, quick: bool) -> list[Row]:
    """The rows."""
    rounds, few = (2, 16) if quick else (15, 32)
    batches = {256: few, 1000: few // 8}
    own = {side: on_cores(pool, partial(ours, side, n, False), rounds) for side, n in batches.items()}
    masked = {side: on_cores(pool, partial(ours, side, n, True), rounds) for side, n in batches.items()}
    memory = max(pool.map(peak_gb, range(PROCESSES), chunksize=1))
    bases = {"FBBasis2D": direct, "FLEBasis2D": fast}
    peers = {name: on_cores(pool, partial(theirs, make, 256, few), max(2, rounds // 5)) for name, make in bases.items()}
    rows = [
        Row(f"times quicker than ASPIRE's {name}, 256²", ms / own[256], "times", 25, peer=f"ASPIRE {name}, ms", peer_value=ms)
        for name, ms in peers.items()
    ]
    for side, minutes in ((256, 1), (1000, 10)):
        whole, gaps = (MANY * ms / 60e3 for ms in (own[side], masked[side]))
        rows.append(Row(f"an image {side}²", own[side], "ms"))
        rows.append(Row(f"50,000 images {side}², by the rate of batches", whole, "min", minutes, "lower", paper="days"))
        rows.append(Row(f"50,000 images {side}² with gaps completed, by the same", gaps, "min", 5 * minutes, "lower"))
    rows.append(Row("peak resident memory of each of two processes", memory, "GB", 2, "lower"))
    rows.append(Row("one frame 256² in an exported graph, gaps completed", one_frame_ms(256, 10 * rounds), "ms", 5, "lower"))
    return rows


def main() -> None:
    """Measures, prints and keeps the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few images: tries the benchmark, its figures are not kept")
    asked = parser.parse_args()
    one_thread()
    torch.set_num_threads(PROCESSES)
    with multiprocessing.get_context("spawn").Pool(PROCESSES, one_thread) as pool:
        rows = measure(pool, asked.quick)
    show(rows, "Fourier-Bessel coefficients")
    if not asked.quick:
        keep(rows, ROOT / "benchmarks" / "results" / "fourier_bessel.json")


if __name__ == "__main__":
    main()

"""How many labelled frames a second are made, on two cores and on a GPU; sasmodels beside us on the pattern that both make.

A frame is a drawn scene that is rendered, exposed on its detector and labelled.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import argparse
import multiprocessing
import statistics
import time
from collections.abc import Callable
from functools import lru_cache, partial
from multiprocessing.pool import Pool
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sasmodels.core import load_model
from sasmodels.direct_model import call_kernel

from beamsight.task import columns, example, find_task, make_batch
from beamsight.tasks.scattering_tags.render import render
from beamsight.tasks.scattering_tags.scene import ORDERS, SYSTEMS, Pattern
from studies.rows import ROOT, Row, keep, show

PROCESSES = 2


def make(task: str, side: int, batch: int, n: int, redraw: bool, first: int) -> None:
    """Makes `n` examples on torch's default device: with `redraw` from number `first` on, else always those drawn once."""
    found, start = find_task(task), first if redraw else 0
    drawn = None if redraw else drawn_once(task, n)
    for i in range(0, n, batch):
        indices = range(start + i, start + min(i + batch, n))
        make_batch(found, 0, indices, (side, side), drawn=None if drawn is None else drawn[i : i + batch])


@lru_cache
def drawn_once(task: str, n: int) -> list[Any]:
    """Scenes and detectors of the first `n` examples."""
    return [example(find_task(task), 0, i) for i in range(n)]


def one_thread() -> None:
    """A process uses one core: two of them are quicker than one with two threads."""
    torch.set_num_threads(1)


def on_cores(pool: Pool, work: Callable[[int], None], n: int, rounds: int) -> float:
    """Calls `work(first)` in every process at once; the `n` frames that each makes, a second; median of `rounds`."""
    pool.map(work, [0] * PROCESSES, chunksize=1)
    rates = []
    for k in range(1, rounds + 1):
        start = time.perf_counter()
        pool.map(work, [(PROCESSES * k + p) * n for p in range(PROCESSES)], chunksize=1)
        rates.append(PROCESSES * n / (time.perf_counter() - start))
    return statistics.median(rates)


def on_gpu(task: str, side: int, batch: int, rounds: int) -> float:
    """Frames a second on one GPU, of scenes drawn before; median of `rounds` batches."""
    rates = []
    with torch.device("cuda"):
        for _ in range(rounds + 2):
            start = time.perf_counter()
            make(task, side, batch, batch, False, 0)
            torch.cuda.synchronize()
            rates.append(batch / (time.perf_counter() - start))
    # The first batches allocate memory and draw.
    return statistics.median(rates[2:])


# The pattern that both make: spheres of a normal size distribution, correlated as hard spheres, on a flat background.
FRACTION, SPREAD, POINTS, SIGMAS, FLAT_PH = 0.2, 0.1, 9, 2.5, 1.0
WAVELENGTH_M, DISTANCE_M, SIDE_M = 1e-10, 2.0, 0.1
EMPTY: dict[str, Any] = {"ring_ph": np.zeros((SYSTEMS, ORDERS)), "ring_kind": np.zeros(SYSTEMS, int)}
RADII_M = np.geomspace(4e-9, 12e-9, 16)


def our_pattern(radii_m: NDArray[np.float64], side: int) -> torch.Tensor:
    """[B side side] the pattern of each radius, up to a factor, by the renderer that makes the training frames."""
    scenes = [
        Pattern(WAVELENGTH_M, DISTANCE_M, SIDE_M, 0.5, 0.5, flat_ph=FLAT_PH, form_ph=1e3, form_radius_m=r, form_spread=SPREAD,
                sphere_fraction=FRACTION, sphere_radius_m=r, **EMPTY)
        for r in radii_m
    ]  # fmt: skip
    return render(columns(scenes), (side, side))


def peer_pattern(radii_m: NDArray[np.float64], side: int) -> NDArray[np.float32]:
    """[B side side] the same by sasmodels: the same pixels, the same points of the size distribution, single precision."""
    y, x = (np.indices((side, side)) + 0.5) * (SIDE_M / side) - SIDE_M / 2
    radius = np.hypot(y, x)
    q = 4e-10 * np.pi / WAVELENGTH_M * np.sin(np.arctan(radius / DISTANCE_M) / 2)
    unit = q / np.maximum(radius, 1e-12)
    kernel = _peer().make_kernel([(unit * x).ravel(), (unit * y).ravel()])
    fixed = {"volfraction": FRACTION, "radius_pd": SPREAD, "radius_pd_n": POINTS, "radius_pd_nsigma": SIGMAS, "background": 0}
    return np.stack([call_kernel(kernel, fixed | {"radius": 1e10 * r}).reshape(side, side) for r in radii_m])


@lru_cache
def _peer() -> Any:
    return load_model("sphere@hardsphere", dtype="single", platform="dll")


def _our_patterns(side: int, n: int, first: int) -> None:
    for i in range(first, first + n, len(RADII_M)):
        our_pattern(RADII_M * (1 + i * 1e-6), side)


def _peer_patterns(side: int, n: int, first: int) -> None:
    for i in range(first, first + n, len(RADII_M)):
        peer_pattern(RADII_M * (1 + i * 1e-6), side)


def disagreement(side: int) -> float:
    """Root mean square of the relative difference between the two patterns, each scaled to mean 1, flat background aside."""
    ours, peers = our_pattern(RADII_M, side).numpy() - FLAT_PH, peer_pattern(RADII_M, side)
    scaled = [a / a.mean((1, 2), keepdims=True) for a in (ours, peers)]
    return float(np.sqrt(np.mean((scaled[0] / scaled[1] - 1) ** 2)))


def measure(pool: Pool, task: str, scale: int, rounds: int) -> list[Row]:
    """The rows; `scale` times a few frames a round."""
    small = on_cores(pool, partial(make, task, 256, 32, 64 * scale, False), 64 * scale, rounds)
    drawing = on_cores(pool, partial(make, task, 256, 32, 64 * scale, True), 64 * scale, rounds)
    large = on_cores(pool, partial(make, task, 1000, 4, 8 * scale, False), 8 * scale, rounds)
    ours = on_cores(pool, partial(_our_patterns, 256, 32 * scale), 32 * scale, rounds)
    peer = on_cores(pool, partial(_peer_patterns, 256, 32 * scale), 32 * scale, rounds)
    gpu = on_gpu(task, 256, 512, 2 * rounds) if torch.cuda.is_available() else None
    return [
        Row("render, exposure and labels 256², two cores", small, "frames/s", 600, paper="2.35"),
        Row("the same with drawing the scenes", drawing, "frames/s", paper="2.35"),
        Row("render, exposure and labels 1000², two cores", large, "frames/s", 60, paper="0.46"),
        Row("render, exposure and labels 256², one GPU", gpu, "frames/s", 20_000),
        Row("spheres and their structure factor 256², two cores", ours, "frames/s", peer, peer="sasmodels", peer_value=peer),
        Row("the same pattern, difference from sasmodels", 100 * disagreement(256), "% rms", 2, "lower"),
    ]


def main() -> None:
    """Measures, prints and keeps the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="scattering-tags")
    parser.add_argument("--quick", action="store_true", help="few frames: tries the benchmark, its figures are not kept")
    asked = parser.parse_args()
    scale = 1 if asked.quick else 8
    with multiprocessing.get_context("spawn").Pool(PROCESSES, one_thread) as pool:
        rows = measure(pool, asked.task, scale, 1 if asked.quick else 5)
    show(rows, "Simulating")
    if not asked.quick:
        keep(rows, ROOT / "benchmarks" / "results" / "simulate.json")


if __name__ == "__main__":
    main()

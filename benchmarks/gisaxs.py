"""How many patterns of lattices at grazing incidence are made a second, beside BornAgain on the same structure in the same run.

    python benchmarks/gisaxs.py [--quick]

Both on one thread, in turn. Ours makes batches of films that differ a little, as a simulation does, and one by itself. A powder
is for BornAgain a sum over turned lattices of equal cost: a few are timed, and counted as many times as the study of agreement
needs. BornAgain gets an environment of its own, made once in the user's cache.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import argparse
import statistics
import time
from contextlib import nullcontext
from dataclasses import replace

import numpy as np
import torch

from beamsight.ahead import keep_memory
from beamsight.physics.films import Film
from beamsight.physics.gisaxs import render
from beamsight.task import columns
from benchmarks.peers import BORNAGAIN, Ask, asking
from studies.gisaxs_agreement import PEER, TURNS, asked, crystal_film, powder_film
from studies.rows import ROOT, Row, keep, show

FACTOR = 200
TIMED = 2  # turns of a powder
BATCHES = {"cpu": {100: 16, 1000: 2}, "cuda": {100: 256, 1000: 8}}


def ours(film: Film, side: int, batch: int, rounds: int, device: str = "cpu") -> float:
    """Frames a second, median of `rounds`, `batch` films at once that differ a little."""
    # A default device, even the processor, costs some microseconds a call.
    with torch.device(device) if device != "cpu" else nullcontext():
        films, rates = columns([replace(film, radius_m=film.radius_m * (1 - 1e-4 * n)) for n in range(batch)]), []
        for _ in range(rounds + 2):
            _wait(device)
            start = time.perf_counter()
            render(films, (side, side))
            _wait(device)
            rates.append(batch / (time.perf_counter() - start))
    return statistics.median(rates[2:])


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def theirs(peer: Ask, film: Film, side: int) -> float:
    """Frames a second of BornAgain: whole patterns, of a powder the half that the other half mirrors."""
    if film.single:
        return 1 / peer(asked(film, side, 1))["seconds"]
    return TIMED / TURNS / peer(asked(film, side, TIMED))["seconds"]


def measure(peer: Ask, sides: tuple[int, ...], rounds: int) -> list[Row]:
    """The rows."""
    rows = []
    crystal = replace(crystal_film("FCC100"), cells=np.array([15.0, 15.0, 15.0]))
    for title, film in (("in-plane powder, FCC 111", powder_film("FCC111")), ("finite crystal, FCC 100", crystal)):
        for side in sides:
            rate = theirs(peer, film, side)
            timed = max(rounds * 100 // side, 3)
            found, lone = (ours(film, side, batch, timed) for batch in (BATCHES["cpu"][side], 1))
            peers = {"peer": "BornAgain, one thread", "peer_value": rate}
            rows.append(Row(f"{title}, {side}², one thread", found, "frames/s", FACTOR * rate, **peers))
            rows.append(Row(f"{title}, {side}², times as quick as BornAgain", found / rate, "x", FACTOR))
            rows.append(Row(f"{title}, {side}², a frame by itself, one thread", lone, "frames/s", **peers))
            if torch.cuda.is_available():
                rows.append(Row(f"{title}, {side}², one GPU", ours(film, side, BATCHES["cuda"][side], 5, "cuda"), "frames/s"))
    return rows


def main() -> None:
    """Measures, prints and keeps the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small frames only: tries the benchmark, its figures are not kept")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_memory()  # as simulate and train do
    with asking(BORNAGAIN, PEER) as peer:
        rows = measure(peer, (100,) if options.quick else (100, 1000), 5 if options.quick else 20)
    show(rows, "Grazing incidence")
    if not options.quick:
        keep(rows, ROOT / "benchmarks" / "results" / "gisaxs.json")


if __name__ == "__main__":
    main()

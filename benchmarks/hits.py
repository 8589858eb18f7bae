"""How long a decision on a frame takes: the network's, and peakfinder8 beside OM's compiled one, on the same frames in one run.

    python benchmarks/hits.py [--model xfel-hits] [--quick]

The frames of the race are measured ones, in the folder that BEAMSIGHT_DATA names (default ../shared/data), under sfx/. OM needs
NumPy 1: it gets an environment of its own, made once in the user's cache.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import argparse
import json
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from beamsight.peakfinder8 import Peaks, Search, peaks_of, prepare
from hits_network import CORES, MEASURED_LARGE, decision_rows, end_to_end_rows
from peers import ONDAMONITOR, Ask, asking
from studies.rows import ROOT, Row, keep, show
from studies.sfx_frames import Measured, measured, reference

FRAMES = {
    "JUNGFRAU module, 0.5 Mpx": "jungfrau/conv0",
    "CSPAD, 2.3 Mpx in 64 panels": "cspad/idx-20130301060858401.cbf",
    "Rayonix, 3.7 Mpx": "rayonix/hit-20181213155134902",
    "PILATUS 6M, a hit": "pilatus/thau_3_2_0003",
    "PILATUS 6M, a miss": "pilatus/thau_3_2_0017",
    "EIGER 16M": MEASURED_LARGE,
}


def hand_over(ask: Ask, frame: Measured, folder: Path) -> None:
    """Hands OM's finder a frame, with the parameters and panels that the frame's reference was made with."""
    told = reference()[frame.name]
    (folder / "asked.json").write_text(json.dumps({"layout": told["layout"], "params": told["params"]}))
    for name, array in (("image", frame.image), ("mask", frame.mask), ("radius", frame.radius_px)):
        np.save(folder / f"{name}.npy", array)
    ask({"frame": str(folder)})


@dataclass
class Times:
    """Median milliseconds a frame of ours on so many cores and of OM's, and the peaks of both."""

    cores: float
    one_core: float
    fast: float
    theirs: float
    peaks: Peaks
    their_peaks: list[tuple[float, float]]


def milliseconds(search: Search, frame: Measured, threads: int) -> float:
    """Of one search."""
    start = time.perf_counter()
    peaks_of(search, frame.image, frame.mask, threads)
    return 1e3 * (time.perf_counter() - start)


def race(frame: Measured, other: Ask, rounds: int) -> Times:
    """Ours and OM's in turn, so that whatever else the machine does meets both."""
    search = prepare(frame.radius_px, frame.panels, frame.parameters)
    fast = prepare(frame.radius_px, frame.panels, replace(frame.parameters, fast=True))
    with TemporaryDirectory() as folder:
        hand_over(other, frame, Path(folder))
        rows = []
        for _ in range(rounds + 1):
            ours = [milliseconds(s, frame, n) for s, n in ((search, CORES), (search, 1), (fast, CORES))]
            rows.append([*ours, 1e3 * other({})["seconds"]])
        # The first round compiles and fetches memory.
        medians = [statistics.median(column) for column in zip(*rows[1:], strict=True)]
        return Times(*medians, peaks_of(search, frame.image, frame.mask), other({})["peaks"])


def agreement(times: Times) -> float:
    """Per cent of OM's peaks that have one of ours within 0.01 px; 100 where neither finds any."""
    theirs = np.array(times.their_peaks, float).reshape(-1, 2)
    apart = np.hypot(np.subtract.outer(theirs[:, 0], times.peaks.x_px), np.subtract.outer(theirs[:, 1], times.peaks.y_px))
    near = apart.min(1, initial=np.inf) < 0.01
    return 100 * float(near.mean()) if len(theirs) else 100.0 * (len(times.peaks) == 0)


def peak_rows(other: Ask, rounds: int) -> list[Row]:
    """The rows of the classical peaks."""
    rows = []
    for title, name in FRAMES.items():
        times = race(measured(name), other, rounds)
        asked: dict[str, Any] = {"asked": times.theirs, "better": "lower", "peer": "OM, ms", "peer_value": times.theirs}
        rows += [
            Row(f"peakfinder8, {title}, two cores", times.cores, "ms", **asked),
            Row(f"peakfinder8, {title}, one core", times.one_core, "ms", **asked),
            Row(f"peakfinder8, {title}, two cores, fast statistics", times.fast, "ms"),
            Row(f"peakfinder8, {title}, peaks", times.peaks.found, "", peer="OM", peer_value=len(times.their_peaks)),
            Row(f"peakfinder8, {title}, OM's peaks that are ours to 0.01 px", agreement(times), "%", 97),
        ]
    return rows


def network_rows(model: str, other: Ask, rounds: int, quick: bool) -> list[Row]:
    """The rows of the network."""
    with TemporaryDirectory() as folder:
        hand_over(other, measured(MEASURED_LARGE), Path(folder))
        rows = decision_rows(model, lambda: 1e3 * float(other({})["seconds"]), rounds)
        return rows + end_to_end_rows(model, Path(folder), 1 if quick else 3, quick)


def main() -> None:
    """Measures, prints and keeps the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="xfel-hits", help="a task or a model's folder")
    parser.add_argument("--quick", action="store_true", help="few rounds: tries the benchmark, its figures are not kept")
    asked = parser.parse_args()
    rounds = 2 if asked.quick else 15
    with asking(ONDAMONITOR, Path(__file__).with_name("hits_peer.py")) as other:
        rows = network_rows(asked.model, other, rounds, asked.quick) + peak_rows(other, rounds)
    show(rows, "Hits")
    if not asked.quick:
        keep(rows, ROOT / "benchmarks" / "results" / "hits.json")


if __name__ == "__main__":
    main()

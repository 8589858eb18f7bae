"""How well is the beam found where a file does not say where it is, and does the answer know?

    python studies/centre.py [--frames 1000] [--bundle scattering-tags] [--quick]

Simulated test frames without their centre, answered by a model; writes docs/studies/centre.json and the table of centre.md.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beamsight.bundle import Bundle, load
from beamsight.examples import simulate
from beamsight.frame import Frame
from beamsight.task import find_task
from rows import Row, machine, publish, show

SEED, GROUPS = 5, 8
Floats = NDArray[np.floating[Any]]


def measured(bundle: Bundle, n: int) -> tuple[Floats, Floats, NDArray[np.bool_], NDArray[np.bool_]]:
    """Of `n` frames (distance from the truth px, stated error px, is a ring visible, is the beam on the frame)."""
    truths: list[Frame] = []

    def hidden() -> Iterator[Frame]:
        for frame in simulate(find_task(bundle.card["task"]), n, SEED):
            truths.append(frame)
            yield replace(frame, geometry=replace(frame.geometry, centre_px=None))

    found = [(a.centre_px or (np.nan, np.nan), a.centre_error_px) for a in bundle.predict(hidden())]
    true = np.array([frame.geometry.centre_px for frame in truths], float)
    off = np.hypot(*(np.array([place for place, _ in found]) - true).T)
    ring = np.array([frame.truth["ring"] is True for frame in truths])
    inside = ((true >= 0) & (true <= np.array([np.array(f.image.shape) - 1 for f in truths]))).all(1)
    answered = np.isfinite(off)  # a frame without a trusted pixel is refused
    return off[answered], np.array([error for _, error in found], float)[answered], ring[answered], inside[answered]


def rows(off: Floats, said: Floats, ring: NDArray[np.bool_], inside: NDArray[np.bool_]) -> list[Row]:
    """What was asked, and whether the stated error holds."""
    sure = ring & (said <= np.median(said[ring]))
    return [
        Row("median error, a ring visible", float(np.median(off[ring])), "px", 1.5, "lower"),
        Row("median error, a ring visible and the beam on the frame", float(np.median(off[ring & inside])), "px", better="lower"),
        Row("median error, the surer half of frames with a ring", float(np.median(off[sure])), "px", better="lower"),
        Row("median error, all frames", float(np.median(off)), "px", better="lower"),
        Row("frames within the stated error, which should be 68.3", float(100 * np.mean(off <= said)), "%"),
    ]


def table(off: Floats, said: Floats) -> str:
    """Frames in groups of rising stated error: what was said and what was so."""
    lines = ["| stated error, px | median error, px | within the stated error |", "|---|---|---|"]
    for group in np.array_split(np.argsort(said), GROUPS):
        within = np.mean(off[group] <= said[group])
        lines.append(
            f"| {said[group].min():.1f} - {said[group].max():.1f} | {np.median(off[group]):.1f} | {100 * within:.0f} % |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measures, prints and keeps the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--bundle", default="scattering-tags", help="a model by name or folder")
    parser.add_argument("--quick", action="store_true", help="64 frames; nothing kept")
    options = parser.parse_args()
    n = 64 if options.quick else options.frames
    found = measured(load(options.bundle), n)
    figures, text = rows(*found), table(*found[:2])
    print(text)
    show(figures, f"The beam's centre on {n:,} frames")
    if not options.quick:
        sizes = f"{len(found[0]):,} frames of 256² that were answered, seed {SEED}. On {machine()}."
        publish(figures, "centre", {"sizes": sizes, "groups": text})


if __name__ == "__main__":
    main()

"""OM's compiled peakfinder8, timed by request of `hits.py`, which starts this in an environment with OM and NumPy 1.

Each line of standard input is {"frame": folder} to prepare a frame, or {} to search it once; each line of standard output its
answer. Nothing of beamsight is imported here.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from om.algorithms.crystallography import Peakfinder8PeakDetection


def prepare(folder: Path) -> tuple[Any, Any]:
    """The search that `asked.json` names, and the image."""
    asked = json.loads((folder / "asked.json").read_text())
    with h5py.File(folder / "mask.h5", "w") as file:
        file["mask"] = np.load(folder / "mask.npy").astype(np.int8)
    mask = {"bad_pixel_map_filename": str(folder / "mask.h5"), "bad_pixel_map_hdf5_path": "/mask"}
    search = Peakfinder8PeakDetection(
        radius_pixel_map=np.load(folder / "radius.npy"),
        layout_info=asked["layout"],
        crystallography_parameters=asked["params"] | mask,
    )
    return search, np.load(folder / "image.npy")


def find(search: Any, image: Any) -> dict[str, Any]:
    """Seconds of one search, and centres (x, y) of its peaks."""
    start = time.perf_counter()
    peaks = search.find_peaks(data=image)
    return {"seconds": time.perf_counter() - start, "peaks": list(zip(peaks["fs"], peaks["ss"]))}  # noqa: B905


def main() -> None:
    """Answers line by line until standard input ends."""
    prepared: tuple[Any, Any] = (None, None)
    for line in sys.stdin:
        asked, answer = json.loads(line), {}
        if asked:
            prepared = prepare(Path(asked["frame"]))
        else:
            answer = find(*prepared)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()

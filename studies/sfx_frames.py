"""Measured frames with Bragg peaks, and what another program's peakfinder8 found on them (`peakfinder8_reference.json`).

They are looked for in the folder that BEAMSIGHT_DATA names (default ../shared/data), under sfx/. Masks and distances from the
beam are those that the other program was given.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import json
import os
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beamsight.frame import Panel
from beamsight.peakfinder8 import Peakfinder8
from studies.rows import ROOT

FRAMES = Path(os.environ.get("BEAMSIGHT_DATA", ROOT.parent / "shared" / "data")) / "sfx"
CSPAD_PIXEL_MM = 0.10992
# What the other program, OM, calls our parameters.
OM_NAMES = {
    "threshold": "adc_threshold",
    "min_snr": "minimum_snr",
    "min_pix_count": "min_pixel_count",
    "max_pix_count": "max_pixel_count",
    "local_bg_radius": "local_bg_radius",
    "min_res": "min_res",
    "max_res": "max_res",
    "max_peaks": "max_num_peaks",
}


@dataclass(frozen=True)
class Measured:
    """A frame: `image` [H W] counts, `mask` (True = trust), `radius_px` from the beam, `panels` (() = one), the parameters
    and the peaks [n 6] (x, y, total, pixels, maximum, sigma) of the other
    program, which calls its sigma snr."""

    name: str
    image: NDArray[np.float32]
    mask: NDArray[np.bool_]
    radius_px: NDArray[np.float32]
    panels: tuple[Panel, ...]
    parameters: Peakfinder8
    peaks: NDArray[np.float64]


@cache
def reference() -> dict[str, Any]:
    """What the other program was asked and answered, by the name of the frame. Raises FileNotFoundError without the frames."""
    found: dict[str, Any] = json.loads((FRAMES / "peakfinder8_reference.json").read_text())["frames"]
    return found


def measured(name: str) -> Measured:
    """The frame of that name in `reference()`. Raises FileNotFoundError without the frames."""
    kind, _, label = name.partition("/")
    image, mask, radius = READ[kind](label)
    told = reference()[name]
    asked = told["params"]
    parameters = Peakfinder8(*(asked[OM_NAMES[f.name]] for f in fields(Peakfinder8) if f.name in OM_NAMES))
    peaks = np.array(told["peaks"], float).reshape(-1, 6)
    return Measured(name, image, mask, radius, _panels(told["layout"]), parameters, peaks)


def _panels(layout: dict[str, int]) -> tuple[Panel, ...]:
    height, width, down, across = (layout[k] for k in ("asic_ny", "asic_nx", "nasics_y", "nasics_x"))
    places = [(y * height, x * width) for y in range(down) for x in range(across)]
    return tuple(Panel(y, y + height, x, x + width) for y, x in places) if len(places) > 1 else ()


Parts = tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float32]]


def _flat(values: NDArray[Any], low: float, high: float, centre_px: tuple[float, float]) -> Parts:
    """A frame whose counts from `low` to below `high` are good, and whose beam is at (y, x)."""
    y, x = np.indices(values.shape)
    radius = np.hypot(x - centre_px[1], y - centre_px[0]).astype(np.float32)
    return values.astype(np.float32), (values >= low) & (values < high), radius


def _by_fabio(path: str) -> NDArray[Any]:
    import fabio

    return np.asarray(fabio.open(str(FRAMES / path)).data)


def _by_h5py(path: str, name: str) -> NDArray[Any]:
    import h5py

    with h5py.File(FRAMES / path) as file:
        return np.asarray(file[name][()])


def _cspad(label: str) -> Parts:
    path = "cspad_lcls/thermolysin_cspad_4frames.h5"
    number = [f.decode().split("/")[-1] for f in _by_h5py(path, "entry/file_name")].index(label)
    values = _by_h5py(path, "entry/data")[number].reshape(-1, 388)
    x, y = (_by_h5py(path, f"geometry/{axis}_mm").reshape(-1, 388) for axis in "xy")
    return values.astype(np.float32), (values > -1000) & (values < 16000), np.hypot(x, y) / np.float32(CSPAD_PIXEL_MM)


def _jungfrau(label: str) -> Parts:
    path = "jungfrau_module/jungfrau_mod5.h5"
    values = _by_h5py(path, "converted/data")[["conv0", "conv12"].index(label)]
    # No geometry came with it; the other program was given this beam.
    return _flat(values, np.nextafter(np.float32(-50), np.float32(0)), 30000, (100, -80))


READ = {
    "cspad": _cspad,
    "rayonix": lambda _: _flat(_by_h5py("rayonix_mfx/mfx_rayonix_kapton_hit.h5", "entry/data"), 1, 60000, (960, 960)),
    "jungfrau": _jungfrau,
    "pilatus": lambda label: _flat(_by_fabio(f"pilatus6m_gridscan/{label}.cbf.bz2"), 0, 100000, (1306.96, 1261.61)),
    "eiger16m": lambda label: _flat(_by_fabio(f"eiger16m/{label}.cbf.gz"), 0, 60000, (2300.41, 2216.06)),
    "timepix": lambda label: _flat(_by_fabio(f"timepix_ed/{label}-stdgoni_0001.img"), -np.inf, np.inf, (240, 246)),
}

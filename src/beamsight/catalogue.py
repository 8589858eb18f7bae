"""The detectors of serial crystallography, by name: sizes, gaps and pixels as their makers and users publish them. NumPy."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import numpy as np

from beamsight.sensors import Layout, Make, Sensor, assembled, grid, pinwheel, stack

FORMS = ("assembled", "stack")

_CSPAD = Make(109.92e-6, (1, 2), (185, 194), (0, 3))
_EPIX = Make(100e-6, (2, 2), (176, 192), (3, 3))
_JUNGFRAU = Make(75e-6, (2, 4), (256, 256), (2, 2))
_AGIPD = Make(200e-6, (8, 1), (64, 128), (2, 0))
# Sixteen fibre tapers on as many chips, 4 x 4 pixels binned; a seam takes some of the light.
_RAYONIX = Make(177.08e-6, (4, 4), (480, 480), (0, 0), wider=-0.3)
_PILATUS = Make(172e-6, (1, 1), (195, 487))
_EIGER = Make(75e-6, (1, 1), (514, 1030))
_EIGER2 = Make(75e-6, (1, 1), (512, 1028))


def _cspad() -> list[Sensor]:
    """Four quadrants about a hole, each of four pairs of sensors that lie upright and flat by turns."""
    quadrant = []
    for pair, (y, x) in enumerate(((-213, -213), (-213, 213), (213, 213), (213, -213))):
        for side in (-1, 1):
            away = side * 107.0
            middle = (y + away, float(x)) if pair % 2 == 0 else (float(y), x + away)
            quadrant.append(Sensor(middle, pair % 4))
    # Sensors were glued by hand: some tenths of a degree.
    return [
        replace(s, tilt_rad=0.004 * float(np.sin(2.4 * n))) for n, s in enumerate(pinwheel(quadrant, (428, 428), 60, turned=True))
    ]


def _epix() -> list[Sensor]:
    return pinwheel(grid(2, 2, (385, 415)), (390, 420), 80, turned=True)


def _agipd() -> list[Sensor]:
    """Four quadrants of four sensors, each 512 wide and 128 high as it hangs."""
    quadrant = [replace(s, turns=1) for s in grid(4, 1, (157, 0))]
    return pinwheel(quadrant, (314, 266), 24, turned=False)


def _jungfrau4() -> list[Sensor]:
    return pinwheel(grid(2, 1, (550, 0)), (550, 520), 68, turned=False)


SENSORS = {
    "CSPAD": (_CSPAD, _cspad),
    "ePix10k 2M": (_EPIX, _epix),
    "JUNGFRAU 1M": (_JUNGFRAU, lambda: grid(2, 1, (550, 0))),
    "JUNGFRAU 4M": (_JUNGFRAU, _jungfrau4),
    "JUNGFRAU 16M": (_JUNGFRAU, lambda: pinwheel(grid(4, 2, (550, 1040)), (1100, 1040), 68, turned=False)),
    "AGIPD 1M": (_AGIPD, _agipd),
    "Rayonix MX340": (_RAYONIX, lambda: [Sensor((0.0, 0.0))]),
    "PILATUS 300K": (_PILATUS, lambda: grid(3, 1, (212, 494))),
    "PILATUS 2M": (_PILATUS, lambda: grid(8, 3, (212, 494))),
    "PILATUS 6M": (_PILATUS, lambda: grid(12, 5, (212, 494))),
    "EIGER 1M": (_EIGER, lambda: grid(2, 1, (551, 1040))),
    "EIGER 4M": (_EIGER, lambda: grid(4, 2, (551, 1040))),
    "EIGER 16M": (_EIGER, lambda: grid(8, 4, (551, 1040))),
    "EIGER2 16M": (_EIGER2, lambda: grid(8, 4, (550, 1040))),
}


@lru_cache(maxsize=64)
def layout(name: str, form: str = "assembled") -> Layout:
    """The detector of that name in SENSORS, as one image with gaps ("assembled") or with its sensors below one another
    ("stack")."""
    make, sensors = SENSORS[name]
    return (assembled if form == "assembled" else stack)(name, make, sensors())

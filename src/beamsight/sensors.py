"""How detectors are put together: sensors of chips with gaps, as the image a file holds and as places in the plane. NumPy.

Numbers in px from published descriptions; an image is stored either assembled, with gaps, or as a stack of its sensors.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from beamsight.frame import Panel

PANELS = 256  # the most that a table holds: the chips of 32 JUNGFRAU sensors


@dataclass(frozen=True)
class Sensor:
    """One sensor in the plane: `middle` (y, x) px, `turns` by a quarter and `tilt_rad`."""

    middle: tuple[float, float]
    turns: int = 0
    tilt_rad: float = 0.0


@dataclass(frozen=True)
class Make:
    """How the sensors of a detector are made: `chips` (rows, columns) of `chip` (rows, columns) px with `gap` (rows, columns) px
    between them, which the pixels beside it share as if they were wider; a negative `wider` dims pixels at seams instead."""

    pixel_m: float
    chips: tuple[int, int]
    chip: tuple[int, int]
    gap: tuple[int, int] = (0, 0)
    wider: float | None = None

    def stored(self) -> tuple[int, int]:
        """Pixels (rows, columns) of a sensor."""
        return self.chips[0] * self.chip[0], self.chips[1] * self.chip[1]

    def spread(self) -> tuple[int, int]:
        """The same in the plane, gaps included."""
        rows, columns = self.stored()
        return rows + (self.chips[0] - 1) * self.gap[0], columns + (self.chips[1] - 1) * self.gap[1]


@dataclass(frozen=True)
class Layout:
    """A detector as it is stored: `shape` (H, W), its `panels`, whose corners are px from the detector's middle, and `wider`
    [P 4], by how many px the first and last row and the first and last column of each are wider."""

    name: str
    pixel_m: float
    shape: tuple[int, int]
    panels: tuple[Panel, ...]
    wider: NDArray[np.float32]

    def table(self, middle_px: tuple[float, float] = (0.0, 0.0)) -> NDArray[np.float32]:
        """[PANELS 14] the panels as numbers (`physics.places`) where the detector's middle lies at `middle_px` from the beam."""
        found = np.zeros((PANELS, 14), np.float32)
        found[: len(self._rows)] = self._rows
        found[: len(self._rows), 4:6] += np.array(middle_px, np.float32)
        return found

    @cached_property
    def _rows(self) -> NDArray[np.float32]:
        rows = [(p.y0, p.x0, p.y1, p.x1, *(p.corner_px or (0.0, 0.0)), *p.slow_px, *p.fast_px) for p in self.panels]
        return np.concatenate([np.array(rows, np.float32), self.wider], 1)

    def placed(self, middle_px: tuple[float, float]) -> tuple[Panel, ...]:
        """Its panels where its middle lies at `middle_px` from the beam."""
        return tuple(
            replace(p, corner_px=(p.corner_px[0] + middle_px[0], p.corner_px[1] + middle_px[1]))
            for p in self.panels
            if p.corner_px
        )

    @cached_property
    def bounds_px(self) -> tuple[float, float, float, float]:
        """(y low, y high, x low, x high) of its pixels' middles from its own."""
        corners = np.array([_reach(p) for p in self.panels])
        low, high = corners.min(0), corners.max(0)
        return float(low[0]), float(high[1]), float(low[2]), float(high[3])


def _reach(panel: Panel) -> tuple[float, float, float, float]:
    rows, columns = panel.y1 - panel.y0 - 1, panel.x1 - panel.x0 - 1
    ends = [
        np.array(panel.corner_px) + r * np.array(panel.slow_px) + c * np.array(panel.fast_px)
        for r in (0, rows)
        for c in (0, columns)
    ]
    y, x = np.array(ends).T
    return float(y.min()), float(y.max()), float(x.min()), float(x.max())


def stack(name: str, make: Make, sensors: list[Sensor]) -> Layout:
    """Sensors one below the other as their readout gives them, without gaps; their places may be turned and tilted."""
    panels, wider = [], []
    for number, sensor in enumerate(sensors):
        for panel, extra in _chips(make, sensor):
            down = number * make.stored()[0]
            panels.append(replace(panel, y0=panel.y0 + down, y1=panel.y1 + down))
            wider.append(extra)
    height, width = make.stored()
    return Layout(name, make.pixel_m, (height * len(sensors), width), tuple(panels), np.array(wider, np.float32))


def assembled(name: str, make: Make, sensors: list[Sensor]) -> Layout:
    """One image with the sensors where they lie, to the next pixel and without their tilts, and gaps between them."""
    found = [_upright(p, w) for s in sensors for p, w in _chips(make, replace(s, tilt_rad=0.0))]
    corners = np.array([p.corner_px for p, _ in found])
    origin = corners.min(0)
    starts = np.round(corners - origin).astype(int)
    panels = []
    for (panel, _), (y, x) in zip(found, starts.tolist(), strict=True):
        place = (float(origin[0] + y), float(origin[1] + x))
        panels.append(replace(panel, y0=y, y1=y + panel.y1, x0=x, x1=x + panel.x1, corner_px=place))
    shape = (max(p.y1 for p in panels), max(p.x1 for p in panels))
    return _centred(Layout(name, make.pixel_m, shape, tuple(panels), np.array([w for _, w in found], np.float32)))


def _centred(layout: Layout) -> Layout:
    low_y, high_y, low_x, high_x = layout.bounds_px
    return replace(layout, panels=layout.placed((-(low_y + high_y) / 2, -(low_x + high_x) / 2)))


def _chips(make: Make, sensor: Sensor) -> list[tuple[Panel, tuple[float, float, float, float]]]:
    """The chips of a sensor as panels of an image of its own, and by how much their four borders are wider."""
    angle = sensor.turns * np.pi / 2 + sensor.tilt_rad
    cos, sin = round(float(np.cos(angle)), 12), round(float(np.sin(angle)), 12)
    slow, fast = np.array([cos, -sin]), np.array([sin, cos])
    height, width = make.spread()
    first = np.array(sensor.middle) - (height - 1) / 2 * slow - (width - 1) / 2 * fast
    extra = [make.wider if make.wider is not None else g / 2 for g in make.gap]
    found = []
    for i in range(make.chips[0]):
        for j in range(make.chips[1]):
            corner = first + i * (make.chip[0] + make.gap[0]) * slow + j * (make.chip[1] + make.gap[1]) * fast
            y, x = i * make.chip[0], j * make.chip[1]
            panel = Panel(y, y + make.chip[0], x, x + make.chip[1], (float(corner[0]), float(corner[1])), (cos, -sin), (sin, cos))
            inner = ((i > 0), (i + 1 < make.chips[0]), (j > 0), (j + 1 < make.chips[1]))
            found.append((panel, tuple(float(e) * n for e, n in zip(np.repeat(extra, 2), inner, strict=True))))
    return found  # type: ignore[return-value]


def _upright(panel: Panel, wider: tuple[float, float, float, float]) -> tuple[Panel, tuple[float, float, float, float]]:
    """The same chip read along the image's own rows and columns, its first pixel at (0, 0)."""
    low_y, _, low_x, _ = _reach(panel)
    rows, columns = panel.y1 - panel.y0, panel.x1 - panel.x0
    a, b, c, d = wider
    turned = {(1, 0): (a, b, c, d), (-1, 0): (b, a, d, c), (0, -1): (c, d, b, a), (0, 1): (d, c, a, b)}
    slow = (round(panel.slow_px[0]), round(panel.slow_px[1]))
    if slow[0] == 0:
        rows, columns = columns, rows
    return Panel(0, rows, 0, columns, (low_y, low_x)), turned[slow]


def grid(rows: int, columns: int, pitch: tuple[float, float]) -> list[Sensor]:
    """Sensors in rows and columns, `pitch` (y, x) px apart, about (0, 0)."""
    return [
        Sensor(((i - (rows - 1) / 2) * pitch[0], (j - (columns - 1) / 2) * pitch[1])) for i in range(rows) for j in range(columns)
    ]


def pinwheel(quadrant: list[Sensor], half: tuple[float, float], hole: float, turned: bool) -> list[Sensor]:
    """Four quadrants of `half` (y, x) px from middle to side around a hole of `hole` px, each shifted along its neighbour; turned
    by quarters or all alike."""
    found = []
    for k in range(4):
        cos, sin = ((1, 0), (0, 1), (-1, 0), (0, -1))[k]
        y, x = half[0] + hole / 2, half[1] + hole / 2
        # (up, left) and on, clockwise; the shift leaves a square hole.
        signs = ((-1, -1), (-1, 1), (1, 1), (1, -1))[k]
        shift = ((0, hole / 2), (hole / 2, 0), (0, -hole / 2), (-hole / 2, 0))[k]
        for s in quadrant:
            my, mx = (cos * s.middle[0] + sin * s.middle[1], cos * s.middle[1] - sin * s.middle[0]) if turned else s.middle
            middle = (signs[0] * y + shift[0] + my, signs[1] * x + shift[1] + mx)
            found.append(Sensor(middle, (s.turns + (k if turned else 0)) % 4, s.tilt_rad))
    return found

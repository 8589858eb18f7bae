"""A robustness report as files: one HTML page that opens anywhere, without a network, and its numbers as JSON and CSV."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from beamsight.answers import writing
from beamsight.charts import Box, joined
from beamsight.display import LEGEND, data_url, picture, webp
from beamsight.errors import CannotWrite
from beamsight.frame import Frame
from beamsight.report import page_template

PAGE, NUMBERS, TABLE = "robustness.html", "robustness.json", "robustness.csv"
COLUMNS = (
    "value", "score", "low", "high", "loss", "loss_low", "loss_high", "first_labels", "control", "refused"
)  # fmt: skip
SIDE_PX, QUALITY = 150, 60
BOX = Box()
INSET_PX = 20
TICK = 0.1
WORST = 3

# {(name of a sweep, value): its example frames}.
Examples = dict[tuple[str, float], Sequence[Frame]]


@dataclass(frozen=True)
class Shown:
    """One example picture: a data URL, and where the told centre lies on it in percent (None: not drawn)."""

    url: str
    top: float | None = None
    left: float | None = None


@dataclass(frozen=True)
class Plot:
    """A curve in px: `ticks` (y, label), `points` (x, y, low y, high y, told value, title), and lines as SVG lists of points."""

    ticks: list[tuple[float, str]]
    points: list[tuple[float, float, float, float, str, str]]
    line: str
    band: str
    first_labels: str
    control: str
    undisturbed: float | None


def make_folder(folder: Path) -> None:
    """Make the folder of a report, before any work is done for it. Raises CannotWrite."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CannotWrite(f"{folder}: cannot be written ({error.strerror}); give another -o folder") from None


def write_robustness(folder: Path, about: dict[str, Any], report: dict[str, Any], examples: Examples) -> Path:
    """`robustness.html`, `robustness.json` and `robustness.csv` in `folder`; gives the path of the page. Raises CannotWrite."""
    make_folder(folder)
    with writing(folder / NUMBERS) as part:
        part.write_text(json.dumps(about | report, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    with writing(folder / TABLE) as part, part.open("w", newline="") as file:
        _write_csv(csv.writer(file), report)
    page = page_template("robustness.html").stream(
        about=about,
        report=report,
        parts=[_part(sweep, examples, floor(report)) for sweep in report["sweeps"]],
        limit=report["limit_points"],
        legend=LEGEND,
        box=BOX,
        made=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
    )
    with writing(folder / PAGE) as part, part.open("wb") as file:
        page.dump(file, encoding="utf-8", errors="backslashreplace")
    return folder / PAGE


def _write_csv(writer: Any, report: dict[str, Any]) -> None:
    names = list(dict.fromkeys(name for s in report["sweeps"] for p in s["points"] for name in p["tags"]))
    writer.writerow(["sweep", *COLUMNS, *(f"AP {name}" for name in names)])
    for sweep in report["sweeps"]:
        for p in sweep["points"]:
            writer.writerow([sweep["name"], *(p[c] for c in COLUMNS), *(p["tags"].get(n) for n in names)])


def _part(sweep: dict[str, Any], examples: Examples, low: float) -> dict[str, Any]:
    """What the page shows of one sweep: its numbers, its plot, pictures in rows [example][value], the worst tags."""
    frames = [examples[sweep["name"], p["value"]] for p in sweep["points"]]
    # Where a disturbance moves the told centre, the page shows where to.
    told = any(a.geometry.centre_px != b.geometry.centre_px for row in frames for a, b in zip(row, frames[0], strict=True))
    rows = [[_shown(f, told) for f in row] for row in zip(*frames, strict=True)]
    return {"sweep": sweep, "plot": plot(sweep, low), "rows": rows, "worst": _worst(sweep)}


def _shown(frame: Frame, told: bool) -> Shown:
    url = data_url(webp(picture(frame, SIDE_PX), QUALITY))
    centre, (height, width) = frame.geometry.centre_px, frame.image.shape
    if not told or centre is None:
        return Shown(url)
    return Shown(url, 100 * (centre[0] + 0.5) / height, 100 * (centre[1] + 0.5) / width)


def _worst(sweep: dict[str, Any]) -> tuple[float | None, list[tuple[str, float, float]]]:
    """The value that loses most, and (name, AP that its loss is counted from, AP) of the tags that lose most there."""
    scored = [p for p in sweep["points"] if p["loss"] is not None]
    if not scored:
        return None, []
    point = max(scored, key=lambda p: p["loss"])
    pairs = [(name, point["before"][name], point["tags"][name]) for name in sweep["tags"]]
    losses = [pair for pair in pairs if None not in pair]
    return point["value"], sorted(losses, key=lambda row: row[2] - row[1])[:WORST]


def floor(report: dict[str, Any]) -> float:
    """Where the y axis of every plot begins: at the tick below all that is drawn, so that plots can be compared."""
    drawn = [p[k] for s in report["sweeps"] for p in s["points"] for k in ("low", "first_labels", "control")]
    lowest = min((v for v in drawn if v is not None), default=0.0)
    return max(0.0, math.floor(lowest / TICK + 1e-9) * TICK)


def plot(sweep: dict[str, Any], low: float) -> Plot:
    """The curve of a sweep, its y axis from `low` to 1; values stand evenly, as they were chosen from mild to bad."""
    points = sweep["points"]
    step = (BOX.x(1) - BOX.x(0) - 2 * INSET_PX) / max(1, len(points) - 1)

    def x(i: int) -> float:
        return BOX.x(0) + INSET_PX + i * step

    def y(score: float) -> float:
        return BOX.y((score - low) / (1 - low))

    def line(score: Callable[[dict[str, Any]], float | None]) -> str:
        return joined((x(i), y(v)) for i, v in enumerate(map(score, points)) if v is not None)

    seen = [(i, p) for i, p in enumerate(points) if p["score"] is not None]
    spans = [(x(i), y(p["low"]), y(p["high"])) for i, p in seen]
    level = sweep["undisturbed"]
    return Plot(
        ticks=[(y(low + n * TICK), f"{low + n * TICK:.1f}") for n in range(round((1 - low) / TICK) + 1)],
        points=[(x(i), y(p["score"]), y(p["low"]), y(p["high"]), f"{p['value']:g}", _title(p)) for i, p in seen],
        line=line(lambda p: p["score"]),
        band=joined([(at, top) for at, _, top in spans] + [(at, bottom) for at, bottom, _ in reversed(spans)]),
        first_labels=line(lambda p: p["first_labels"]),
        control=line(lambda p: p["control"]),
        undisturbed=None if level is None else y(level),
    )


def _title(point: dict[str, Any]) -> str:
    return f"{point['value']:g}: mean AP {point['score']:.3f} ({point['low']:.3f} to {point['high']:.3f})"

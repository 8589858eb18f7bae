"""One frame for a person: what is known of it in words, as a picture file, or drawn on the terminal."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from pathlib import Path

import numpy as np

from beamsight.answer import Answer
from beamsight.answers import writing
from beamsight.console import told
from beamsight.display import LEGEND, MASKED_RGB, VIRIDIS, levels, picture
from beamsight.frame import Frame, Geometry

_LINE_PX = 16
_TERMINAL_COLUMNS = 72


def facts(frame: Frame, answer: Answer | None = None) -> list[str]:
    """What is known of a frame, a line each: key, size, counts, mask, geometry, answer."""
    trusted = frame.image[frame.mask & np.isfinite(frame.image)]
    counts = f"{trusted.min():.6g} to {trusted.max():.6g}, median {np.median(trusted):.6g}" if trusted.size else "none trusted"
    lines = [
        f"frame     {frame.key}",
        f"size      {frame.image.shape[0]} x {frame.image.shape[1]} px (rows x columns)",
        f"counts    {counts}",
        f"masked    {100 * (1 - trusted.size / frame.image.size):.1f} % of pixels",
        f"geometry  {described(frame.geometry)}",
    ]
    if answer is not None:
        lines += [f"answer    {told(answer)}"] + ([f"beam      {answer.centre}"] if answer.centre else [])
    return lines


def described(geometry: Geometry) -> str:
    """A geometry in the units people use; what is unknown is said to be."""
    centre, placed = geometry.centre_px, sum(p.corner_px is not None for p in geometry.panels)
    where = f"of {len(geometry.panels)} panels each its own" if geometry.panels and placed == len(geometry.panels) else None
    parts = [
        ("centre", where if centre is None else f"({centre[0]:.1f}, {centre[1]:.1f}) px (y, x)"),
        ("pixel", None if geometry.pixel_m is None else f"{geometry.pixel_m * 1e6:.4g} um"),
        ("wavelength", None if geometry.wavelength_m is None else f"{geometry.wavelength_m * 1e10:.4g} angstrom"),
        ("distance", None if geometry.distance_m is None else f"{geometry.distance_m:.4g} m"),
    ]
    known = [f"{name} {text}" for name, text in parts if text is not None]
    missing = [name for name, text in parts if text is None]
    return ", ".join(known + ([f"unknown: {', '.join(missing)}"] if missing else []))


def save(frame: Frame, answer: Answer | None, path: Path) -> None:
    """The picture of a frame with its facts and a legend below it, in the format of the file's name (PNG where it has none).

    Raises CannotWrite.
    """
    from PIL import Image, ImageDraw

    image = picture(frame)
    scale = max(1, 480 // max(image.size))
    image = image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST)
    lines = _wrapped([*facts(frame, answer), LEGEND], max(60, image.width // 6))
    sheet = Image.new("RGB", (max(image.width, 380), image.height + 40 + _LINE_PX * len(lines)), "white")
    sheet.paste(image, (0, 0))
    pen = ImageDraw.Draw(sheet)
    _mark_centre(pen, frame.geometry, scale, image.size)
    sheet.paste(Image.fromarray(VIRIDIS[None].repeat(12, axis=0)), (8, image.height + 8))
    low, high = levels(frame)
    pen.text((270, image.height + 8), f"{low:.3g} to {high:.3g} counts", fill="black")
    pen.rectangle((8, image.height + 24, 30, image.height + 34), fill=MASKED_RGB, outline="grey")
    pen.text((36, image.height + 23), "masked", fill="black")
    for n, line in enumerate(lines):
        pen.text((8, image.height + 38 + _LINE_PX * n), line, fill="black")
    with writing(path) as part:
        sheet.save(part, format=_format(path))


def _format(path: Path) -> str:
    kinds = {".webp": "WEBP", ".jpg": "JPEG", ".jpeg": "JPEG", ".tif": "TIFF", ".tiff": "TIFF"}
    return kinds.get(path.suffix.lower(), "PNG")


def _wrapped(lines: list[str], width: int) -> list[str]:
    import textwrap

    return [part for line in lines for part in textwrap.wrap(line, width, subsequent_indent="          ")]


def _mark_centre(pen: object, geometry: Geometry, scale: int, size: tuple[int, int]) -> None:
    """A small cross at the beam, in a colour that viridis does not hold."""
    if geometry.centre_px is None:
        return
    y, x = ((c + 0.5) * scale for c in geometry.centre_px)
    if 0 <= x < size[0] and 0 <= y < size[1]:
        for ends in ((x - 7, y, x + 7, y), (x, y - 7, x, y + 7)):
            pen.line(ends, fill=(230, 40, 120), width=max(1, scale // 2))  # type: ignore[attr-defined]


def draw(frame: Frame) -> None:
    """The frame on the terminal, two pixels a character."""
    from rich.console import Console
    from rich.text import Text

    pixels = np.asarray(picture(frame, _TERMINAL_COLUMNS))
    pixels = pixels[: len(pixels) // 2 * 2]
    console = Console()
    for upper, lower in zip(pixels[::2], pixels[1::2], strict=True):
        row = Text()
        for a, b in zip(upper, lower, strict=True):
            row.append("\u2580", style=f"rgb({a[0]},{a[1]},{a[2]}) on rgb({b[0]},{b[1]},{b[2]})")
        console.print(row)

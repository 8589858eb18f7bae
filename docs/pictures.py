"""The pictures of the pages about tasks: for every answer simulated frames that have it, chosen by rule and not by hand.

python docs/pictures.py                      one picture an answer, into docs/tasks/pictures/TASK
python docs/pictures.py --sheet sheet.png    random examples with their labels, to look at
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import argparse
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import sasdata
import torch
from PIL import Image, ImageDraw

from beamsight.display import picture
from beamsight.frame import Frame
from beamsight.sources import open_frames
from beamsight.task import Task, find_task, find_tasks, frames_of, make_batch

HERE = Path(__file__).parent
# Measured images that the package sasdata brings (BSD-3-Clause).
REAL = (
    "P123_D2O_10_percent.dat",
    "P123_D2O_30_percent.dat",
    "33837rear_2D_1.75_16.5_NXcanSAS.h5",
    "BAM_2D.h5",
    "SILIC010.DAT",
    "exp18_14_igor_2dqxqy.dat",
)
SIDE, SEED, BATCH = 256, 1, 32
STRIP, SHOWN = 3, 192  # frames a picture, and their side in it


def examples(task: Task, n: int) -> Iterator[Frame]:
    """The first `n` examples, at the size that networks see."""
    for first in range(0, n, BATCH):
        yield from frames_of(task, SEED, make_batch(task, SEED, range(first, min(first + BATCH, n)), (SIDE, SIDE)))


def present(frame: Frame) -> list[str]:
    """What is visible in a frame."""
    return [frame.truth] if isinstance(frame.truth, str) else [name for name, holds in (frame.truth or {}).items() if holds]


def clearest(frames: list[Frame], name: str) -> list[Frame]:
    """The frames with that answer that have few others and few doubts, and little noise: they show it alone."""
    having = [f for f in frames if name in present(f)]
    return sorted(having, key=lambda f: (len(present(f)) + 0.3 * _doubts(f) - 4 * smoothness(f), f.key))[:STRIP]


def smoothness(frame: Frame) -> float:
    """Correlation of the log counts of neighbouring trusted pixels: 0 for noise, 1 for a picture without."""
    level, trusted = np.log1p(frame.image), frame.mask[:, 1:] & frame.mask[:, :-1]
    left, right = level[:, :-1][trusted], level[:, 1:][trusted]
    flat = left.size < 2 or min(left.std(), right.std()) == 0
    return 0.0 if flat else float(np.corrcoef(left, right)[0, 1])


def _doubts(frame: Frame) -> int:
    return sum(holds is None for holds in (frame.truth or {}).values())


def write_pictures(task: Task, n: int) -> None:
    """One WebP picture an answer, of three frames that have it; says which they are."""
    folder = HERE / "tasks" / "pictures" / task.name.replace("-", "_")
    folder.mkdir(parents=True, exist_ok=True)
    frames = list(examples(task, n))
    for name in task.target.names:
        chosen = clearest(frames, name)
        strip = Image.new("RGB", (STRIP * (SHOWN + 4) - 4, SHOWN), "white")
        for i, frame in enumerate(chosen):
            # Each picture shows another frame.
            frames.remove(frame)
            strip.paste(picture(frame).resize((SHOWN, SHOWN), Image.Resampling.BOX), (i * (SHOWN + 4), 0))
        strip.save(folder / f"{name.replace(' ', '-').lower()}.webp", quality=70, method=6)
        print(f"{name}: {', '.join(f.key for f in chosen) or f'none of {n} examples has it'}")


def write_real(folder: Path) -> None:
    """The measured images in one row, as `beamsight show` draws them."""
    data = Path(sasdata.__path__[0]) / "example_data" / "2d_data"
    strip = Image.new("RGB", (len(REAL) * (SHOWN + 4) - 4, SHOWN), "white")
    for i, name in enumerate(REAL):
        frame = next(open_frames(str(data / name)))
        strip.paste(picture(frame).resize((SHOWN, SHOWN), Image.Resampling.BOX), (i * (SHOWN + 4), 0))
    strip.save(folder / "measured.webp", quality=80, method=6)


def write_sheet(task: Task, path: Path, columns: int, rows: int) -> None:
    """Random examples in a grid, the visible answers written under each and the doubtful in brackets."""
    sheet = Image.new("RGB", (columns * (SIDE + 4), rows * (SIDE + 44)), "white")
    draw = ImageDraw.Draw(sheet)
    for i, frame in enumerate(examples(task, columns * rows)):
        x, y = i % columns * (SIDE + 4), i // columns * (SIDE + 44)
        sheet.paste(picture(frame), (x, y))
        doubts = [f"({name})" for name, holds in (frame.truth or {}).items() if holds is None]
        words = ", ".join([*present(frame), *doubts])
        for line in range(3):
            draw.text((x, y + SIDE + 13 * line), words[42 * line : 42 * (line + 1)], "black")
    sheet.save(path)


def write_report_picture(page: Path) -> None:
    """A screenshot of the top of a report."""
    with tempfile.TemporaryDirectory() as folder:
        shot = Path(folder) / "report.png"
        options = ["--headless=new", "--no-sandbox", "--hide-scrollbars", "--window-size=1280,900", "--virtual-time-budget=4000"]
        subprocess.run(["chromium", *options, f"--screenshot={shot}", page.resolve().as_uri()], check=True, capture_output=True)
        Image.open(shot).convert("RGB").save(HERE / "report.webp", quality=80, method=6)


def main() -> None:
    """Makes the pictures of every task, or a sheet of one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", help="by default every task")
    parser.add_argument("--sheet", type=Path, help="write a sheet of random examples")
    parser.add_argument("--report", type=Path, help="take the README's picture of this report")
    parser.add_argument("-n", type=int, default=1500, help="examples to choose from")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if asked.report:
        write_report_picture(asked.report)
        return
    for task in [find_task(asked.task)] if asked.task else find_tasks().values():
        if asked.sheet:
            write_sheet(task, asked.sheet, 8, 6)
        else:
            write_pictures(task, asked.n)
    if not asked.sheet:
        write_real(HERE / "tasks" / "pictures")


if __name__ == "__main__":
    main()

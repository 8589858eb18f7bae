"""Simulated frames of serial crystallography beside measured ones of the same detector and answer, chosen by rule.

python docs/hit_pictures.py      writes docs/tasks/pictures/xfel_hits.webp; needs the measured frames in the folder BEAMSIGHT_DATA

Simulated: of the test runs of that detector, in the order of their numbers and each shown once, the first frames whose truth is
the measured one's.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import os
from itertools import count
from pathlib import Path

import torch
from PIL import Image, ImageDraw

from beamsight.display import picture
from beamsight.examples import TEST
from beamsight.frame import Frame
from beamsight.runs import draw_run, indices_of
from beamsight.sources import open_frames
from beamsight.task import find_task, make_frame

HERE = Path(__file__).parent
DATA = Path(os.environ.get("BEAMSIGHT_DATA", HERE.parents[1] / "shared" / "data")) / "sfx"
SEED, CUT, SHOWN, LINE = 1, 900, 300, 16
TRIED = 4  # frames of a run
# Frames that may be shown (CC-BY 4.0, the data sets thaumatin_grid_scan and lcls_rayonix_kapton of DIALS), and what they are.
MEASURED = {
    "pilatus6m_gridscan/thau_3_2_0003.cbf.bz2": ("PILATUS 6M", "hit"),
    "pilatus6m_gridscan/thau_3_2_0015.cbf.bz2": ("PILATUS 6M", "weak"),
    "pilatus6m_gridscan/thau_3_2_0016.cbf.bz2": ("PILATUS 6M", "miss"),
    "rayonix_mfx/mfx_rayonix_kapton_hit.h5": ("Rayonix MX340", "weak"),
}


def simulated(detector: str, answer: str, shown: set[int]) -> Frame:
    """The first whole frame with that answer of the test runs of a detector that were not `shown`, to which its run is added."""
    task = find_task("xfel-hits")
    for number in count(1):
        run = draw_run(SEED, number)
        if run.detector == detector and run.form == "assembled" and number not in shown and indices_of(number)[0] in TEST:
            for index in indices_of(number)[:TRIED]:
                frame = make_frame(task, SEED, index, run.layout().shape)
                if frame.truth == answer:
                    shown.add(number)
                    print(f"{detector}, {answer}: {frame.key}, run {number}")
                    return frame
    raise AssertionError("numbers do not end")


def cut(frame: Frame) -> Image.Image:
    """The middle of a frame as `beamsight show` draws it."""
    whole = picture(frame)
    x, y = ((side - CUT) // 2 for side in whole.size)
    return whole.crop((x, y, x + CUT, y + CUT)).resize((SHOWN, SHOWN), Image.Resampling.BOX)


def main() -> None:
    """Writes the picture: measured frames above, two simulated ones below each."""
    torch.set_num_threads(1)
    sheet = Image.new("RGB", (len(MEASURED) * (SHOWN + 4) - 4, 3 * (SHOWN + LINE)), "white")
    draw, shown = ImageDraw.Draw(sheet), set[int]()
    for i, (name, (detector, answer)) in enumerate(MEASURED.items()):
        frames = [next(iter(open_frames(str(DATA / name)))), *(simulated(detector, answer, shown) for _ in range(2))]
        for row, frame in enumerate(frames):
            x, y = i * (SHOWN + 4), row * (SHOWN + LINE)
            draw.text((x, y + 2), f"{'simulated' if row else 'measured'}: {detector}, {answer}", "black")
            sheet.paste(cut(frame), (x, y + LINE))
    (HERE / "tasks" / "pictures").mkdir(parents=True, exist_ok=True)
    sheet.save(HERE / "tasks" / "pictures" / "xfel_hits.webp", quality=72, method=6)


if __name__ == "__main__":
    main()

"""Pictures of the studies: sensitivity against detectability, and the frames that were answered worst."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from beamsight.answer import TILE_PX
from beamsight.frame import Frame
from beamsight.task import Batch, Task, example, exposures, make_batch
from beamsight.tasks.scattering_tags.label import exposed_films
from beamsight.tasks.scattering_tags.polar import polar
from beamsight.tasks.scattering_tags.systems import systems

Floats = NDArray[np.float64]

SHOWN = 300  # px a side of a picture among others
EDGES = np.arange(-0.5, 4.01, 0.25)  # of log10 d'


def ring_detectability(task: Task, seed: int, indices: Sequence[int]) -> Floats:
    """d' of the most visible ring on each of the examples, 0 where there is none."""
    films, exposed = exposures(task, seed, indices, [example(task, seed, i) for i in indices], task.shape)
    films = exposed_films(films, exposed.exposure[:, 0, 0])
    return systems(films, polar(films, exposed)).detectability[:, :2].amax(1).double().numpy()


def sensitivity_curve(
    task: Task, seed: int, batches: Sequence[Batch], said: Floats, threshold: Sequence[float], path: Path
) -> None:
    """How often "ring" is claimed against how visible the most visible ring is."""
    seen = np.concatenate([ring_detectability(task, seed, b.indices) for b in batches])
    ring = task.target.names.index("ring")
    claimed = said[:, ring] >= threshold[ring]
    place = np.digitize(np.log10(np.maximum(seen, 1e-3)), EDGES)
    shares = [claimed[place == k].mean() if (place == k).sum() >= 10 else np.nan for k in range(1, len(EDGES))]
    figure, axes = plt.subplots(figsize=(6, 3.6), layout="constrained")
    axes.axvspan(0, 3, color="0.93")
    axes.axvspan(3, 10, color="0.97")
    axes.plot(10 ** (EDGES[:-1] + 0.125), shares, "o-", color="#31688e")
    axes.set(
        xscale="log",
        xlabel="detectability d' of the most visible ring",
        ylabel='share of frames tagged "ring"',
        ylim=(-0.03, 1.03),
    )
    axes.text(0.5, 0.95, "absent", fontsize=8, color="0.4")
    axes.text(3.2, 0.95, "doubtful", fontsize=8, color="0.4")
    axes.text(11, 0.95, "present, if contrast is 5 %", fontsize=8, color="0.4")
    keep_figure(figure, path)


def worst_frames(task: Task, seed: int, said: Floats, truth: Floats, path: Path, shown: int = 18) -> None:
    """The frames with the surest wrong answers, one a tag at most, worst tags first."""
    wrong = np.where(np.isnan(truth), 0, np.abs(said - np.nan_to_num(truth)))
    tags = wrong.max(0).argsort()[::-1][:shown]
    figure, axes = plt.subplots(3, shown // 3, figsize=(15, 8.4), layout="constrained")
    for axis, tag in zip(axes.flat, tags, strict=True):
        index = int(wrong[:, tag].argmax())
        batch = make_batch(task, seed, [index])
        show_frame(axis, batch.counts[0].numpy(), batch.mask[0].numpy())
        verb = "missed" if truth[index, tag] == 1 else "claimed"
        axis.set_title(f"{task.target.names[tag]}\n{verb}, p = {said[index, tag]:.2f}, frame {index}", fontsize=8)
    keep_figure(figure, path)


def wrong_tiles(shown: Sequence[tuple[Any, Any, Any, Any, str]], path: Path) -> None:
    """Images with their tiles marked: (counts and mask [H W], truth [h w], tiles claimed [h w], title) of each. White: found;
    red: missed; orange: claimed and empty."""
    figure, axes = plt.subplots(2, -(-len(shown) // 2), figsize=(15, 10), layout="constrained")
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (counts, mask, truth, claimed, title) in zip(axes.flat, shown, strict=False):
        show_frame(axis, counts, mask)
        axis.set_axis_on()
        for colour, marked in (("w", (truth == 1) & claimed), ("r", (truth == 1) & ~claimed), ("orange", (truth == 0) & claimed)):
            for y, x in np.argwhere(marked):
                corner = (x * TILE_PX + 3, y * TILE_PX + 3)
                axis.add_patch(Rectangle(corner, TILE_PX - 7, TILE_PX - 7, fill=False, edgecolor=colour, linewidth=0.9))
        missed, false = int(((truth == 1) & ~claimed).sum()), int(((truth == 0) & claimed).sum())
        axis.set_title(f"{title}\n{missed} missed, {false} claimed and empty", fontsize=8)
    keep_figure(figure, path)


def titled_frames(frames: Sequence[tuple[Frame, str]], path: Path, across: int = 4) -> None:
    """Whole frames of any size with a title each; of what is shrunk the brightest pixels stay, so that spots do."""
    down = max(1, -(-len(frames) // across))
    figure, axes = plt.subplots(down, across, figsize=(3 * across, 3.3 * down), layout="constrained", squeeze=False)
    for axis in axes.flat:
        axis.set_axis_off()
    for axis, (frame, title) in zip(axes.flat, frames, strict=False):
        axis.set_axis_on()
        show_frame(axis, *_shrunk(frame))
        axis.set_title(title, fontsize=8)
    keep_figure(figure, path)


def _shrunk(frame: Frame) -> tuple[Floats, NDArray[np.bool_]]:
    """Counts and mask with at most SHOWN pixels a side: the highest of each block, and whether any of it is trusted."""
    counts = _folded(np.where(frame.mask, frame.image, -np.inf))
    side = -(-max(counts.shape) // SHOWN)
    for axis in (0, 1):
        counts = np.maximum.reduceat(counts, np.arange(0, counts.shape[axis], side), axis)
    mask = np.isfinite(counts)
    return np.where(mask, counts, 0).astype(float), mask


def _folded(image: Floats) -> Floats:
    """A stack of sensors in strips side by side, as many as make it about square."""
    strips = max(1, round(float(np.sqrt(image.shape[0] / image.shape[1]))))
    wider = np.pad(image, ((0, -len(image) % strips), (0, 0)), constant_values=-np.inf)
    return np.concatenate(np.split(wider, strips), 1)


def show_frame(axis: Any, counts: Floats, mask: NDArray[np.bool_]) -> None:
    """Log counts, untrusted pixels grey."""
    seen = counts[mask & (counts > 0)]
    low, high = np.percentile(seen, [1, 99.7]) if len(seen) else (1.0, 2.0)
    axis.imshow(
        np.where(mask, np.log(np.maximum(counts, low)), np.nan),
        vmin=np.log(low),
        vmax=np.log(high) + 1e-3,
        interpolation="nearest",
    )
    axis.set(facecolor="0.7", xticks=[], yticks=[])


def keep_figure(figure: Any, path: Path) -> None:
    """Writes the figure and closes it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    plt.close(figure)

"""Whole simulated images of crystals and their tiles of 64 x 64 px: what the study of Bragg frames learns from and asks about."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from beamsight.answer import TILE_PX
from beamsight.frame import Frame, Geometry
from beamsight.runs import run_of
from beamsight.shots import run_numbered
from beamsight.spots import any_in_tile
from beamsight.targets import OneOf
from beamsight.task import Task, example, make_batch

SEED = 0
MOST_PIXELS, WINDOW_PX = 4_500_000, 2048  # of larger detectors a window is taken
ENOUGH = 3  # tiles with spots make a pattern, as the paper has it
TOP = 99.9  # per cent of an image's pixels that tell its spread
LARGEST = 6e4  # what half precision holds
KINDS = OneOf(("empty", "Bragg spots"))  # of tiles

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Image:
    """A simulated image: `counts` [H W], `mask` [H W] (True = trust), both sides whole tiles; `tiles` [H/64 W/64] the truth: 1
    holds a visible spot, 0 holds none, NaN doubtful or without any trusted pixel. `detector` by name."""

    counts: NDArray[np.float32]
    mask: NDArray[np.bool_]
    tiles: NDArray[np.float32]
    detector: str


def image_of(task: Task, index: int, window: int | None = None) -> Image:
    """Example number `index`: its whole detector, filled up to whole tiles with what no one trusts, or of one of more than
    MOST_PIXELS a window, by default of WINDOW_PX a side."""
    drawn = example(task, SEED, index)
    sides = (int(drawn[0].height), int(drawn[0].width))
    whole = window is None and sides[0] * sides[1] <= MOST_PIXELS
    shape = tuple(-(-side // TILE_PX) * TILE_PX for side in sides) if whole else (window or WINDOW_PX,) * 2
    made = make_batch(task, SEED, [index], (shape[0], shape[1]), drawn=[drawn])
    mask, truth = made.mask[0].numpy(), any_in_tile(made.places)[0].numpy()
    truth = np.where(in_tiles(mask).any((2, 3)), truth, np.nan)
    return Image(made.counts[0].numpy(), mask, truth, run_numbered(SEED, run_of(index)[0]).detector)


def in_tiles(image: NDArray[Any]) -> NDArray[Any]:
    """[H W] to [H/64 W/64 64 64]."""
    height, width = (n // TILE_PX for n in image.shape)
    return image.reshape(height, TILE_PX, width, TILE_PX).swapaxes(1, 2)


def pattern(tiles: Floats) -> float:
    """The image's truth by that of its tiles: 1 with ENOUGH tiles of spots, 0 with none, NaN between."""
    held = int((tiles == 1).sum())
    return 1.0 if held >= ENOUGH else 0.0 if held == 0 else float("nan")


def levelled(counts: NDArray[np.float32], mask: NDArray[np.bool_]) -> NDArray[np.float32]:
    """The image [H W] with median 0 and spread 1, untrusted pixels 0; its brightest thousandth does not enter the spread."""
    trusted = counts[mask]
    if len(trusted) == 0:
        return np.zeros_like(counts)
    spread = np.minimum(trusted, np.percentile(trusted, TOP)).std() or trusted.std() or 1.0
    return np.asarray(np.where(mask, (counts - np.median(trusted)) / spread, 0).clip(-LARGEST, LARGEST), np.float32)


@dataclass(frozen=True)
class Tiles(Sequence[Frame]):
    """Stored tiles of levelled images in `folder`, one after the other, each with its truth in words."""

    folder: Path

    def __len__(self) -> int:
        return len(_mapped(self.folder / "truth.npy"))

    def __getitem__(self, number: Any) -> Any:
        number = range(len(self))[number]
        held = int(_mapped(self.folder / "truth.npy")[number])
        tile = np.array(_mapped(self.folder / "tiles.npy")[number], np.float32)
        shape = (TILE_PX, TILE_PX)
        return Frame(tile, np.ones(shape, bool), Geometry(shape), f"{self.folder.name}/{number:08d}", KINDS.names[held])


@lru_cache(maxsize=8)
def _mapped(path: Path) -> Any:
    return np.load(path, mmap_mode="r")


def store_tiles(task: Task, folder: Path, indices: Iterable[int], each: int, window: int | None = None) -> Tiles:
    """The tiles of the first `each` images of `indices` with a pattern and as many without, by turns; made once."""
    if not (folder / "truth.npy").exists():
        folder.mkdir(parents=True, exist_ok=True)
        parts = [tiles_of(found) for found in by_turns((image_of(task, i, window) for i in indices), each)]
        np.save(folder / "tiles.npy", np.concatenate([tiles for tiles, _ in parts]))
        np.save(folder / "truth.npy", np.concatenate([truth for _, truth in parts]))
    return Tiles(folder)


def by_turns(images: Iterable[Image], each: int) -> Iterator[Image]:
    """The first `each` images with a pattern and as many without, one of the first and one of the others by turns."""
    waiting: tuple[list[Image], list[Image]] = ([], [])
    given = [0, 0]
    for found in images:
        verdict = pattern(found.tiles)
        if not np.isnan(verdict) and given[int(verdict)] + len(waiting[int(verdict)]) < each:
            waiting[int(verdict)].append(found)
        while waiting[0] and waiting[1]:
            yield from (kind.pop(0) for kind in waiting)
            given = [n + 1 for n in given]
        if given[0] == each:
            return


def tiles_of(found: Image) -> tuple[NDArray[np.float16], NDArray[np.int8]]:
    """Its levelled tiles [N 64 64] whose truth is known, and their truth [N]."""
    known = ~np.isnan(found.tiles)
    return in_tiles(levelled(found.counts, found.mask))[known].astype(np.float16), found.tiles[known].astype(np.int8)


Judge = Callable[[Image], Mapping[str, Any]]


def judged(task: Task, indices: Sequence[int], judges: Mapping[Path, Judge], window: int | None = None) -> None:
    """What each of the `judges` says of each image, kept in a file of its folder; what is there already is not asked again."""
    for index in indices:
        files = {folder / f"{index:08d}.npz": ask for folder, ask in judges.items()}
        wanted = {path: ask for path, ask in files.items() if not path.exists()}
        found = image_of(task, index, window) if wanted else None
        for path, ask in wanted.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_suffix(".part.npz")
            np.savez_compressed(part, **ask(found))  # type: ignore[arg-type]
            part.replace(path)


def read_judged(folder: Path, indices: Sequence[int]) -> list[dict[str, Any]]:
    """What `judged` kept in that folder, in the order of `indices`."""
    found = []
    for index in indices:
        with np.load(folder / f"{index:08d}.npz") as file:
            found.append({name: file[name] for name in file.files})
    return found


def probability_of_tiles(network: torch.nn.Module, found: Image, batch: int = 256) -> Floats:
    """[H/64 W/64] that a tile of the levelled image holds a spot, by a network for single tiles."""
    tiles = torch.from_numpy(in_tiles(levelled(found.counts, found.mask)).reshape(-1, 1, TILE_PX, TILE_PX))
    with torch.inference_mode():
        logits = torch.cat([network(part)[0] for part in tiles.split(batch)])
    return KINDS.probability(logits.numpy())[:, 1].reshape(found.tiles.shape)

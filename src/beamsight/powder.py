"""The sum of a run's hits: as a powder would scatter. Kept as the run goes, in a file that is whole at any time."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beamsight.answers import POWDER, digest, writing
from beamsight.errors import CannotWrite
from beamsight.frame import Frame, Geometry
from beamsight.journal import undisturbed

EVERY = 256  # hits after which it is saved
_DATA = "entry/powder"


class Powder:
    """Adds up the hits of a run in `powder.h5` of its `folder`, begun, or continued where there is one.

    /entry/powder: `sum` [H W] float64 of counts of trusted pixels; `trusted` [H W], of how many frames each pixel was; `key` [n],
    digests of the keys of these frames and of those of other shapes, none of which is taken twice. Its attributes: `frames`, how
    many are in the sum, and `others`, {"H x W": frames} (JSON), which are of another shape than the first and are not in it.

    A kill loses what came after the last save, EVERY hits at most: `frames` tells how many it holds. Raises CannotWrite.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / POWDER
        self.frames, self.others = 0, dict[str, int]()
        self._sum: NDArray[np.float64] | None = None
        self._trusted: NDArray[np.uint32] | None = None
        self._keys, self._unsaved = set[int](), 0
        if self.path.exists():
            self._continue()

    def _continue(self) -> None:
        with _opened(self.path) as data:
            self.frames, self.others = int(data.attrs["frames"]), json.loads(data.attrs["others"])
            self._sum, self._trusted = data["sum"][()], data["trusted"][()]
            self._keys = set(data["key"][()].tolist())

    def add(self, frame: Frame, key: str) -> None:
        """Add the frame, once whatever happens."""
        number = int(digest(key))
        if number in self._keys:
            return
        with undisturbed():
            self._keys.add(number)
            self._unsaved += 1
            self._take(frame)
        if self._unsaved >= EVERY:
            self.save()

    def _take(self, frame: Frame) -> None:
        shape = frame.image.shape
        if self._sum is None or self._trusted is None:
            self._sum, self._trusted = np.zeros(shape), np.zeros(shape, np.uint32)
        if shape != self._sum.shape:
            name = " x ".join(map(str, shape))
            self.others[name] = self.others.get(name, 0) + 1
            return
        trusted = frame.mask & np.isfinite(frame.image)
        np.add(self._sum, frame.image, out=self._sum, where=trusted)
        self._trusted += trusted
        self.frames += 1

    def save(self) -> None:
        """Write the file anew. Raises CannotWrite, and then the one before stays."""
        import h5py

        with undisturbed(), writing(self.path) as part, h5py.File(part, "w") as file:
            file.attrs["default"] = "entry"
            file.create_group("entry").attrs.update({"NX_class": "NXentry", "default": "powder"})
            data = file.create_group(_DATA)
            data.attrs.update({"NX_class": "NXdata", "signal": "sum", "frames": self.frames, "others": json.dumps(self.others)})
            data["sum"], data["trusted"] = self._sum, self._trusted
            data["key"] = np.array(sorted(self._keys), np.uint64)
            data["title"] = f"sum of {self.frames} hits; counts of trusted pixels"
            self._unsaved = 0

    def close(self) -> None:
        """Save what is not saved. Raises CannotWrite."""
        if self._unsaved:
            self.save()

    def __enter__(self) -> Powder:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    import h5py

    try:
        with h5py.File(path) as file:
            yield file[_DATA]
    except (OSError, KeyError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise CannotWrite(f"{path}: is no sum of hits ({reason}); remove it, or give another -o folder") from None


def mean_of(folder: Path, side: int) -> tuple[Frame, int, dict[str, int]] | None:
    """(mean of the hits as a frame, how many are in it, {shape: hits of other shapes}) of a run's folder; None where it has none.

    Pixels are put together so that the longer side is at most `side`, read by some rows at once. Raises CannotWrite.
    """
    if not (folder / POWDER).exists():
        return None
    with _opened(folder / POWDER) as data:
        step = max(1, -(-max(data["sum"].shape) // side))
        rows = range(0, data["sum"].shape[0], step)
        parts = [[_blocks(data[name][y : y + step], step) for name in ("sum", "trusted")] for y in rows]
        frames, others = int(data.attrs["frames"]), json.loads(data.attrs["others"])
    total, trusted = (np.array(part) for part in zip(*parts, strict=True))
    image = (total / np.maximum(trusted, 1)).astype(np.float32)
    return Frame(image, trusted > 0, Geometry(image.shape), "powder"), frames, others


def _blocks(rows: NDArray[Any], step: int) -> NDArray[np.float64]:
    """Sums over all rows and over `step` columns each."""
    return np.asarray(np.add.reduceat(rows.sum(0, dtype=np.float64), range(0, rows.shape[1], step)))

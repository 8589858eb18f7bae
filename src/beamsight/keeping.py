"""What a run keeps of its frames beside their answers: pictures for the page; where a model may be unsure, the sum of hits."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from beamsight.answer import Answer
from beamsight.display import thumbnail
from beamsight.frame import Frame
from beamsight.marked import MarkedPictures
from beamsight.powder import Powder
from beamsight.report import is_shown, keep_picture
from beamsight.run_report import is_run


class Keeper:
    """Keeps what `keeping` says of frames that go into the record in `folder`."""

    def __init__(self, folder: Path, pictures: bool, marked: MarkedPictures | None, powder: Powder | None, hit: str) -> None:
        self._folder, self._pictures, self._marked, self._powder, self._hit = folder, pictures, marked, powder, hit

    def __call__(self, number: int, frame: Frame, answer: Answer, known: int = 0) -> None:
        """Keep of the frame, whose answer will be line `number` of at least `known`, what is to be kept. Raises CannotWrite."""
        shown = self._pictures and is_shown(number, known)
        marked = self._marked.wanted(number, answer) if self._marked is not None else []
        if shown or marked:
            picture = thumbnail(frame)
            if shown:
                keep_picture(self._folder, number, picture)
            for name, rank in marked:
                self._marked.keep(name, rank, number, picture)  # type: ignore[union-attr]
        if self._powder is not None and answer.answer == self._hit:
            self._powder.add(frame, answer.key)


@contextmanager
def keeping(folder: Path, count: int, about: dict[str, Any], pictures: bool) -> Iterator[Keeper]:
    """A Keeper for a record of `count` lines so far; `about` is what `run.json` says. Raises CannotWrite."""
    if not is_run(about):
        yield Keeper(folder, pictures, None, None, "")
        return
    with Powder(folder) as powder:
        yield Keeper(folder, pictures, MarkedPictures(folder, count) if pictures else None, powder, about["names"][-1])

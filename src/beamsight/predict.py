"""The whole of one run: frames in, a record, tables and a page out; resumable, in bounded memory."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from beamsight.answer import Answer
from beamsight.answers import Store, open_store, read_about, read_answers, write_csv, write_hdf5
from beamsight.bundle import MODEL, Bundle, Refusal
from beamsight.frame import Frame
from beamsight.keeping import keeping
from beamsight.report import write_report

Examine = Callable[[Frame, Answer], Answer]


@dataclass
class Tally:
    """What a run did so far. `reading_s` is the time spent waiting for frames, `answering_s` that spent in the model."""

    frames: int = 0
    refused: int = 0
    reading_s: float = 0.0
    answering_s: float = 0.0
    started: float = field(default_factory=time.perf_counter)

    def add(self, answer: Answer) -> None:
        """Count one more answer."""
        self.frames += 1
        self.refused += answer.error is not None
        self.answering_s += answer.seconds

    def merge(self, other: Tally) -> None:
        """Count what another run did; its seconds are added, though they may have passed at the same time."""
        self.frames += other.frames
        self.refused += other.refused
        self.reading_s += other.reading_s
        self.answering_s += other.answering_s

    @property
    def rate(self) -> float:
        """Frames a second since the start."""
        return self.frames / max(1e-9, time.perf_counter() - self.started)


def about_run(bundle: Bundle, command: str, options: dict[str, Any]) -> dict[str, Any]:
    """What `run.json` and the page say of a run."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        own = version("beamsight")
    except PackageNotFoundError:
        own = "unknown"
    card = bundle.card
    kept = {k: card[k] for k in ("task", "question", "version", "threshold")} | {"kind": card["target"]["kind"]}
    names = {"names": list(bundle.target.names), "model": bundle.name, "sha256": card["sha256"][MODEL]}
    # A model that is never unsure says 0, and one whose frames do not come in runs None: the page needs the latter.
    judging = {k: v for k in ("sure", "normal") if (v := card.get(k, 0)) != 0}
    return kept | judging | names | {"beamsight": own, "command": command, "options": options}


def predict_into(
    store: Store | None,
    bundle: Bundle,
    frames: Iterable[Frame | Refusal],
    tally: Tally,
    threshold: float | None = None,
    pictures: bool = True,
    tell: Callable[[Answer], None] | None = None,
    known: Callable[[], int] = lambda: 0,
    examine: Examine | None = None,
) -> None:
    """Answer `frames`, each appended to the record at once; `tell` hears every answer; `tally` counts along.

    `known` says how many frames the record will have at least: pictures that its page will not show are not made. `examine` adds
    to each answer what else the frame tells.

    Raises CannotWrite where the record or a thumbnail cannot be written; what was written before stays whole.
    """
    with nullcontext() if store is None else keeping(store.folder, store.count, read_about(store.folder), pictures) as keep:
        for item, answer in answered(bundle, frames, tally, threshold, examine):
            if store is not None:
                # The picture first: a line that is there is never looked at again.
                if keep is not None and isinstance(item, Frame):
                    keep(store.count, item, answer, known())
                store.add(answer)
            # Counted once it is kept: a run that is stopped while it draws a picture says what it leaves behind.
            tally.add(answer)
            if tell is not None:
                tell(answer)


def answered(
    bundle: Bundle,
    frames: Iterable[Frame | Refusal],
    tally: Tally,
    threshold: float | None = None,
    examine: Examine | None = None,
) -> Iterator[tuple[Frame | Refusal, Answer]]:
    """Each of `frames` with its answer, in order; the time spent waiting for frames goes into `tally`."""
    waiting: deque[Frame | Refusal] = deque()
    for answer in bundle.predict(_watched(frames, waiting, tally), threshold=threshold):
        item = waiting.popleft()
        yield item, answer if examine is None or not isinstance(item, Frame) else examine(item, answer)


def _watched(frames: Iterable[Any], waiting: deque[Any], tally: Tally) -> Iterator[Any]:
    coming = iter(frames)
    while True:
        start = time.perf_counter()
        item = next(coming, None)
        tally.reading_s += time.perf_counter() - start
        if item is None:
            return
        waiting.append(item)
        yield item


def write_tables(folder: Path, report: bool = True) -> None:
    """`answers.csv`, `answers.h5` and, with `report`, `report.html` of the record in `folder`. Raises CannotWrite."""
    about = read_about(folder)
    write_csv(folder, about["names"])
    write_hdf5(folder, about["names"], about)
    if report:
        write_report(folder, about)


__all__ = ["Tally", "about_run", "open_store", "predict_into", "read_answers", "write_tables"]

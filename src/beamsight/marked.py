"""The frames of a run to look at first: those that the model is least certain of, and those where peaks say something else.

Which they are follows from the record alone, and is known as the run goes, so that their pictures can be kept.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import re
from bisect import bisect, insort
from dataclasses import dataclass, field
from pathlib import Path

from beamsight.answer import Answer
from beamsight.answers import THUMBNAILS, writing

LEAST, APART = "least", "apart"
MOST = 50  # frames of each list


def ranks(answer: Answer) -> dict[str, float]:
    """Where in which list a frame stands, lower numbers first: LEAST by its highest probability; APART, of frames where network
    and peaks disagree, those first that the network is surest of."""
    if answer.error is not None or not answer.probability:
        return {}
    highest = round(max(answer.probability.values()), 5)
    differs = (answer.reasons or {}).get("agree") is False
    return {LEAST: highest} | ({APART: -highest} if differs else {})


@dataclass
class Marked:
    """The first MOST frames of each list, (rank, number of the line in the record, answer), of those that were added."""

    kept: dict[str, list[tuple[float, int, Answer | None]]] = field(default_factory=lambda: {LEAST: [], APART: []})

    def add(self, number: int, answer: Answer) -> list[tuple[str, float]]:
        """Take one more frame; gives the lists that it enters, with its rank in each."""
        return [(name, rank) for name, rank in ranks(answer).items() if self._enter(name, rank, number, answer)]

    def _enter(self, name: str, rank: float, number: int, answer: Answer | None) -> bool:
        kept = self.kept[name]
        if len(kept) >= MOST and (rank, number) >= kept[-1][:2]:
            return False
        at = bisect(kept, (rank, number), key=lambda entry: entry[:2])
        kept.insert(at, (rank, number, answer))
        del kept[MOST:]
        return True


class MarkedPictures:
    """The pictures of marked frames in a run's folder, which holds `count` lines: no more than the page shows.

    A file's name says its rank, so that a run goes on without its record being read again.
    """

    def __init__(self, folder: Path, count: int) -> None:
        self._folder, self._marked = folder, Marked()
        for name, kept in self._marked.kept.items():
            for path in (folder / THUMBNAILS / name).glob("*.webp"):
                told = re.fullmatch(r"([+-]\d\.\d{4})_(\d+)", path.stem)
                # Of a frame whose picture came to the disk and whose line did not.
                if told is None or int(told[2]) >= count:
                    path.unlink()
                else:
                    insort(kept, (float(told[1]), int(told[2]), None), key=lambda entry: entry[:2])

    def wanted(self, number: int, answer: Answer) -> list[tuple[str, float]]:
        """The lists that the frame enters, with its rank in each."""
        return self._marked.add(number, answer)

    def keep(self, name: str, rank: float, number: int, picture: bytes) -> None:
        """Keep a picture that is `wanted`; drop that of a frame which has fallen out of the list. Raises CannotWrite."""
        path = picture_path(self._folder, name, rank, number)
        with writing(path) as part:
            path.parent.mkdir(parents=True, exist_ok=True)
            part.write_bytes(picture)
        names = {picture_path(self._folder, name, *entry[:2]).name for entry in self._marked.kept[name]}
        for other in path.parent.glob("*.webp"):
            if other.name not in names:
                other.unlink()


def picture_path(folder: Path, name: str, rank: float, number: int) -> Path:
    """Where the picture of a marked frame lies."""
    return folder / THUMBNAILS / name / f"{rank:+.4f}_{number:010d}.webp"

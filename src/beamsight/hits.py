"""What else speaks for a hit: the peaks that the classical finder finds, saturated pixels; and hits as files for others.

A model and a peak finder err on different frames. Where the two agree, a user has two reasons; where they do not, a frame to look
at.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from cyclopts import Parameter

from beamsight.answer import Answer
from beamsight.errors import BadFrame
from beamsight.frame import Frame
from beamsight.state import state_of

HIT, MISS = "hit", "miss"
SATURATED = 3  # pixels at the very same highest count: of fewer it is chance


@dataclass(frozen=True)
class Looked:
    """What is looked for beside the model's answer. Names, meanings and defaults of peakfinder8 are those of CrystFEL; its
    --threshold is --peak-threshold here, as --threshold is a probability."""

    peaks: Annotated[bool, Parameter(negative="", help="Find Bragg peaks by peakfinder8 too, and say whether they agree.")] = (
        False
    )
    peak_threshold: Annotated[float, Parameter(help="Counts that a peak's pixels exceed (CrystFEL's --threshold).")] = 800.0
    min_snr: Annotated[float, Parameter(help="Least ratio of a peak to the noise around it.")] = 5.0
    min_pix_count: Annotated[int, Parameter(help="Fewest pixels of a peak.")] = 2
    max_pix_count: Annotated[int, Parameter(help="Most pixels of a peak.")] = 200
    local_bg_radius: Annotated[int, Parameter(help="Half the radius of a peak's surroundings, px.")] = 3
    min_res: Annotated[float, Parameter(help="Nearest to the beam that peaks are looked for, px; 0 = no limit.")] = 0.0
    max_res: Annotated[float, Parameter(help="Farthest from the beam, px; 0 = no limit.")] = 0.0
    peakfinder8_fast: Annotated[bool, Parameter(negative="", help="Radial statistics from few pixels.")] = False
    min_peaks: Annotated[int, Parameter(help="Peaks from which on the peak finder calls a frame a hit.")] = 10
    write_hits: Annotated[Path | None, Parameter(help="CXI file of the hits, with their peaks, and a list .lst beside it.")] = (
        None
    )

    def told(self) -> dict[str, Any]:
        """What a record says of it: every parameter, so that a changed default shows; nothing where no peaks are asked for."""
        values = {name: value for name, value in asdict(self).items() if name not in ("peaks", "write_hits")}
        return {"peaks": "peakfinder8", **values} if self.finding else {}

    @property
    def finding(self) -> bool:
        """Whether peaks are needed."""
        return self.peaks or self.write_hits is not None


NOTHING_ELSE = Looked()


class Examiner:
    """Adds to answers what `looked` asks for, and writes the hits; `watched`, where the model's card says what runs are like,
    also what each frame is like. Made by `examining`."""

    def __init__(self, looked: Looked, watched: bool, hits: Any = None) -> None:
        self._looked, self._watched, self._hits = looked, watched, hits
        self._parameters: Any = _parameters(looked) if looked.finding else None

    def __call__(self, frame: Frame, answer: Answer) -> Answer:
        """The answer with its reasons. Raises CannotWrite where a hit cannot be written; a frame whose hit cannot stand in one
        file with the others is refused."""
        if answer.error is not None:
            return answer
        reasons: dict[str, Any] = dict(answer.reasons or {}) | {"saturated_px": saturated_px(frame)}
        if self._parameters is not None:
            try:
                reasons |= self._classical(frame, answer)
            except BadFrame as error:
                return Answer(answer.key, error=str(error).removeprefix(f"{answer.key}: "))
        state = [None if np.isnan(v) else round(float(v), 4) for v in state_of(frame)] if self._watched else None
        return replace(answer, reasons=reasons, state=state)

    def _classical(self, frame: Frame, answer: Answer) -> dict[str, Any]:
        from beamsight.peakfinder8 import peaks_of, search_of

        search = search_of(frame.geometry, self._parameters)
        peaks = peaks_of(search, frame.image, frame.mask)
        if self._hits is not None and answer.answer == HIT:
            self._hits.add(frame, peaks)
        found: dict[str, Any] = {"peaks": peaks.found, "agree": agree(answer, peaks.found, self._looked.min_peaks)}
        return found | ({"assumed_centre": True} if search.assumed_centre else {})


@contextmanager
def examining(looked: Looked, watched: bool, by: dict[str, Any] | None = None, overwrite: bool = False) -> Iterator[Examiner]:
    """An Examiner; hits go to `looked.write_hits` together with what they were found `by`."""
    if looked.write_hits is None:
        yield Examiner(looked, watched)
        return
    from beamsight.cxi import HitsWriter

    with HitsWriter(looked.write_hits, (by or {}) | looked.told(), overwrite=overwrite) as hits:
        yield Examiner(looked, watched, hits)


def agree(answer: Answer, peaks: int, least: int) -> bool | None:
    """Whether the number of peaks says the same as the answer; None where the answer is neither hit nor miss."""
    return (peaks >= least) == (answer.answer == HIT) if answer.answer in (HIT, MISS) else None


def saturated_px(frame: Frame) -> int:
    """How many trusted pixels stand at the frame's highest count, where at least SATURATED do; 0 otherwise."""
    top = float(frame.image.max(initial=-np.inf, where=frame.mask))
    number = int(((frame.image == top) & frame.mask).sum()) if np.isfinite(top) and top > SATURATED else 0
    return number if number >= SATURATED else 0


def _parameters(looked: Looked) -> Any:
    from beamsight.peakfinder8 import Peakfinder8

    shared = ("min_snr", "min_pix_count", "max_pix_count", "local_bg_radius", "min_res", "max_res")
    values = {name: getattr(looked, name) for name in shared}
    return Peakfinder8(threshold=looked.peak_threshold, fast=looked.peakfinder8_fast, **values)

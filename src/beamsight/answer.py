"""What is said of one frame."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any

# Said in place of a name where none of them is probable enough to be relied on.
UNSURE = "unsure"
TILE_PX = 64  # a side of the tiles that are told as places


@dataclass(frozen=True)
class Answer:
    """What is said of the frame `key`: `answer`, a list of tags or one name; `probability` {name: 0...1}; `doubtful`, the
    names whose probability lies where the model is often wrong; `seconds` the answer took. `centre_px` (y, x) of the beam as the
    image tells it, only where the file gives none, and `centre_error_px`, within which it lies in two of three frames. `places`,
    of models that tell them: the tiles of 64 x 64 px (row, column, probability) that hold what is asked. `reasons`
    what else speaks for or against it, in what JSON holds; `state`, numbers by which a run is watched (`state.state_of`).

    Where `error` is given, the frame was refused and the rest is empty.
    """

    key: str
    answer: list[str] | str | None = None
    probability: dict[str, float] = field(default_factory=dict)
    doubtful: list[str] = field(default_factory=list)
    seconds: float = 0.0
    error: str | None = None
    centre_px: tuple[float, float] | None = None
    centre_error_px: float | None = None
    places: list[tuple[int, int, float]] | None = None
    reasons: dict[str, Any] | None = None
    state: list[float | None] | None = None

    @property
    def centre(self) -> str:
        """In words where the beam was found, in what the answer rests on; empty where the file said it."""
        if self.centre_px is None or self.centre_error_px is None:
            return ""
        (y, x), off = self.centre_px, self.centre_error_px
        return f"centre estimated from the image: ({y:.1f}, {x:.1f}) ± {off:.1f} px (y, x)"

    @property
    def further(self) -> list[str]:
        """In words, of an answer that is one name: which came second, and how far nearest neighbours are apart."""
        if not isinstance(self.answer, str):
            return []
        others = {n: p for n, p in self.probability.items() if n not in (*self.names, *self.doubtful)}
        second = max(others, key=lambda name: others[name], default="")
        told = [f"then {second} {others[second]:.2f}"] if others.get(second, 0) >= 0.01 else []
        if self.reasons and "nearest_neighbours_nm" in self.reasons:
            apart, error = self.reasons["nearest_neighbours_nm"], self.reasons["nearest_neighbours_error_nm"]
            told.append(f"neighbours {apart:.1f} ± {error:.1f} nm apart")
        return told

    @property
    def names(self) -> list[str]:
        """The answer as a list, whatever its kind."""
        return [self.answer] if isinstance(self.answer, str) else list(self.answer or ())

    def line(self) -> str:
        """One JSON object on one line, without its newline; `from_line` reads it."""
        if self.error is not None:
            return json.dumps({"key": self.key, "error": self.error}, ensure_ascii=False)
        values = asdict(self) | {
            "probability": {k: round(v, 5) for k, v in self.probability.items()},
            "seconds": round(self.seconds, 5),
        }
        del values["error"]
        if self.places is not None:
            values["places"] = [(y, x, round(p, 4)) for y, x, p in self.places]
        for name in ("places", "reasons", "state"):
            if values[name] is None:
                del values[name]
        if self.centre_px is None:
            del values["centre_px"], values["centre_error_px"]
        else:
            values |= {"centre_px": [round(v, 2) for v in self.centre_px], "centre_error_px": round(self.centre_error_px or 0, 2)}
        return json.dumps(values, ensure_ascii=False)

    def _repr_html_(self) -> str:
        if self.error is not None:
            return f"<p><code>{escape(self.key)}</code> refused: {escape(self.error)}</p>"
        ranked = sorted(self.probability.items(), key=lambda kv: -kv[1])[:12]
        rows = "".join(f"<tr><td>{_mark(self, n)}</td><td>{p:.2f}</td></tr>" for n, p in ranked)
        told = ", ".join(filter(None, [self.centre, *self.further]))
        return f"<table><caption><code>{escape(self.key)}</code> {escape(told)}</caption>{rows}</table>"


def from_line(line: str | bytes) -> Answer:
    """The inverse of `Answer.line`. Raises ValueError for anything else."""
    values: Any = json.loads(line)
    try:
        place, places = values.get("centre_px"), values.get("places")
        values |= {} if place is None else {"centre_px": (float(place[0]), float(place[1]))}
        values |= {} if places is None else {"places": [(int(y), int(x), float(p)) for y, x, p in places]}
        return Answer(**values)
    except (TypeError, AttributeError, ValueError, IndexError) as error:
        raise ValueError(f"no answer: {error}") from None


def _mark(answer: Answer, name: str) -> str:
    text = f"<b>{escape(name)}</b>" if name in answer.names else escape(name)
    return text + (" (doubtful)" if name in answer.doubtful else "")

"""What is said of one frame."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from html import escape
from typing import Any


@dataclass(frozen=True)
class Answer:
    """What is said of the frame `key`: `answer`, a list of tags or one name; `probability` {name: 0...1}; `doubtful`, the
    names whose probability lies where the model is often wrong; `seconds` the answer took.

    Where `error` is given, the frame was refused and the rest is empty.
    """

    key: str
    answer: list[str] | str | None = None
    probability: dict[str, float] = field(default_factory=dict)
    doubtful: list[str] = field(default_factory=list)
    seconds: float = 0.0
    error: str | None = None

    @property
    def names(self) -> list[str]:
        """The answer as a list, whatever its kind."""
        return [self.answer] if isinstance(self.answer, str) else list(self.answer or ())

    def line(self) -> str:
        """One JSON object on one line, without its newline; `from_line` reads it."""
        if self.error is not None:
            return json.dumps({"key": self.key, "error": self.error}, ensure_ascii=False)
        values = asdict(self) | {
            "probability": {k: round(v, 4) for k, v in self.probability.items()},
            "seconds": round(self.seconds, 5),
        }
        del values["error"]
        return json.dumps(values, ensure_ascii=False)

    def _repr_html_(self) -> str:
        if self.error is not None:
            return f"<p><code>{escape(self.key)}</code> refused: {escape(self.error)}</p>"
        ranked = sorted(self.probability.items(), key=lambda kv: -kv[1])[:12]
        rows = "".join(f"<tr><td>{_mark(self, n)}</td><td>{p:.2f}</td></tr>" for n, p in ranked)
        return f"<table><caption><code>{escape(self.key)}</code></caption>{rows}</table>"


def from_line(line: str | bytes) -> Answer:
    """The inverse of `Answer.line`. Raises ValueError for anything else."""
    values: Any = json.loads(line)
    try:
        return Answer(**values)
    except TypeError as error:
        raise ValueError(f"no answer: {error}") from None


def _mark(answer: Answer, name: str) -> str:
    text = f"<b>{escape(name)}</b>" if name in answer.names else escape(name)
    return text + (" (doubtful)" if name in answer.doubtful else "")

"""What can be asked of a frame: a closed family. NumPy only; the loss of each lives with training."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from beamsight.errors import BeamsightError


@dataclass(frozen=True)
class Tags:
    """Any subset of `names` holds. Truth: {name: True | False | None}, None meaning doubtful: neither trained on nor scored."""

    names: tuple[str, ...]

    @property
    def width(self) -> int:
        """Numbers a network must give: one logit a name."""
        return len(self.names)

    def encode(self, truth: Mapping[str, bool | None]) -> NDArray[np.float32]:
        """[T] float32: 1 present, 0 absent, NaN doubtful. Raises BeamsightError for a name that is not asked for."""
        unknown = sorted(set(truth) - set(self.names))
        if unknown:
            raise BeamsightError(f"the truth names {unknown}, which is none of {list(self.names)}")
        values = [truth.get(name, False) for name in self.names]
        return np.array([np.nan if v is None else float(v) for v in values], np.float32)

    def truth(self, encoded: NDArray[np.float32]) -> dict[str, bool | None]:
        """The inverse of `encode`."""
        return {name: None if np.isnan(v) else bool(v) for name, v in zip(self.names, encoded, strict=True)}

    def decode(self, probability: Sequence[float], threshold: Sequence[float]) -> list[str]:
        """The names whose probability [T] reaches its threshold [T]."""
        return [n for n, p, t in zip(self.names, probability, threshold, strict=True) if p >= t]

    def probability(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """[... T] logits to [... T] probabilities, each name by itself."""
        return np.asarray(sigmoid(logits), np.float32)


@dataclass(frozen=True)
class OneOf:
    """Exactly one of `names` holds. Truth: the name, or None where it is doubtful. To take a name `between` two others for one of
    them, or one of them for it, is no mistake that makes an answer unsure. Of the answers that are not called unsure at least a
    share `right` is to be. Encoded, a truth may be shared among names that show the same: learnt from, so that none of them is
    believed alone, and scored as doubtful."""

    names: tuple[str, ...]
    between: tuple[str, ...] = ()
    right: float = 0.995

    @property
    def width(self) -> int:
        """Numbers a network must give: one logit a name."""
        return len(self.names)

    @property
    def apart(self) -> NDArray[np.bool_]:
        """[T] the names that contradict one another."""
        return np.array([name not in self.between for name in self.names])

    def encode(self, truth: str | None) -> NDArray[np.float32]:
        """[T] float32, 1 at the name; all NaN where doubtful. Raises BeamsightError for an unknown name."""
        if truth is not None and truth not in self.names:
            raise BeamsightError(f"the truth is {truth!r}, which is none of {list(self.names)}")
        return np.array([np.nan if truth is None else float(n == truth) for n in self.names], np.float32)

    def truth(self, encoded: NDArray[np.float32]) -> str | None:
        """The inverse of `encode`."""
        return None if np.isnan(scored(encoded)).any() else self.names[int(np.argmax(encoded))]

    def decode(self, probability: Sequence[float], threshold: Sequence[float]) -> str:
        """The most probable name; thresholds do not enter."""
        return self.names[int(np.argmax(probability))]

    def sureness(self, probability: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
        """[N T] probabilities to how sure the most probable names are [N]: one less the chance of what contradicts them."""
        apart, best = self.apart, probability.argmax(1)
        against = (probability * apart).sum(1) - np.where(apart[best], probability.max(1), 0.0)
        return np.asarray(np.where(apart[best], 1 - against, 1.0))

    def probability(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """[... T] logits to [... T] probabilities that sum to one."""
        e = np.exp(logits - logits.max(axis=-1, keepdims=True))
        return np.asarray(e / e.sum(axis=-1, keepdims=True), np.float32)


def scored(encoded: NDArray[np.float32]) -> NDArray[np.float32]:
    """[... T] encoded truth as scores and calibration take it: what is shared among names is doubtful of these, NaN."""
    return np.where((encoded == 0) | (encoded == 1), encoded, np.float32(np.nan))


def sigmoid(logits: NDArray[np.floating[Any]]) -> NDArray[np.floating[Any]]:
    """[...] logits to [...] probabilities, each by itself; without overflow."""
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -60, 60))))


Target = Tags | OneOf

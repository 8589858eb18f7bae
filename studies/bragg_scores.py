"""How right the answers are that were given to tiles and to whole images."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from bragg_images import pattern

MOST_ENOUGH = 20  # numbers of tiles that a rule is chosen from

Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Told:
    """What is known and said of a set of images: `truth` and `said` [h w] of their tiles (1 holds a spot, NaN doubtful; the
    probability), tiles `claimed` from `limit` on, `answers` where the model gives one for the image, `detectors` by name."""

    truth: list[Floats]
    said: list[Floats]
    limit: float
    answers: list[str]
    detectors: list[str]

    @property
    def claimed(self) -> list[NDArray[np.bool_]]:
        """[h w] of each image."""
        return [said >= self.limit for said in self.said]

    @property
    def counts(self) -> NDArray[np.int64]:
        """How many tiles of each image are claimed."""
        return np.array([int(c.sum()) for c in self.claimed])

    @property
    def patterns(self) -> Floats:
        """The truth of each image: 1 shows a pattern, 0 none, NaN doubtful."""
        return np.array([pattern(t) for t in self.truth])


def tile_scores(told: Told) -> dict[str, float]:
    """Accuracy, precision, recall and average precision over all tiles that are not doubtful, and the share that holds spots."""
    truth = np.concatenate([t.ravel() for t in told.truth])
    known = ~np.isnan(truth)
    there = truth[known] == 1
    said = np.concatenate([s.ravel() for s in told.said])[known]
    claimed = said >= told.limit
    both = float((claimed & there).sum())
    return {
        "tiles": float(len(there)),
        "share": float(there.mean()),
        "accuracy": float((claimed == there).mean()),
        "precision": both / max(1, claimed.sum()),
        "recall": both / max(1, there.sum()),
        "ap": float(average_precision_score(there, said)) if there.any() else float("nan"),
    }


def images_right(counts: NDArray[np.int64], patterns: Floats, enough: int) -> float:
    """Share of the images right by the rule that `enough` claimed tiles make a pattern; doubtful images apart."""
    known = ~np.isnan(patterns)
    return float(((counts >= enough) == (patterns == 1))[known].mean())


def chosen_rule(counts: NDArray[np.int64], patterns: Floats) -> int:
    """The number of tiles that makes most images right; the middle one of those that are as good."""
    right = np.array([images_right(counts, patterns, n) for n in range(1, MOST_ENOUGH + 1)])
    best = np.flatnonzero(right == right.max())
    return int(best[(len(best) - 1) // 2]) + 1


def only(told: Told, detector: str) -> Told:
    """What is told of the images of one detector."""
    chosen = [n for n, name in enumerate(told.detectors) if name == detector]
    picked = {name: [getattr(told, name)[n] for n in chosen] for name in ("truth", "said", "answers", "detectors")}
    return replace(told, **picked)


def worst(told: Told, n: int) -> list[int]:
    """The images with the most wrong tiles, most first."""
    pairs = zip(told.truth, told.claimed, strict=True)
    wrong = np.array([int(((t == 1) != c)[~np.isnan(t)].sum()) for t, c in pairs])
    return [int(k) for k in np.argsort(-wrong, kind="stable")[:n]]

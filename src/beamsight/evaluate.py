"""How well a model answers: scores against truth, and the thresholds and calibration that its card carries."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

Floats = NDArray[np.floating[Any]]

BINS = 15
PRECISION = 0.9
# A probability is doubtful where more than this share of the answers near it are wrong.
WRONG = 1 / 3


def per_tag(score: Any, probability: Floats, truth: Floats) -> Floats:
    """`score(truth, probability)` of each tag [T] from [N T] where truth is known; NaN where only one kind occurs."""
    columns = [_known(probability[:, t], truth[:, t]) for t in range(truth.shape[1])]
    return np.array([score(y, p) if 0 < y.sum() < len(y) else np.nan for p, y in columns])


def average_precision(probability: Floats, truth: Floats) -> Floats:
    """Area under precision over recall of each tag [T], from [N T]; truth is 1, 0 or NaN for doubtful, which is left out."""
    return per_tag(average_precision_score, probability, truth)


def auc(probability: Floats, truth: Floats) -> Floats:
    """Chance that a frame with the tag is given a higher probability than one without [T], from [N T]."""
    return per_tag(roc_auc_score, probability, truth)


def mean(scores: Floats) -> float:
    """The mean of the scores that exist; NaN where none does."""
    known = scores[~np.isnan(scores)]
    return float(known.mean()) if len(known) else float("nan")


def _known(p: Floats, y: Floats) -> tuple[Floats, Floats]:
    seen = ~np.isnan(y)
    return p[seen], y[seen]

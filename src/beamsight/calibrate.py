"""From logits to answers that can be trusted: probabilities that mean what they say, thresholds, and where to doubt."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import precision_recall_curve

from beamsight.targets import OneOf, Target, sigmoid

Floats = NDArray[np.floating[Any]]

PRECISION = 0.5  # a tag that is named should more often be right than wrong
WRONG = 1 / 3


def calibration(target: Target, logits: Floats, truth: Floats) -> tuple[Floats, Floats]:
    """(scale [T], shift [T]) so that scale * logits + shift gives probabilities that come true as often as they say.

    From logits and truth [N T] of frames not trained on, NaN left out. Tags: logistic regression of each truth on its logit
    (Platt). One of several: one temperature for all. What is always or never there, or misled by its logit, stays as it is.
    """
    if isinstance(target, OneOf):
        return np.full(target.width, _temperature(target, logits, truth)), np.zeros(target.width)
    pairs = [_platt(logits[:, t], truth[:, t]) for t in range(target.width)]
    return np.array([scale for scale, _ in pairs]), np.array([shift for _, shift in pairs])


def centre_calibration(spread: Floats, off: Floats) -> dict[str, float]:
    """{scale, power} so that two of three centres (68.3 %) lie within scale * spread^power of the truth, from spreads that the
    network tells and distances from the truth [N], px, of frames not trained on."""
    logs = np.log(np.maximum(spread, 1e-3)), np.log(np.maximum(off, 1e-3))
    power = float(np.clip(np.polyfit(*logs, 1)[0], 0.2, 2.0)) if len(off) > 2 else 1.0
    return {"scale": float(np.quantile(off / np.maximum(spread, 1e-3) ** power, 0.683)), "power": power}


def places_calibration(logits: Floats, truth: Floats) -> dict[str, float]:
    """{scale, shift, threshold, places} for logits and truth (1, 0, NaN) [...] of places of frames not trained on, as
    `calibration` and `thresholds` have them for a tag."""
    logit, there = logits.reshape(-1), truth.reshape(-1)
    scale, shift = _platt(logit, there)
    probability = sigmoid(scale * logit + shift)
    limit = float(_threshold(*_known(probability, there), PRECISION))
    return {"scale": scale, "shift": shift, "threshold": limit, "places": int((~np.isnan(there)).sum())}


def sure_from(target: OneOf, probability: Floats, truth: Floats) -> float:
    """How sure [0 1] (`OneOf.sureness`) an answer must be so that at least `target.right` of such answers do not contradict the
    truth, from [N T]; the others are unsure. Just above 1 where no answer is ever that sure. Answers between two others do not
    count."""
    apart = target.apart
    known = ~np.isnan(truth).any(1) & apart[probability.argmax(1)]
    best, right_one = probability[known].argmax(1), truth[known].argmax(1)
    top, good = target.sureness(probability[known]), (best == right_one) | ~apart[right_one]
    order = np.argsort(-top, kind="stable")
    share = np.cumsum(good[order]) / np.arange(1, len(order) + 1)
    last = np.append(np.diff(top[order]) != 0, True)[: len(order)]  # of those that are as sure
    enough = np.flatnonzero((share >= target.right) & last)
    return float(top[order][enough[-1]]) if len(enough) else 1.01


def _platt(logit: Floats, truth: Floats) -> tuple[float, float]:
    x, y = _known(logit, truth)
    if len(np.unique(y)) < 2:
        return 1.0, 0.0
    # The weak pull to zero keeps a tag that is told apart without error from an infinite scale.
    fitted = LogisticRegression(C=10.0).fit(x[:, None], y)
    scale, shift = float(fitted.coef_[0, 0]), float(fitted.intercept_[0])
    return (scale, shift) if scale > 0 else (1.0, 0.0)


def _temperature(target: OneOf, logits: Floats, truth: Floats) -> float:
    known = ~np.isnan(truth).any(1)
    if not known.any():
        return 1.0
    z, right = logits[known].astype(np.float32), truth[known].argmax(1)

    def surprise(log_scale: float) -> float:
        p = target.probability(np.exp(log_scale) * z)[np.arange(len(right)), right]
        return float(-np.log(np.maximum(p, 1e-12)).mean())

    return float(np.exp(minimize_scalar(surprise, bounds=(-3, 3), method="bounded").x))


def thresholds(probability: Floats, truth: Floats, precision: float = PRECISION) -> Floats:
    """The threshold of each tag [T] from [N T]: where it is claimed as often as it holds, so that misses and false claims are
    equally many; higher where fewer than `precision` of the claims would be right, if there is such a place.

    The best F1 lies lower for tags that are hard to tell, and claims them too readily. A tag that is always or never there
    keeps 0.5.
    """
    return np.array([_threshold(*_known(probability[:, t], truth[:, t]), precision) for t in range(truth.shape[1])])


def _threshold(p: Floats, y: Floats, wanted: float) -> float:
    if len(np.unique(y)) < 2:
        return 0.5
    precision, recall, limits = precision_recall_curve(y, p)
    precision, recall = precision[:-1], recall[:-1]
    uneven = np.abs(precision - recall)
    allowed = (precision >= wanted) & (recall > 0)
    best = int(np.argmin(np.where(allowed, uneven, 2.0) if allowed.any() else uneven))
    # Midway to the next lower probability: where all is told apart, the middle of the gap, not its edge.
    return float(limits[max(0, best - 1) : best + 1].mean())


def doubtful_bands(probability: Floats, truth: Floats, threshold: Floats, wrong: float = WRONG) -> Floats:
    """(low, high) [T 2] of each tag from [N T]: where around its threshold more than `wrong` of the answers are wrong.

    How often a tag holds at a probability is taken from the frames by isotonic regression.
    """
    columns = [(*_known(probability[:, t], truth[:, t]), float(threshold[t])) for t in range(truth.shape[1])]
    return np.array([_band(p, y, limit, wrong) for p, y, limit in columns])


def _band(p: Floats, y: Floats, limit: float, wrong: float) -> tuple[float, float]:
    if len(np.unique(y)) < 2:
        return limit, limit
    often = IsotonicRegression(out_of_bounds="clip").fit(p, y).predict(p)
    below, above = p[(p < limit) & (often > wrong)], p[(p >= limit) & (often < 1 - wrong)]
    return float(below.min(initial=limit)), float(above.max(initial=limit))


def _known(x: Floats, truth: Floats) -> tuple[Floats, Floats]:
    seen = ~np.isnan(truth)
    return x[seen], truth[seen]

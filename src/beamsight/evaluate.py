"""How well a model answers: scores against truth over frames where truth is known."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score, roc_auc_score

from beamsight.bundle import Bundle
from beamsight.errors import BeamsightError
from beamsight.examples import simulate
from beamsight.frame import Frame
from beamsight.targets import OneOf, Tags, Target
from beamsight.task import Task

Floats = NDArray[np.floating[Any]]

BINS = 15


def evaluate(bundle: Bundle, what: Task | Iterable[Frame], n: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Scores of a bundle on Frames with truth, or on the test examples 0 to n - 1 of a task.

    {"frames", "refused", "mean_ap", "mean_auc", "calibration_error", "tags": {name: {"present", "absent", "ap", "auc",
    "calibration_error", "precision", "recall"}}}; one of several names adds "accuracy". NaN where a score does not exist.
    Raises BeamsightError where no frame has truth.
    """
    frames = simulate(what, n, seed, (bundle.size, bundle.size)) if isinstance(what, Task) else what
    probability, truth, refused = _answered(bundle, frames)
    scores = score(bundle.target, probability, truth, np.asarray(bundle.card["threshold"], float))
    return {"frames": len(truth), "refused": refused, **scores}


def score(target: Target, probability: Floats, truth: Floats, threshold: Floats) -> dict[str, Any]:
    """The scores of `evaluate` from calibrated probabilities and truth [N T] (1, 0, NaN = doubtful) at thresholds [T]."""
    claimed = _claims(target, probability, threshold)
    columns = {
        "present": (truth == 1).sum(0),
        "absent": (truth == 0).sum(0),
        "ap": average_precision(probability, truth),
        "auc": auc(probability, truth),
        "calibration_error": calibration_error(probability, truth),
        "precision": _share(truth == 1, claimed & ~np.isnan(truth)),
        "recall": _share(claimed, truth == 1),
    }
    overall = {"mean_ap": mean(columns["ap"]), "mean_auc": mean(columns["auc"])}
    overall["calibration_error"] = mean(columns["calibration_error"])
    if isinstance(target, OneOf):
        overall["accuracy"] = float(_share(np.any(claimed & (truth == 1), axis=1), ~np.any(np.isnan(truth), axis=1)))
    return overall | {"tags": {n: {k: v[t].item() for k, v in columns.items()} for t, n in enumerate(target.names)}}


def average_precision(probability: Floats, truth: Floats) -> Floats:
    """Area under precision over recall of each tag [T], from [N T]; truth is 1, 0 or NaN for doubtful, which is left out."""
    return _per_tag(average_precision_score, probability, truth)


def auc(probability: Floats, truth: Floats) -> Floats:
    """Chance that a frame with the tag is given a higher probability than one without [T], from [N T]."""
    return _per_tag(roc_auc_score, probability, truth)


def calibration_error(probability: Floats, truth: Floats, bins: int = BINS) -> Floats:
    """Expected calibration error of each tag [T]: mean |probability - frequency| over `bins` groups of equally many frames."""
    return _per_tag(partial(_miscalibrated, bins=bins), probability, truth)


def mean(scores: Floats) -> float:
    """The mean of the scores that exist; NaN where none does."""
    known = scores[~np.isnan(scores)]
    return float(known.mean()) if len(known) else float("nan")


def table(scores: dict[str, Any]) -> str:
    """The scores of `evaluate` as lines of text: a row a tag, the means below."""
    width = max(len("mean"), *(len(name) for name in scores["tags"]))
    rows = [f"{'':{width}}  present  absent     AP    AUC  precision  recall  calibration error"]
    for name, tag in scores["tags"].items():
        counts = f"{name:{width}}  {tag['present']:7d}  {tag['absent']:6d}  {tag['ap']:5.3f}  {tag['auc']:5.3f}"
        rows.append(f"{counts}  {tag['precision']:9.3f}  {tag['recall']:6.3f}  {tag['calibration_error']:17.3f}")
    means = f"{scores['mean_ap']:5.3f}  {scores['mean_auc']:5.3f}  {'':9}  {'':6}  {scores['calibration_error']:17.3f}"
    return "\n".join([*rows, f"{'mean':{width}}  {'':7}  {'':6}  {means}"])


def _answered(bundle: Bundle, frames: Iterable[Frame]) -> tuple[Floats, Floats, int]:
    """(probability [N T], truth [N T], how many were refused) of the frames, one pass."""
    truths: list[Any] = []

    def noted() -> Iterator[Frame]:
        for frame in frames:
            if frame.truth is None and isinstance(bundle.target, Tags):
                raise BeamsightError(f"{frame.key} has no truth to score against; give frames that `beamsight simulate` wrote")
            truths.append(bundle.target.encode(frame.truth))
            yield frame

    answers = list(bundle.predict(noted()))
    good = [n for n, answer in enumerate(answers) if answer.error is None]
    if not good:
        raise BeamsightError(f"{len(answers)} frames came and none could be answered; there is nothing to score")
    probability = [list((answers[n].probability or {}).values()) for n in good]
    return np.array(probability), np.stack([truths[n] for n in good]), len(answers) - len(good)


def _claims(target: Target, probability: Floats, threshold: Floats) -> NDArray[np.bool_]:
    if isinstance(target, OneOf):
        return np.asarray(probability.argmax(1)[:, None] == np.arange(target.width))
    return np.asarray(probability >= threshold)


def _share(of: NDArray[np.bool_], among: NDArray[np.bool_]) -> Floats:
    """Along the frames: the share of `among` that is `of`; NaN where there is none."""
    some = among.sum(0)
    return np.where(some > 0, (of & among).sum(0) / np.maximum(some, 1), np.nan)


def _per_tag(score: Callable[[Floats, Floats], float], probability: Floats, truth: Floats) -> Floats:
    """`score(truth, probability)` of each tag [T] over frames where truth is known; NaN where only one kind occurs."""
    seen = [~np.isnan(truth[:, t]) for t in range(truth.shape[1])]
    columns = [(truth[s, t], probability[s, t]) for t, s in enumerate(seen)]
    return np.array([score(y, p) if 0 < y.sum() < len(y) else np.nan for y, p in columns])


def _miscalibrated(truth: Floats, probability: Floats, bins: int) -> float:
    order = np.argsort(probability, kind="stable")
    groups = [g for g in np.array_split(order, bins) if len(g)]
    return float(sum(abs(truth[g].sum() - probability[g].sum()) for g in groups) / len(truth))

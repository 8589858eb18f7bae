"""How a model's score falls as detectors and pictures get worse: the same scenes at every strength, and how sure that is.

A detector decides what can be seen, so its sweeps are scored against the truth at each strength, and beside it against the
labels of the mildest. A disturbed picture keeps its labels. Intervals are 95 %: 1.96 standard errors of a bootstrap over frames,
the same frames at every strength.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.random import default_rng
from numpy.typing import NDArray

from beamsight.answer import Answer
from beamsight.bundle import Bundle
from beamsight.disturb import DISTURBANCES
from beamsight.errors import BeamsightError
from beamsight.evaluate import Floats, mean
from beamsight.examples import TEST
from beamsight.frame import Frame
from beamsight.sweeps import Sweep
from beamsight.task import Task, example, frames_of, make_batch

# Streams of random numbers, beside those of an example.
DISTURB, BOOTSTRAP = 20, 21
BATCH, RESAMPLES, SIGMAS = 32, 200, 1.96
LIMIT_POINTS = 2.0  # what a model may lose and still be said to stand
EXAMPLES = 2

# (name of a sweep or its control, strength); of the frames as they are drawn, UNDISTURBED.
Key = tuple[str, float]
UNDISTURBED: Key = ("", 0.0)


@dataclass
class Said:
    """What was answered at one strength, frame by frame: `probability` and `truth`, rows [T]; NaN where a frame was refused.

    `examples` are the frames that the page shows.
    """

    probability: list[Floats] = field(default_factory=list)
    truth: list[Floats] = field(default_factory=list)
    examples: list[Frame] = field(default_factory=list)

    @property
    def refused(self) -> int:
        """Frames that were not answered."""
        return int(np.isnan(self.probability).all(1).sum())


def answered(
    bundle: Bundle,
    task: Task,
    sweeps: Sequence[Sweep],
    n: int = 500,
    seed: int = 0,
    tell: Callable[[Answer], None] = lambda answer: None,
) -> dict[Key, Said]:
    """Answers and truth of the test examples 0 to n - 1 of a task at every strength of every sweep; `tell` hears each answer.

    Raises BeamsightError where the model asks for other names than the task, or n is below 2.
    """
    if bundle.target.names != task.target.names:
        raise BeamsightError(
            f"the model {bundle.name} was made for other answers than the task {task.name} has now; train it anew"
        )
    if n < 2:
        raise BeamsightError(f"{n} frames tell nothing of an interval; ask for at least 2, better hundreds")
    said: dict[Key, Said] = {}
    for first in range(0, n, BATCH):
        shown: list[int] | None = None
        for key, frames in strengths(task, seed, TEST[first : min(first + BATCH, n)], (bundle.size, bundle.size), sweeps):
            shown = most_to_see(frames) if shown is None else shown
            _note(said.setdefault(key, Said()), bundle, frames, tell)
            if first == 0:
                said[key].examples += [frames[i] for i in shown]
    return said


def strengths(
    task: Task, seed: int, indices: Sequence[int], shape: tuple[int, int], sweeps: Sequence[Sweep]
) -> Iterator[tuple[Key, list[Frame]]]:
    """The examples `indices` as Frames at every strength of every sweep, the undisturbed first."""
    drawn = [example(task, seed, i) for i in indices]

    def taken(sweep: Sweep | None = None, value: float = 0.0) -> list[Frame]:
        change = None if sweep is None else partial(sweep.changed, value=value)
        return frames_of(task, seed, make_batch(task, seed, indices, shape, change, drawn))

    undisturbed = taken()
    yield UNDISTURBED, undisturbed
    for sweep in sweeps:
        for value in sweep.values:
            if not sweep.of_picture:
                yield (sweep.name, value), taken(sweep, value)
                continue
            for name in filter(None, (sweep.name, sweep.control)):
                disturb = DISTURBANCES[name]
                pairs = zip(indices, undisturbed, strict=True)
                yield (name, value), [disturb(frame, value, default_rng([seed, i, DISTURB])) for i, frame in pairs]


def most_to_see(frames: Sequence[Frame]) -> list[int]:
    """Which EXAMPLES of the frames have the most names present; the first of them where that is equal."""
    present = [sum(v is True for v in f.truth.values()) if isinstance(f.truth, dict) else 0 for f in frames]
    return sorted(range(len(frames)), key=lambda i: -present[i])[:EXAMPLES]


def _note(said: Said, bundle: Bundle, frames: list[Frame], tell: Callable[[Answer], None]) -> None:
    for frame, answer in zip(frames, bundle.predict(frames), strict=True):
        unknown = np.full(bundle.target.width, np.nan)
        said.probability.append(unknown if answer.error is not None else np.array(list(answer.probability.values())))
        said.truth.append(bundle.target.encode(frame.truth))
        tell(answer)


def scored(said: dict[Key, Said], names: Sequence[str], sweeps: Sequence[Sweep], seed: int = 0) -> dict[str, Any]:
    """Scores and intervals of what `answered` gave, all that JSON can hold (None where a score does not exist).

    {"undisturbed", "limit_points", "sentence", "sweeps": [{"name", "title", "axis", "against", "tags" that have a score at every
    strength, "stands" the last strength up to which at most LIMIT_POINTS are lost, "points": [{"value", "score", "low", "high",
    "loss" in points, "loss_low", "loss_high", "first_labels", "control", "refused", "tags": {name: AP}, "before":
    {name: AP that the loss is counted from}}]}]}: that of the first value, or of the control at the same value.
    """
    n = len(said[UNDISTURBED].truth)
    # The first row is the sample itself, the others are drawn from it with replacement.
    drawn = default_rng([seed, BOOTSTRAP]).multinomial(n, np.full(n, 1 / n), RESAMPLES)
    weights = np.vstack([np.ones(n), drawn])
    undisturbed = resampled_ap(said[UNDISTURBED], weights)
    told = [_sweep(sweep, said, names, undisturbed, weights) for sweep in sweeps]
    whole = _interval(_means(undisturbed))
    return {"undisturbed": whole, "limit_points": LIMIT_POINTS, "sentence": sentence(whole, sweeps, told), "sweeps": told}


def resampled_ap(said: Said, weights: Floats, truth: Sequence[Floats] | None = None) -> Floats:
    """Average precision [R T] of each tag, with the frames counted `weights` [R N] times; `truth` [N T] in place of its own.

    As scikit-learn's with sample weights, for all rows at once: 300,000 calls would take minutes.
    """
    p, y = np.array(said.probability), np.array(said.truth if truth is None else truth)
    return np.stack([_ap(p[:, t], y[:, t], weights) for t in range(p.shape[1])], 1)


def _ap(p: Floats, y: Floats, weights: Floats) -> Floats:
    known = ~(np.isnan(p) | np.isnan(y))
    order = np.flatnonzero(known)[np.argsort(-p[known], kind="stable")]
    w, hit = weights[:, order], weights[:, order] * y[order]
    # Frames of one probability are claimed together.
    last = np.flatnonzero(np.append(np.diff(p[order]) != 0, True)) if len(order) else np.zeros(0, int)
    claimed, found = w.cumsum(1)[:, last], hit.cumsum(1)[:, last]
    total = hit.sum(1)
    precision = found / np.maximum(claimed, 1e-9)
    gained = np.diff(found, axis=1, prepend=0)
    exists = (total > 0) & (total < w.sum(1))
    return np.where(exists, (gained * precision).sum(1) / np.maximum(total, 1e-9), np.nan)


def _sweep(sweep: Sweep, said: dict[Key, Said], names: Sequence[str], undisturbed: Floats, weights: Floats) -> dict[str, Any]:
    every = [said[sweep.name, value] for value in sweep.values]
    ap = np.stack([resampled_ap(s, weights) for s in every])
    # A tag that nobody can see at one strength would lift or lower the mean by being left out there.
    known = ~np.isnan(ap[:, 0])
    both = known[known.any(1)].all(0) & ~np.isnan(undisturbed[0])
    points = []
    for value, at, scores in zip(sweep.values, every, ap, strict=True):
        control = resampled_ap(said[sweep.control, value], weights) if sweep.control else None
        lost = (ap[0] if control is None else control) - scores
        score, loss = _interval(_means(scores[:, both])), _interval(100 * _means(lost[:, both]))
        first = None if sweep.of_picture else resampled_ap(at, weights[:1], every[0].truth)
        points.append(
            {"value": value, **score, "loss": loss["score"], "loss_low": loss["low"], "loss_high": loss["high"]}
            | {"first_labels": _mean(first, both), "control": _mean(control, both), "refused": at.refused}
            | {"tags": _named(names, scores[0]), "before": _named(names, scores[0] + lost[0])}
        )
    return {
        "name": sweep.name,
        "title": sweep.title,
        "axis": sweep.axis,
        "against": "the labels of the undisturbed frames" if sweep.of_picture else "what can be seen at each strength",
        "tags": [name for name, kept in zip(names, both, strict=True) if kept],
        "undisturbed": _mean(undisturbed[:1], both),
        "stands": stands(points),
        "points": points,
    }


def stands(points: Sequence[dict[str, Any]]) -> float | None:
    """The last value up to which every one loses at most LIMIT_POINTS; None where already the second loses more."""
    last = None
    for point in points[1:]:
        if point["loss"] is None or point["loss"] > LIMIT_POINTS:
            break
        last = point["value"]
    return last


def sentence(whole: dict[str, Any], sweeps: Sequence[Sweep], told: Sequence[dict[str, Any]]) -> str:
    """What the model stands, in one sentence."""
    stood = [(s, t["stands"]) for s, t in zip(sweeps, told, strict=True) if t["stands"] is not None]
    up = [s.told(value) for s, value in stood if s.values[-1] >= s.values[0]]
    down = [s.told(value) for s, value in stood if s.values[-1] < s.values[0]]
    ways = [f"{way} {_listed(phrases)}" for way, phrases in (("down to", down), ("up to", up)) if phrases]
    pairs = zip(sweeps, told, strict=True)
    fell = [s.told(s.values[1]) for s, t in pairs if t["stands"] is None and t["points"][1]["loss"] is not None]
    known = whole["score"] is not None
    start = f"mean AP ({whole['score']:.3f} ± {whole['high'] - whole['score']:.3f} undisturbed)" if known else "mean AP"
    kept = f"Loses at most {LIMIT_POINTS:g} points of {start} {', and '.join(ways)}" if stood else ""
    lost = f"more than {LIMIT_POINTS:g} points already at {_listed(fell)}" if fell else ""
    if kept and lost:
        return f"{kept}; loses {lost}."
    return f"{kept}." if kept else f"Loses {lost} (of {start})."


def _listed(phrases: Sequence[str]) -> str:
    return ", ".join(phrases[:-1]) + (" and " if len(phrases) > 1 else "") + phrases[-1]


def _means(ap: Floats) -> Floats:
    """The mean over the tags [R] of [R T], over those that have a score in that resample."""
    known = ~np.isnan(ap)
    count = known.sum(1)
    return np.where(count > 0, np.where(known, ap, 0).sum(1) / np.maximum(count, 1), np.nan)


def _named(names: Sequence[str], scores: Floats) -> dict[str, float | None]:
    return {name: _number(v) for name, v in zip(names, scores, strict=True)}


def _mean(ap: Floats | None, kept: NDArray[np.bool_]) -> float | None:
    return None if ap is None else _number(mean(ap[0, kept]))


def _interval(values: Floats) -> dict[str, float | None]:
    """The first of the values, and 1.96 standard deviations of the others below and above it."""
    half = SIGMAS * float(np.nanstd(values[1:])) if np.isfinite(values[1:]).any() else np.nan
    return {k: _number(v) for k, v in (("score", values[0]), ("low", values[0] - half), ("high", values[0] + half))}


def _number(value: Any) -> float | None:
    return float(value) if np.isfinite(value) else None

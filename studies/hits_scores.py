"""Counting of the study of hits: shares of hits found and misses passed over, with weak and unsure frames apart, and its tables.

A frame is kept where a hit is more probable than a miss: the decision of whoever keeps or drops frames. Weak frames are neither
right nor wrong and are counted by themselves, unsure ones too. The strict count asks for the very name.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from beamsight.answer import UNSURE, Answer
from beamsight.chances import wilson
from beamsight.runs import Run
from hits_runs import STEADY

HIT, WEAK, MISS = "hit", "weak", "miss"


@dataclass(frozen=True)
class Share:
    """`count` of `of`."""

    count: int
    of: int

    @property
    def value(self) -> float | None:
        """Between 0 and 1; None of none."""
        return self.count / self.of if self.of else None

    @property
    def text(self) -> str:
        """To three figures, a dash for none."""
        return "-" if self.value is None else f"{self.value:.3f}"

    @property
    def interval(self) -> tuple[float, float]:
        """95 %, by Wilson."""
        return wilson(self.count, self.of)

    def __add__(self, other: Share) -> Share:
        return Share(self.count + other.count, self.of + other.of)


@dataclass(frozen=True)
class Said:
    """What a model said of frames: `truth` and `answer` by name ("unsure" too), and the probabilities of a hit and of a miss."""

    truth: list[str] = field(default_factory=list)
    answer: list[str] = field(default_factory=list)
    hit: list[float] = field(default_factory=list)
    miss: list[float] = field(default_factory=list)

    def add(self, truth: str, answer: Answer) -> None:
        """One more frame; a refused one is unsure and not kept."""
        name = UNSURE if answer.error is not None else str(answer.answer)
        values = (truth, name, answer.probability.get(HIT, 0.0), answer.probability.get(MISS, 1.0))
        for kept, value in zip((self.truth, self.answer, self.hit, self.miss), values, strict=True):
            kept.append(value)  # type: ignore[arg-type]

    @property
    def kept(self) -> list[bool]:
        """The decision: a hit is more probable than a miss."""
        return [hit > miss for hit, miss in zip(self.hit, self.miss, strict=True)]

    def of(self, truth: str, sure: bool = True) -> list[int]:
        """The numbers of the frames of that truth, without the unsure ones or with them."""
        pairs = zip(self.truth, self.answer, strict=True)
        return [n for n, (name, said) in enumerate(pairs) if name == truth and not (sure and said == UNSURE)]

    def kept_of(self, truth: str, sure: bool = True) -> Share:
        """How many of the frames of that truth are kept."""
        kept, which = self.kept, self.of(truth, sure)
        return Share(sum(kept[n] for n in which), len(which))

    def called(self, truth: str, name: str, sure: bool = True) -> Share:
        """How many of the frames of that truth are called by that name."""
        which = self.of(truth, sure)
        return Share(sum(self.answer[n] == name for n in which), len(which))

    def sensitivity(self, sure: bool = True) -> Share:
        """Hits that are kept."""
        return self.kept_of(HIT, sure)

    def specificity(self, sure: bool = True) -> Share:
        """Misses that are dropped."""
        kept = self.kept_of(MISS, sure)
        return Share(kept.of - kept.count, kept.of)

    def accuracy(self, sure: bool = True) -> Share:
        """Hits and misses that are decided rightly."""
        return self.sensitivity(sure) + self.specificity(sure)

    @property
    def unsure(self) -> Share:
        """Of all frames, weak ones too."""
        return Share(self.answer.count(UNSURE), len(self.answer))

    def wrong(self) -> list[tuple[float, int]]:
        """(how sure, number) of the frames that were decided wrongly and not called unsure, the surest first."""
        kept = self.kept
        which = [n for n in self.of(HIT) if not kept[n]] + [n for n in self.of(MISS) if kept[n]]
        return sorted(((abs(self.hit[n] - self.miss[n]), n) for n in which), reverse=True)


def together(parts: Iterable[Said]) -> Said:
    """What was said of all of them."""
    whole = Said()
    for part in parts:
        for name, values in vars(part).items():
            getattr(whole, name).extend(values)
    return whole


def two_named(truth: Sequence[str], hit: Sequence[float]) -> Said:
    """What a network that knows hits and misses alone said."""
    names = [HIT if p > 0.5 else MISS for p in hit]
    return Said(list(truth), names, list(hit), [1 - p for p in hit])


def worst(shares: Iterable[Share]) -> float | None:
    """The lowest share of those that there are."""
    return min((share.value for share in shares if share.value is not None), default=None)


def largest(shares: Iterable[Share]) -> float | None:
    """The highest share of those that there are."""
    return max((share.value for share in shares if share.value is not None), default=None)


def run_table(runs: Sequence[Run], known: Sequence[Run], said: Mapping[str, Mapping[int, Said]]) -> str:
    """Sensitivity / specificity / accuracy / share unsure of each run down, models across; counts are of the whole frame."""
    heads = ["run", "detector", "Mpx", "frames", "hits / weak / misses", *said]
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for run in runs:
        some = next(iter(said.values()))[run.number]
        counts = " / ".join(str(some.truth.count(name)) for name in (HIT, WEAK, MISS))
        height, width = run.layout().shape
        mark = ", learnt" if run in known else ""
        cells = [
            f"{run.number}{mark}",
            f"{run.detector}, {run.form}",
            f"{height * width / 1e6:.1f}",
            str(len(some.truth)),
            counts,
        ]
        lines.append("| " + " | ".join(cells + [figures(of[run.number]) for of in said.values() if run.number in of]) + " |")
    return "\n".join(lines)


def figures(said: Said) -> str:
    """Sensitivity / specificity / accuracy / share unsure."""
    return " / ".join(s.text for s in (said.sensitivity(), said.specificity(), said.accuracy(), said.unsure))


def name_table(said: Mapping[str, Said]) -> str:
    """What hits, weak frames and misses are called, in per cent, unsure ones among them."""
    names = (HIT, WEAK, MISS, UNSURE)
    lines = ["| model | truth | frames | " + " | ".join(names) + " | kept |", "|---" * 8 + "|"]
    for model, of in said.items():
        for truth in names[:3]:
            shares = [of.called(truth, name, sure=False) for name in names] + [of.kept_of(truth, sure=False)]
            cells = ["-" if s.value is None else f"{100 * s.value:.1f}" for s in shares]
            lines.append(f"| {model} | {truth} | {shares[0].of} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def condition_table(runs: Sequence[Run]) -> str:
    """What the runs are like."""
    heads = (
        "run",
        "wavelength, Å",
        "background, photons",
        "pulses",
        "cell, Å",
        "shots that meet a crystal",
        "tenth spot over need",
    )
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for run in runs:
        pulses = "storage ring" if run.shape > STEADY else "seeded" if run.seeded else "SASE"
        cell = " ".join(f"{1e10 * side:.0f}" for side in run.cell.edges_m)
        values = (f"{1e10 * run.wavelength_m:.2f}", f"{run.level_ph:.2g}", pulses, cell)
        lines.append(f"| {run.number} | " + " | ".join(values) + f" | {run.hit_fraction:.2f} | {run.strength:.1f} |")
    return "\n".join(lines)


def measured_table(found: Sequence[Mapping[str, Any]]) -> str:
    """Answers on measured frames."""
    lines = ["| frame | truth | answer | P(miss) | P(weak) | P(hit) |", "|---" * 6 + "|"]
    for one in found:
        chances = " | ".join(f"{one['probability'].get(name, float('nan')):.3f}" for name in ("miss", "weak", "hit"))
        lines.append(f"| {one['name']} | {one['truth']} | {one['answer']} | {chances} |")
    return "\n".join(lines)

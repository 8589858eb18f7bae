"""Counting of the study of lattices: confusion, shares right, confident wrong answers, refusals, and its tables."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from beamsight.answer import UNSURE, Answer
from beamsight.chances import wilson
from beamsight.physics.crystals import NAMES as LATTICES
from gisaxs_sets import NONE, Asked

NAMES = (*LATTICES, NONE)
CONFIDENT = 0.9  # a probability from which on an answer is believed


@dataclass(frozen=True)
class Said:
    """What was said of a frame: its `truth` and names `alike` to it, its `kind` and `title`, the `answer` ("unsure" too, or ""
    of a refused file), and the probability of each name."""

    title: str
    truth: str
    answer: str
    probability: Mapping[str, float] = field(default_factory=dict)
    alike: tuple[str, ...] = ()
    kind: str = ""

    @property
    def best(self) -> str:
        """The most probable name, also where the answer is unsure."""
        return max(self.probability, key=lambda name: self.probability[name], default=self.answer)

    @property
    def ranked(self) -> list[str]:
        """Names, the most probable one first."""
        return sorted(self.probability, key=lambda name: -self.probability[name])

    @property
    def believed(self) -> float:
        """The probability of the most probable name."""
        return max(self.probability.values(), default=0.0)

    @property
    def right(self) -> bool:
        """Whether the most probable name is the true one."""
        return self.best == self.truth

    @property
    def allowed(self) -> bool:
        """Whether it is the true one, or one that shows the same."""
        return self.best in (self.truth, *self.alike)

    @property
    def confident(self) -> bool:
        """Whether the answer is a name, and believed."""
        return self.answer in NAMES and self.believed >= CONFIDENT


def said_of(asked: Asked, answer: Answer) -> Said:
    """What a model said of a frame; a refused one has no answer."""
    name = "" if answer.error is not None else str(answer.answer)
    return Said(asked.title, asked.name, name, answer.probability, asked.alike, asked.kind)


def share(flags: Iterable[bool]) -> float | None:
    """Per cent that are so; None of none."""
    every = list(flags)
    return 100 * sum(every) / len(every) if every else None


def told(said: Sequence[Said]) -> list[Said]:
    """Frames of lattices that can be told apart in principle."""
    return [one for one in said if one.truth != NONE and not one.alike]


def right(said: Sequence[Said]) -> float | None:
    """Per cent whose most probable name is right."""
    return share(one.right for one in said)


def confidently_wrong(said: Sequence[Said]) -> float | None:
    """Per cent of all frames that get a believed name which is neither true nor shows the same."""
    return share(one.confident and not one.allowed for one in said)


def first_two(said: Sequence[Said]) -> float | None:
    """Per cent whose true name, or one that shows the same, is the most probable one or the runner-up."""
    return share(bool({one.truth, *one.alike} & set(one.ranked[:2])) for one in said)


def overconfidence(said: Sequence[Said]) -> float | None:
    """Mean probability of the most probable name less the share of frames where it is right or shows the same, per cent: 0 where
    probabilities hold, positive where they promise too much."""
    return 100 * fmean(one.believed - one.allowed for one in said) if said else None


def refused(said: Sequence[Said]) -> float | None:
    """Per cent of frames of none that get no lattice's name: "none", or "unsure", or not read at all."""
    return share(one.answer not in LATTICES for one in said if one.truth == NONE)


def confusion(said: Sequence[Said]) -> dict[str, dict[str, int]]:
    """{truth: {answer: frames}} of the truths there are, "unsure" among the answers; refused files are left out."""
    truths = [name for name in NAMES if any(one.truth == name for one in said)]
    return {
        truth: {name: sum(one.truth == truth and one.answer == name for one in said) for name in (*NAMES, UNSURE)}
        for truth in truths
    }


def confusion_table(said: Sequence[Said]) -> str:
    """Truth down, answers across."""
    heads = ("truth", "frames", *NAMES, UNSURE, "most probable is right")
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for truth, row in confusion(said).items():
        of = [one for one in said if one.truth == truth]
        cells = [str(n) if n else "·" for n in row.values()]
        lines.append(f"| {truth} | {len(of)} | " + " | ".join(cells) + f" | {interval([one.right for one in of])} |")
    return "\n".join(lines)


def interval(flags: Sequence[bool]) -> str:
    """Per cent that are so, and their 95 % interval."""
    if not flags:
        return "-"
    low, high = wilson(sum(flags), len(flags))
    return f"{100 * sum(flags) / len(flags):.1f} % ({100 * low:.0f}-{100 * high:.0f})"


def kind_table(said: Sequence[Said]) -> str:
    """Kinds of films down: those that can be told apart, and those that show what another lattice shows."""
    heads = ("film", "frames", "right", "alike to another lattice", "right or alike", "believed and wrong")
    lines = ["| " + " | ".join(heads) + " |", "|---" * len(heads) + "|"]
    for kind in sorted({one.kind for one in said if one.truth != NONE}):
        of = [one for one in said if one.kind == kind]
        clear, double = told(of), [one for one in of if one.alike]
        wrong = confidently_wrong(of)
        cells = (len(clear), interval([s.right for s in clear]), len(double), interval([s.allowed for s in double]))
        lines.append(f"| {kind} | " + " | ".join(map(str, cells)) + f" | {'-' if wrong is None else f'{wrong:.1f} %'} |")
    return "\n".join(lines)


def answer_table(said: Sequence[Said]) -> str:
    """Frames down, what was said of them across."""
    lines = ["| frame | truth | answer | probability |", "|---" * 4 + "|"]
    for one in said:
        lines.append(f"| {one.title} | {one.truth} | {one.answer or 'refused'} | {one.best} {one.believed:.2f} |")
    return "\n".join(lines)


def worst(said: Sequence[Said], n: int) -> list[int]:
    """The numbers of the frames that are called what they do not show, those that gave their true name the least probability."""
    wrong = [k for k, one in enumerate(said) if not one.allowed]
    return sorted(wrong, key=lambda k: said[k].probability.get(said[k].truth, 0.0))[:n]

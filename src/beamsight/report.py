"""The answers of a run as one HTML page that opens anywhere, without a network: pictures, tags, filters.

A page of a million pictures would open nowhere, so at most `MAX_PICTURES` frames, evenly spaced, are shown; all are counted.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count, islice
from pathlib import Path
from typing import Any

from beamsight.answer import UNSURE, Answer
from beamsight.answers import REPORT, THUMBNAILS, read_answers, writing
from beamsight.display import LEGEND, VIRIDIS
from beamsight.run_report import is_run, is_unsure, section_of
from beamsight.seen import Seen, seen

MAX_PICTURES = 1000
MAX_REFUSALS = 1000
_TEMPLATES = Path(__file__).parent / "templates"


@dataclass
class Summary:
    """Counts over every line of a run: frames, refused, doubtful (with at least one doubtful name), and `tags` {name: frames}."""

    frames: int = 0
    refused: int = 0
    doubtful: int = 0
    tags: dict[str, int] = field(default_factory=dict)
    unsure: dict[str, int] = field(default_factory=dict)

    def add(self, answer: Answer) -> None:
        """Count one more answer."""
        self.frames += 1
        self.refused += answer.error is not None
        self.doubtful += bool(answer.doubtful)
        for counts, names in ((self.tags, answer.names), (self.unsure, answer.doubtful)):
            for name in names:
                counts[name] = counts.get(name, 0) + 1

    @property
    def answered(self) -> int:
        """Frames that were not refused."""
        return self.frames - self.refused

    def told(self, names: Sequence[str]) -> str:
        """One line: how often each name occurs, the frequent ones first."""
        ranked = sorted((n for n in dict.fromkeys((*names, UNSURE)) if self.tags.get(n)), key=lambda n: -self.tags[n])
        often = ", ".join(f"{n} {self.tags[n]:,}" for n in ranked) or "none"
        return f"{self.answered:,} answered, {self.refused:,} refused, {self.doubtful:,} with a doubt: {often}"


def summarise(folder: Path, rows: int = 20) -> tuple[Summary, list[Answer]]:
    """The Summary of every line in a folder, and the first `rows` answers."""
    summary = Summary()
    first: list[Answer] = []
    for answer in read_answers(folder):
        summary.add(answer)
        if len(first) < rows:
            first.append(answer)
    return summary, first


def spacing(frames: int) -> int:
    """Every how many frames one is shown: the smallest power of two that shows at most MAX_PICTURES."""
    step = 1
    while -(-frames // step) > MAX_PICTURES:
        step *= 2
    return step


def is_shown(number: int, known: int = 0) -> bool:
    """Whether a page of number + 1 frames, or of as many as are `known` to come, shows line `number` of the record."""
    return number % spacing(max(number + 1, known)) == 0


def keep_picture(folder: Path, number: int, picture: bytes) -> None:
    """Keep the picture, a thumbnail's bytes, of line `number`, which is shown; drop those that no longer are.

    Raises CannotWrite.
    """
    step = spacing(number + 1)
    path = _picture(folder, number)
    with writing(path) as part:
        path.parent.mkdir(exist_ok=True)
        if step != spacing(number):
            _thin(path.parent, step)
        part.write_bytes(picture)


def _thin(folder: Path, step: int) -> None:
    for path in folder.glob("*.webp"):
        if int(path.stem) % step:
            path.unlink()


def _picture(folder: Path, number: int) -> Path:
    return folder / THUMBNAILS / f"{number:010d}.webp"


@dataclass(frozen=True)
class Card:
    """One shown frame: its line's number, its answer, a short name for it and its picture."""

    number: int
    answer: Answer
    title: str
    picture: Seen


def write_report(folder: Path, about: dict[str, Any]) -> Path:
    """`report.html` of the answers in `folder`; `about` is what `run.json` holds. Gives its path; raises CannotWrite."""
    summary, _ = summarise(folder)
    script = (_TEMPLATES / "report.js").read_text()
    # The frames of a model that may be unsure can be looked through for what it is unsure of.
    said = [*about["names"], UNSURE] if is_unsure(about) else about["names"]
    page = page_template("report.html").stream(
        about=about,
        summary=summary,
        said=said,
        names=sorted(said, key=lambda n: (-summary.tags.get(n, 0), said.index(n))),
        run=section_of(folder, about, summary.frames) if is_run(about) else None,
        cards=_cards(folder, spacing(summary.frames)),
        refusals=_refusals(folder, summary.refused),
        step=spacing(summary.frames),
        max_refusals=MAX_REFUSALS,
        made=datetime.now().astimezone().strftime("%Y-%m-%d %H:%M %Z"),
        legend=LEGEND,
        gradient=_gradient(),
        script=script,
        # Only this script may run: whatever a file is called, nothing of it is executed.
        script_hash=b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
    with writing(folder / REPORT) as part, part.open("wb") as file:
        page.dump(file, encoding="utf-8", errors="backslashreplace")
    return folder / REPORT


def page_template(name: str) -> Any:
    """The jinja2 template of that name: whatever it is given is escaped."""
    import jinja2

    loader = jinja2.FileSystemLoader(_TEMPLATES)
    environment = jinja2.Environment(loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters["breakable"] = _breakable
    environment.filters["short"] = title_of
    return environment.get_template(name)


def _cards(folder: Path, step: int) -> Iterator[Card]:
    for number, answer in zip(count(0, step), read_answers(folder, step), strict=False):
        if answer.error is None:
            yield Card(number, answer, title_of(answer.key), seen(_picture(folder, number), answer))


def _refusals(folder: Path, refused: int) -> Iterator[Answer]:
    # The record is read no further than is needed.
    yield from islice((a for a in read_answers(folder) if a.error is not None), min(refused, MAX_REFUSALS))


def title_of(key: str) -> str:
    """A short name of a frame for people: the file's name and, where a file holds several frames, the number of this one."""
    url = re.fullmatch(r"(?:[a-z]+:)?(?P<file>.*?)(?:\?(?P<query>.*)|::(?P<path>[^?]*)(?:\?(?P<slice>.*))?)?", key, re.DOTALL)
    if url is None:
        return key
    number = re.search(r"slice=([\d,]+)", key)
    name = Path(url["file"]).name or key
    return f"{name} [{number[1]}]" if number else name


def _breakable(text: str) -> Any:
    """The text as safe HTML that may break after underscores, hyphens and dots rather than inside words."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"([_.\-])", r"\1<wbr>", str(escape(text))))


def _gradient() -> str:
    stops = [VIRIDIS[i] for i in range(0, 256, 15)]
    return ", ".join(f"rgb({r} {g} {b})" for r, g, b in stops)

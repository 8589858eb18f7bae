"""What the command line says: results on standard output, everything for people on standard error; and how it is stopped."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from types import FrameType
from typing import IO, Any, cast

from beamsight.answer import Answer
from beamsight.errors import CannotWrite
from beamsight.predict import Tally

# Between two lines of progress where there is no terminal.
QUIET_S = 10.0
# Exit statuses: all answered, some refused or not written, usage, nothing readable.
ALL, SOME, USAGE, NOTHING = 0, 1, 2, 3
CLOSED_PIPE = 141


def out(text: str) -> None:
    """One line on standard output; a reader that went away (`| head`) ends the run without a word."""
    try:
        sys.stdout.write(text + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # Python would complain when it flushes the closed stream at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise SystemExit(CLOSED_PIPE) from None
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise CannotWrite(f"standard output: cannot be written ({error.strerror}); what was written before stays") from None


def say(text: str) -> None:
    """One line for people, on standard error."""
    with suppress(OSError):
        sys.stderr.write(text + "\n")
        sys.stderr.flush()


def usage(verb: str, text: str) -> int:
    """Says how the verb is to be used, and gives that exit status."""
    say(f"beamsight {verb}: {text} (`beamsight {verb} --help` has an example)")
    return USAGE


class Stopped(KeyboardInterrupt):
    """The run was asked to end; `status` is what the command should exit with."""

    status = 130


@contextmanager
def stoppable() -> Iterator[None]:
    """Ctrl-C and SIGTERM raise Stopped once; the second of them kills at once."""

    def stop(number: int, _: FrameType | None) -> None:
        for s in (signal.SIGINT, signal.SIGTERM):
            signal.signal(s, signal.SIG_DFL)
        stopped = Stopped()
        stopped.status = 128 + number
        raise stopped

    before = {s: signal.signal(s, stop) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for s, handler in before.items():
            signal.signal(s, handler)


class Progress:
    """A bar on a terminal, else a line every ten seconds, or nothing when `quiet`. Used as a context; `step` after each frame.

    `expected` gives the frames answered before this run, those known to come, and whether no others will be found; `line` is what
    is told of them, as `running` makes it.
    """

    def __init__(
        self, tally: Tally, quiet: bool, expected: Callable[[], tuple[int, int, bool]], line: Callable[..., str] | None = None
    ) -> None:
        self.tally, self.quiet, self.expected, self.told = tally, quiet, expected, time.monotonic()
        self.line = line or running
        self.bar: Any = None

    def __enter__(self) -> Progress:
        if not self.quiet and sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (
                BarColumn(),
                TextColumn("{task.description}"),
                TimeElapsedColumn(),
                TextColumn("left"),
                TimeRemainingColumn(),
            )
            self.bar = Bar(*columns, console=Console(stderr=True), transient=True)
            self.bar.add_task("reading the first frames", total=None)
            self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.stop()

    def step(self) -> None:
        """Tell how far the run is, not too often."""
        if self.quiet:
            return
        before, frames, all_found = self.expected()
        told = self.line(self.tally, before, frames, all_found)
        if self.bar is not None:
            total = frames if all_found else None
            self.bar.update(self.bar.task_ids[0], description=told, completed=before + self.tally.frames, total=total)
        elif time.monotonic() - self.told >= QUIET_S:
            self.told = time.monotonic()
            say(told)


def count(frames: int) -> str:
    """`1 frame`, `1,000 frames`."""
    return f"{frames:,} frame{'' if frames == 1 else 's'}"


def running(tally: Tally, before: int = 0, expected: int = 0, all_found: bool = False) -> str:
    """The line while a run goes on: of how many frames, `+` where more may be found."""
    done = tally.frames + before
    frames = f"{done:,} of {max(done, expected):,}{'' if all_found else '+'} frames" if expected else count(done)
    return f"{frames}, {tally.refused:,} refused, {tally.rate:.1f} frames/s"


def making(tally: Tally, before: int, expected: int, all_found: bool = True) -> str:
    """The line while frames are made: how many of how many, how fast, and how long the others will take."""
    done, rate = tally.frames + before, tally.rate
    left_s = (expected - done) / rate if rate else 0.0
    left = f"{left_s / 3600:.1f} h" if left_s > 5400 else f"{left_s / 60:.0f} min" if left_s > 90 else f"{left_s:.0f} s"
    return f"{done:,} of {count(expected)}, {rate:.1f} frames/s, {left} left"


def closing(tally: Tally) -> str:
    """The last line of a run."""
    times = f"reading {tally.reading_s:.1f} s, answering {tally.answering_s:.1f} s"
    return f"{times}, {count(tally.frames)}, {tally.refused:,} refused, {tally.rate:.1f} frames/s"


def table(answers: Iterable[Answer], titles: Iterable[str], more: int) -> None:
    """A short table of answers on standard output; doubtful names carry a question mark. `more` frames are not in it."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    rows = Table("frame", "answer", box=box.SIMPLE_HEAD, pad_edge=False, caption_justify="left")
    rows.caption = f"and {more:,} more; ? marks doubtful ones" if more > 0 else "? marks doubtful ones"
    for answer, title in zip(answers, titles, strict=True):
        rows.add_row(Text(title), Text(told(answer)))
    # A pipe has no width; narrow tables would cut the tags.
    console = Console(file=cast("IO[str]", _Safe()), width=None if sys.stdout.isatty() else 160)
    console.print(rows)


def told(answer: Answer) -> str:
    """An answer in a few words: `ring 0.98, halo? 0.55`; names below their threshold stand last, in brackets."""
    if answer.error is not None:
        return f"refused: {answer.error}"
    # That a model is unsure has no probability of its own.
    named = [n for n in answer.names if n in answer.probability]
    found = [n for n in answer.names if n not in named]
    found += [f"{n}{'?' if n in answer.doubtful else ''} {answer.probability[n]:.2f}" for n in named]
    below = [f"({n}? {answer.probability[n]:.2f})" for n in answer.doubtful if n not in answer.names]
    return ", ".join(found + below + answer.further) or "none"


class _Safe:
    """Standard output for rich, with the quiet end of `out`."""

    def write(self, text: str) -> int:
        """Hand the text on, but for its last newline, which `out` gives."""
        for line in text.splitlines():
            out(line.rstrip())
        return len(text)

    def flush(self) -> None:
        """Nothing is kept back."""

    def isatty(self) -> bool:
        """True on a terminal."""
        return sys.stdout.isatty()

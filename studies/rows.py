"""A figure with what it is measured against: the one table that studies and benchmarks print and keep."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Row:
    """One measured `value` in `unit`: `asked` is the bound it should keep, `better` which way is better, `paper` what was
    published, `peer` who else was measured in the same run and `peer_value` how they did. None where there is none."""

    name: str
    value: float | None
    unit: str
    asked: float | None = None
    better: Literal["higher", "lower"] = "higher"
    paper: str | None = None
    peer: str | None = None
    peer_value: float | None = None

    @property
    def kept(self) -> bool | None:
        """Whether the bound was kept; None where nothing was asked or measured."""
        if self.asked is None or self.value is None:
            return None
        return self.value >= self.asked if self.better == "higher" else self.value <= self.asked


def show(rows: Sequence[Row], title: str) -> None:
    """Prints the rows as a table."""
    table = Table("", "measured", "asked", "", "paper", "peer", title=title, title_justify="left")
    for row in rows:
        bound = "" if row.asked is None else f"{'≥' if row.better == 'higher' else '≤'} {_number(row.asked)}"
        peer = "" if row.peer is None else f"{row.peer}: {_number(row.peer_value)}"
        kept = {None: "", True: "kept", False: "missed"}[row.kept]
        table.add_row(row.name, _measured(row), bound, kept, row.paper or "", peer)
    Console(width=None if sys.stdout.isatty() else 160).print(table)


def keep(rows: Sequence[Row], path: Path) -> None:
    """Writes the rows as a JSON list, each with the command that measured it and the machine it ran on."""
    command = " ".join(["python", _relative(sys.argv[0]), *map(_named, sys.argv[1:])])
    told = [asdict(row) | {"value": _rounded(row.value), "peer_value": _rounded(row.peer_value)} for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps([row | {"command": command, "machine": machine()} for row in told], indent=1, ensure_ascii=False)
    path.write_text(text + "\n")
    print(f"kept in {_relative(str(path))}")


def fill(page: Path, mark: str, text: str) -> None:
    """Puts `text` between `<!-- MARK -->` and the next `<!-- end -->` of a page."""
    before, _, rest = page.read_text().partition(f"<!-- {mark} -->\n")
    page.write_text(f"{before}<!-- {mark} -->\n{text}\n<!-- end -->{rest.partition('<!-- end -->')[2]}")


def publish(rows: Sequence[Row], name: str, texts: Mapping[str, str]) -> None:
    """Keeps the rows of the study of that name beside its page, and puts each text at its mark of the page."""
    folder = ROOT / "docs" / "studies"
    keep(rows, folder / f"{name}.json")
    for mark, text in texts.items():
        fill(folder / f"{name}.md", mark, text)


def machine() -> str:
    """Processor, cores that may be used, and the accelerator where torch sees one."""
    cpu = next((line.split(":")[1].strip() for line in _cpuinfo() if line.startswith("model name")), platform.processor())
    text = f"{cpu}, {len(os.sched_getaffinity(0))} cores"
    torch = sys.modules.get("torch")
    return f"{text}, {torch.cuda.get_device_name()}" if torch is not None and torch.cuda.is_available() else text


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def _relative(path: str) -> str:
    full = Path(path).resolve()
    return str(full.relative_to(ROOT)) if full.is_relative_to(ROOT) else path


def _named(argument: str) -> str:
    """The argument as it is kept: of a path elsewhere only its last two names, as its folder is nobody else's."""
    place = _relative(argument)
    return "/".join(Path(place).parts[-2:]) if Path(place).is_absolute() else argument


def _rounded(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.5g}")


def _measured(row: Row) -> str:
    return "not measured" if row.value is None else f"{_number(row.value)} {row.unit}".strip()


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"

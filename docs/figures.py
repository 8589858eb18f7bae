"""The figures of the README and of the page of a task, from the files that studies and benchmarks keep.

python docs/figures.py            writes the tables between the marks
python docs/figures.py --check    says whether they are there already
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# <!-- figures benchmarks/results/predict.json --> ... <!-- end -->
MARKED = re.compile(r"(<!-- figures (\S+) -->\n).*?(<!-- end -->)", re.DOTALL)


def table(rows: list[dict[str, Any]]) -> str:
    """A markdown table of the rows of one results file, with the command and the machine under it."""
    paper, peer = any(r["paper"] for r in rows), any(r["peer"] for r in rows)
    columns = ["", "measured", "asked", *(["paper"] if paper else []), *(["beside"] if peer else [])]
    lines = ["| " + " | ".join(columns) + " |", "|---" * len(columns) + "|"]
    for r in rows:
        beside = f"{r['peer']}: {number(r['peer_value'])}" if r["peer"] else ""
        cells = [r["name"], measured(r), asked(r), *([r["paper"] or ""] if paper else []), *([beside] if peer else [])]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, "", f"`{rows[0]['command']}` on {rows[0]['machine']}", ""])


def measured(row: dict[str, Any]) -> str:
    """The value and its unit; in bold where a bound was missed."""
    text = f"{number(row['value'])} {row['unit']}".strip() if row["value"] is not None else "not measured"
    if row["asked"] is None or row["value"] is None:
        return text
    kept = row["value"] >= row["asked"] if row["better"] == "higher" else row["value"] <= row["asked"]
    return text if kept else f"**{text}** (missed)"


def asked(row: dict[str, Any]) -> str:
    """The bound, with its sense."""
    return "" if row["asked"] is None else f"{'≥' if row['better'] == 'higher' else '≤'} {number(row['asked'])}"


def number(value: float | None) -> str:
    """Three figures, thousands apart."""
    return "-" if value is None else f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def filled(text: str) -> str:
    """A page with its tables made anew; a mark whose file does not exist yet is left alone."""

    def fill(match: re.Match[str]) -> str:
        path = ROOT / match[2]
        return match[1] + table(json.loads(path.read_text())) + match[3] if path.exists() else match[0]

    return MARKED.sub(fill, text)


def stale() -> list[Path]:
    """The pages whose tables are not those of the results files."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    return [page for page in pages if filled(page.read_text()) != page.read_text()]


def main() -> None:
    """Writes the stale pages, or with --check names them and fails."""
    pages = stale()
    for page in pages:
        print(f"{page.relative_to(ROOT)}: {'tables are not those of the results files' if '--check' in sys.argv else 'written'}")
        if "--check" not in sys.argv:
            page.write_text(filled(page.read_text()))
    sys.exit(1 if pages and "--check" in sys.argv else 0)


if __name__ == "__main__":
    main()

"""The documents are true: examples run, links lead somewhere, every verb and every tag has its place."""

# SPDX-License-Identifier: BSD-3-Clause

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from beamsight.task import find_tasks

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
DECISIONS = sorted((ROOT / "docs" / "decisions").glob("*.md"))
TAGS = [(task, name) for task in find_tasks().values() for name in task.target.names]


def headings(page: Path) -> list[str]:
    """The headings of a page, without their hashes."""
    return re.findall(r"^#+ +(.+?) *$", page.read_text(), re.MULTILINE)


def blocks(page: Path, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", [p for p in PAGES if blocks(p, "python")], ids=lambda p: p.name)
def test_python_examples_run(page: Path, tmp_path: Path) -> None:
    # One program a page, as a reader would type it, in an empty folder.
    program = "\n".join(blocks(page, "python"))
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=110)
    assert done.returncode == 0, done.stderr


def test_the_readme_shows_about_twenty_lines_of_python() -> None:
    lines = [line for block in blocks(ROOT / "README.md", "python") for line in block.splitlines() if line.strip()]
    assert 10 <= len(lines) <= 24


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_every_path_of_the_readmes_tree_exists() -> None:
    tree = next(b for b in blocks(ROOT / "README.md", "text") if "pyproject.toml" in b)
    for line in tree.splitlines():
        folder = ROOT / ("src/beamsight" if line.startswith("  ") else ".")
        for name in re.split(r"\s{2,}", line.strip())[0].split():
            assert (folder / name).exists(), f"the README's tree names {name}"


def test_every_verb_has_a_line_in_the_start_page() -> None:
    done = subprocess.run([sys.executable, "-m", "beamsight", "--help"], capture_output=True, text=True, check=True, timeout=60)
    verbs = re.findall(r"^[│ ]+([a-z]+) {2,}\S", done.stdout, re.MULTILINE)
    assert {"predict", "simulate", "train", "evaluate", "export", "tasks", "show"} <= set(verbs)
    text = (ROOT / "docs" / "start.md").read_text()
    assert not [v for v in verbs if f"beamsight {v}" not in text]


@pytest.mark.parametrize(("task", "name"), TAGS, ids=[name for _, name in TAGS])
def test_every_answer_has_a_section(task: object, name: str) -> None:
    page = ROOT / "docs" / "tasks" / f"{task.name.replace('-', '_')}.md"  # type: ignore[attr-defined]
    assert name in headings(page)


def test_decisions_are_numbered_and_short() -> None:
    assert [p.name[:5] for p in DECISIONS] == [f"{n:04d}-" for n in range(1, len(DECISIONS) + 1)]
    for page in DECISIONS:
        assert {"Context", "Decision", "Consequences"} <= set(headings(page)), page.name
        # Two printed pages.
        assert len(page.read_text().split()) <= 1000, page.name


def test_one_version_everywhere() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()
    assert f"version: {version}" in (ROOT / "CITATION.cff").read_text()
    printed = subprocess.run([sys.executable, "-m", "beamsight", "--version"], capture_output=True, text=True, check=True)
    assert version in printed.stdout


def test_tables_are_those_of_the_results_files() -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "docs" / "figures.py"), "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + "write them by: python docs/figures.py"

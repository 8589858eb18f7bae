"""The page: everything on it, nothing loaded from elsewhere, nothing executed that a file name says."""

# SPDX-License-Identifier: BSD-3-Clause

import re
from html.parser import HTMLParser
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from beamsight.answer import Answer
from beamsight.answers import THUMBNAILS, open_store
from beamsight.display import thumbnail
from beamsight.frame import Frame, Geometry
from beamsight.report import MAX_PICTURES, MAX_REFUSALS, is_shown, keep_picture, spacing, summarise, title_of, write_report

EVIL = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&"
NAMES = ["ring", "halo", EVIL]
ABOUT: dict[str, Any] = {
    "task": "t",
    "question": "What?",
    "kind": "tags",
    "names": NAMES,
    "model": "t 1",
    "version": "1",
    "sha256": "ab" * 32,
    "beamsight": "0",
    "command": f"beamsight predict {EVIL}",
    "options": {},
}


class Page(HTMLParser):
    """The elements of a page, and what they link to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.links: list[str] = []
        self.handlers: list[str] = []
        self.articles: list[dict[str, str | None]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.links += [v or "" for k, v in attrs if k in ("src", "href", "srcset", "action")]
        self.handlers += [k for k, _ in attrs if k.startswith("on")]
        if tag == "article":
            self.articles.append(dict(attrs))


def made(folder: Path, answers: list[Answer], pictures: bool = False) -> str:
    store = open_store(folder, ABOUT)
    rng = np.random.default_rng(1)
    for answer in answers:
        if pictures and answer.error is None and is_shown(store.count):
            image = rng.poisson(rng.uniform(0.5, 30), (256, 256)).astype(np.float32)
            keep_picture(folder, store.count, thumbnail(Frame(image, image >= 0, Geometry((256, 256)), answer.key)))
        store.add(answer)
    store.close()
    return write_report(folder, ABOUT).read_text()


def answer(n: int, names: list[str], doubtful: list[str] | None = None) -> Answer:
    return Answer(f"/data/run.h5::/entry/data/data?slice={n}", names, dict.fromkeys(NAMES, 0.25), doubtful or [], 0.01)


def test_nothing_is_loaded_and_no_name_is_executed(tmp_path: Path) -> None:
    text = made(
        tmp_path, [answer(0, [EVIL], [EVIL]), Answer(EVIL, ["ring"], dict.fromkeys(NAMES, 0.5)), Answer(EVIL, error=EVIL)], True
    )
    page = Page(text)
    assert page.tags.count("script") == 1
    assert page.handlers == []
    assert all(link.startswith(("data:image/webp;base64,", "#")) for link in page.links)
    assert "http" not in re.sub(r"http-equiv", "", text)
    assert "default-src 'none'" in text
    assert "url(" not in text


def test_every_frame_has_its_tags_probabilities_and_address(tmp_path: Path) -> None:
    text = made(
        tmp_path, [answer(0, ["ring"]), answer(1, ["ring", "halo"], ["halo"]), Answer("/x/bad.tif", error="torn at byte 7")]
    )
    page = Page(text)
    assert [a["data-tags"] for a in page.articles] == ["0 ", "0 1 "]
    assert [a["data-doubt"] for a in page.articles] == ["", "1 "]
    assert all(a["data-p"] == "0.25,0.25,0.25" for a in page.articles)
    assert "/data/run.h5::/entry/data/data?slice=1" in text
    assert "torn at byte 7" in text
    assert "2 of 2 frames" in text
    assert "? halo" in text


def test_what_came_second_and_what_was_measured_stand_below_one_name(tmp_path: Path) -> None:
    apart = {"nearest_neighbours_nm": 14.93, "nearest_neighbours_error_nm": 0.21}
    text = made(tmp_path, [Answer("film", "ring", {"ring": 0.9, "halo": 0.1}, reasons=apart), answer(1, ["ring"])])
    assert text.count("then halo 0.10") == 1
    assert "neighbours 14.9 ± 0.2 nm apart" in text


def test_a_thousand_frames_stay_below_20_megabytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Noise is the worst that a picture can be; fifty pictures of it, each used twenty times, tell as much as a thousand.
    rng = np.random.default_rng(2)
    noise = [rng.poisson(rng.uniform(0.5, 30), (256, 256)).astype(np.float32) for _ in range(50)]
    small = cycle([thumbnail(Frame(i, i >= 0, Geometry((256, 256)), "k")) for i in noise])
    monkeypatch.setattr(f"{__name__}.thumbnail", lambda _: next(small))
    text = made(tmp_path, [answer(n, NAMES[: n % 3]) for n in range(1000)], pictures=True)
    assert len(Page(text).articles) == 1000
    assert len(text) < 20e6


@pytest.mark.parametrize("frames", [0, 1, 999, 1000, 1001, 2000, 2001, 10**6])
def test_shown_frames_are_evenly_spaced_and_few(frames: int) -> None:
    shown = -(-frames // spacing(frames))
    assert shown <= MAX_PICTURES
    assert frames <= MAX_PICTURES or shown > MAX_PICTURES / 2


def test_kept_pictures_are_those_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("beamsight.report.MAX_PICTURES", 10)
    text = made(tmp_path, [answer(n, ["ring"]) for n in range(57)], pictures=True)
    kept = sorted(int(p.stem) for p in (tmp_path / THUMBNAILS).glob("*.webp"))
    assert kept == list(range(0, 57, 8))
    assert [int(a["data-number"] or -1) for a in Page(text).articles] == kept
    assert text.count("data:image/webp") == len(kept)
    assert "Every 8th of 57 frames is shown" in text
    assert summarise(tmp_path)[0].tags == {"ring": 57}


def test_long_lists_of_refusals_end_with_a_word(tmp_path: Path) -> None:
    text = made(tmp_path, [Answer(f"k{n}", error="torn") for n in range(MAX_REFUSALS + 5)])
    assert text.count("<td>torn</td>") == MAX_REFUSALS
    assert "the first 1,000 are listed" in text


@pytest.mark.parametrize(
    ("key", "title"),
    [
        ("/a/b.tif", "b.tif"),
        ("/a/b.h5::/entry/data?slice=7", "b.h5 [7]"),
        ("silx:/a/b.h5?path=/entry/data&slice=7,2", "b.h5 [7,2]"),
        ("gisaxs/7/00000001", "00000001"),
        ("array/00000003", "00000003"),
        ("", ""),
        ("/a/new\nline.tif", "new\nline.tif"),
    ],
)
def test_titles_are_the_names_people_know(key: str, title: str) -> None:
    assert title_of(key) == title

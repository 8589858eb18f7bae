"""The page of a run of hits: its numbers are those of the record, whatever the record lacks."""

# SPDX-License-Identifier: BSD-3-Clause

import math
import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.random import default_rng

from beamsight.answer import UNSURE, Answer
from beamsight.answers import LINES, THUMBNAILS, open_store, read_answers
from beamsight.bundle import load
from beamsight.chances import Z, expected, wilson
from beamsight.display import shape_of, thumbnail
from beamsight.frame import Frame, Geometry
from beamsight.keeping import keeping
from beamsight.marked import APART, LEAST, MOST
from beamsight.powder import mean_of
from beamsight.predict import Tally, about_run, predict_into, write_tables
from beamsight.report import write_report
from beamsight.run_report import STEPS, course_of, errors, shares, verdict
from beamsight.seen import outline
from beamsight.state import STATE
from models import NAMES as MODEL_NAMES
from models import SIZE, write_bundle
from test_report import EVIL, Page

NAMES, SURE = ["miss", "weak", "hit"], 0.95
F = len(STATE)
NORMAL = {"drift": [0.05] * F, "scale": [1.0] * F, "centre": [0.0] * F, "spread": [0.3] * F, "limit": 6.0, "far": 3.0, "runs": 40}
ABOUT: dict[str, Any] = {
    "task": "hits", "question": "Hit?", "kind": "one_of", "names": NAMES, "model": "hits 1", "version": "1", "sha256": "ab" * 32,
    "beamsight": "0", "command": "beamsight predict", "options": {}, "sure": SURE,
}  # fmt: skip


def answers(number: int, seed: int = 0, rate: float = 0.1, changed_at: int | None = None) -> list[Answer]:
    """A run whose probabilities are right, with peaks that mostly agree, states, and now and then a refusal."""
    rng = default_rng(seed)
    return [_answer(rng, n, rate, n >= (number if changed_at is None else changed_at)) for n in range(number)]


def _answer(rng: np.random.Generator, n: int, rate: float, changed: bool) -> Answer:
    if n % 50 == 7:
        return Answer(key(n), error="torn")
    kind = rng.choice(3, p=[1 - 1.5 * rate, 0.5 * rate, rate])
    logits = rng.normal(0, 0.7, 3)
    logits[kind] += rng.gamma(3, 2)
    p = np.exp(logits) / np.exp(logits).sum()
    said = NAMES[int(p.argmax())]
    sure = p.max() >= SURE
    agree = bool(rng.random() < 0.9) if sure and said != "weak" else None
    state = rng.normal(0, 0.3, F) - 1.0 * changed
    return Answer(
        key(n), said if sure else UNSURE, dict(zip(NAMES, map(float, p), strict=True)), [] if sure else [said], 0.01,
        places=[(0, 1, 0.9)] if kind else [], reasons={"peaks": int(rng.poisson(5)), "agree": agree, "saturated_px": 0},
        state=[round(float(v), 4) for v in state],
    )  # fmt: skip


def key(n: int) -> str:
    return f"/d/run.h5::/entry/data?slice={n}"


def made(folder: Path, given_answers: list[Answer], about: dict[str, Any] = ABOUT) -> str:
    store = open_store(folder, about)
    store.add_lines([answer.line() for answer in given_answers])
    store.close()
    return write_report(folder, about).read_text()


def text_of(page: str) -> str:
    """What a reader sees of a page, in one line."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", "", page.replace("<wbr>", "")))


def convolved(p: list[float]) -> np.ndarray[Any, Any]:
    law = np.ones(1)
    for q in p:
        law = np.convolve(law, [1 - q, q])
    return law


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(0, STEPS), st.integers(1, 20)), min_size=1, max_size=12))
def test_expected_numbers_follow_the_law_of_unequal_coins(drawn: list[tuple[int, int]]) -> None:
    p, n = np.array([k / STEPS for k, _ in drawn]), np.array([m for _, m in drawn])
    law = convolved(np.repeat(p, n).tolist())
    told = expected(p, n)
    below = np.cumsum(law)
    assert told.exact
    assert told.of == n.sum()
    assert told.mean == pytest.approx(law @ np.arange(len(law)), abs=1e-9)
    # What lies just at the limit may fall on either side.
    assert below[told.low] >= 0.025 - 1e-9
    assert told.low == 0 or below[told.low - 1] <= 0.025 + 1e-9
    assert below[told.high] >= 0.975 - 1e-9
    assert told.high == 0 or below[told.high - 1] <= 0.975 + 1e-9


def test_many_frames_are_as_good_as_normal() -> None:
    p, n = np.array([0.3, 0.9]), np.array([600, 100])
    told, law = expected(p, n), np.cumsum(convolved([0.3] * 600 + [0.9] * 100))
    assert not told.exact
    assert abs(told.low - np.searchsorted(law, 0.025)) <= 1
    assert abs(told.high - np.searchsorted(law, 0.975)) <= 1
    assert expected(p, 0 * n).words == "0"


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_ends_of_a_share_are_where_it_would_be_a_chance_of_one_in_twenty(of: int, part: float) -> None:
    count = round(part * of)
    low, high = wilson(count, of)
    assert 0 <= low <= count / of <= high <= 1
    for end in (low, high):
        assert count in (0, of) or abs(count / of - end) == pytest.approx(Z * math.sqrt(end * (1 - end) / of), rel=1e-6)
    assert wilson(0, 0) == (0, 1)


def test_numbers_on_the_page_are_those_of_the_record(tmp_path: Path) -> None:
    run = answers(700)
    page = text_of(made(tmp_path, run))
    given = [a for a in run if a.error is None]
    for name in (*NAMES, UNSURE):
        count = sum(a.answer == name for a in given)
        low, high = (100 * v for v in wilson(count, len(given)))
        assert f"{name}{count} {100 * count / len(given):.2f} % {low:.2f} to {high:.2f} %".replace(" ", "") in page.replace(
            " ", ""
        )
    for said, chance, end in (
        ("hit", lambda p: 1 - p, "miss or weak"), ("miss", lambda p: p, "hit"), (UNSURE, lambda p: p, "hit")
    ):  # fmt: skip
        chances = [chance(round(a.probability["hit"], 5)) for a in given if a.answer == said]
        below = np.cumsum(convolved(chances))
        low, high = (int(np.searchsorted(below, share)) for share in (0.025, 0.975))
        called = "unsure frames" if said == UNSURE else f"frames called {said}"
        words = f"{low}" if low == high else f"{low} to {high}"
        assert f"Of {len(chances)} {called}, {words} {'is' if words == '1' else 'are'} expected to be {end}" in page
    apart, compared = (sum((a.reasons or {})["agree"] in which for a in given) for which in ([False], [True, False]))
    assert f"disagree on {apart} of {compared} frames" in page
    assert "frames have saturated" not in page


def test_calibrated_probabilities_tell_how_many_hits_are_missed() -> None:
    # The truth of each frame is drawn anew from what was said of it: nineteen of twenty intervals hold it.
    rng, run = default_rng(5), [a for a in answers(2000, rate=0.2) if a.answer == UNSURE]
    chances = np.array([round(a.probability["hit"], 5) for a in run])
    told = expected(chances, np.ones(len(chances), np.int64))
    truths = (rng.random((4000, len(chances))) < chances).sum(1)
    assert 0.945 <= ((truths >= told.low) & (truths <= told.high)).mean() <= 0.985


def test_bins_hold_every_frame_and_the_curve_is_theirs(tmp_path: Path) -> None:
    run = answers(12_345)
    made(tmp_path, run)
    course = course_of(tmp_path, ABOUT, len(run))
    assert course.size == 62
    assert len(course.bins) == 200
    first = [a for a in run[:62] if a.error is None]
    assert course.bins[0].tolist() == [sum(a.answer == n for a in first) for n in (*NAMES, UNSURE)]
    assert course.bins.sum(0).tolist() == [sum(a.answer == n for a in run) for n in (*NAMES, UNSURE)]
    assert course.chances.sum() == sum(s.count for s in shares(course)) == len(run) - sum(a.error is not None for a in run)


def test_a_change_is_told_with_the_frame_after_which_it_was_seen(tmp_path: Path) -> None:
    run = answers(900, changed_at=500)
    about = ABOUT | {"normal": NORMAL}
    page = text_of(made(tmp_path / "changed", run, about))
    told = re.search(r"Alarm The run has changed: after (\d+) frames (.*?);", page)
    assert told is not None
    assert 500 < int(told[1]) <= 560
    assert "Its start is like the 40 runs of the calibration" in page
    calm = text_of(made(tmp_path / "calm", answers(900), about))
    assert "No alarm In 882 frames the run changed by at most" in calm
    far = ABOUT | {"normal": NORMAL | {"centre": [5.0] + [0.0] * (F - 1)}}
    strange = text_of(made(tmp_path / "far", answers(900), far))
    assert "Its start is unlike the 40 runs" in strange
    assert "furthest off is the noise from pixel to pixel" in strange


def test_a_page_says_what_it_cannot_know(tmp_path: Path) -> None:
    bare = [Answer(a.key, a.answer, a.probability, a.doubtful, error=a.error) for a in answers(300)]
    page = made(tmp_path / "bare", bare, ABOUT | {"normal": NORMAL})
    assert "the record does not say what its frames are like" in page
    assert "disagree" not in page
    assert "the model's card does not say what normal runs are like".replace("'", "&#39;") in made(tmp_path / "no", answers(300))
    few = text_of(made(tmp_path / "few", answers(60), ABOUT | {"normal": NORMAL}))
    assert "Too short to tell whether it changes: 88 frames are needed, 58 are known" in few
    one = text_of(made(tmp_path / "one", answers(1), ABOUT | {"normal": NORMAL}))
    assert "Too short to compare" in one
    for n, run in enumerate(([], [Answer("k", error="torn")] * 30)):
        none = text_of(made(tmp_path / f"none{n}", run, ABOUT | {"normal": NORMAL}))
        assert "No frame was answered." in none
        assert "expected to be" not in none


def test_the_page_loads_nothing_and_runs_nothing(tmp_path: Path) -> None:
    evil = [Answer(EVIL, a.answer, a.probability, a.doubtful, places=a.places, state=a.state) for a in answers(150)]
    text = made(tmp_path, evil, ABOUT | {"normal": NORMAL, "task": EVIL})
    page = Page(text)
    assert page.tags.count("script") == 1
    assert page.handlers == []
    assert "url(" not in text
    assert "http" not in text.replace("http-equiv", "")
    assert page.tags.count("desc") == page.tags.count("figure") - text.count('class="look"') == 3


def test_lattices_are_no_hits(tmp_path: Path) -> None:
    about = ABOUT | {"names": ["BCC100", "HCP", "none"], "normal": None}
    said = [
        Answer("a", "HCP", {"BCC100": 0.0, "HCP": 1.0, "none": 0.0}),
        Answer("b", UNSURE, {"BCC100": 0.6, "HCP": 0.4}, ["BCC100"]),
    ]
    text = made(tmp_path, said, about)
    assert 'class="run"' not in text
    assert "hits" not in text.replace(ABOUT["task"], "")
    assert text.count(f'<span class="name">{UNSURE}</span>') == 1


def test_tags_and_models_that_are_never_unsure_have_the_page_they_had(tmp_path: Path) -> None:
    about = {k: v for k, v in ABOUT.items() if k != "sure"}
    text = made(tmp_path, [a for a in answers(30) if a.answer != UNSURE], about)
    assert "the run" not in text
    assert 'class="run"' not in text
    assert UNSURE not in text


def test_unsure_frames_can_be_filtered(tmp_path: Path) -> None:
    run = answers(100)
    page = Page(made(tmp_path, run))
    unsure = [n for n, a in enumerate(run) if a.answer == UNSURE]
    assert unsure == [int(a["data-number"] or -1) for a in page.articles if a["data-tags"] == "3 "]


def test_a_hundred_thousand_lines_take_little_memory(tmp_path: Path) -> None:
    about = ABOUT | {"normal": NORMAL}
    run = answers(1000)
    made(tmp_path, run, about)
    block = (tmp_path / LINES).read_bytes()
    (tmp_path / LINES).write_bytes(block * 100)
    tracemalloc.start()
    course = course_of(tmp_path, about, 100_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40e6
    assert {s.name: s.count for s in shares(course)} == {n: 100 * sum(a.answer == n for a in run) for n in (*NAMES, UNSURE)}
    assert errors(course)["missed"].of == 100 * sum(a.answer == "miss" for a in run)
    assert verdict(course)[0][0] == "calm"


SHAPE = (200, 330)


def frame(n: int, shape: tuple[int, int] = SHAPE) -> Frame:
    image = default_rng(n).poisson(3, shape).astype(np.float32)
    mask = np.ones(shape, bool)
    mask[5:8] = False
    image[0, n % 7] = np.nan
    return Frame(image, mask, Geometry(shape), key(n))


def kept_of(folder: Path, run: list[Answer], about: dict[str, Any] = ABOUT) -> None:
    """As a run does: the frames of what has no line yet are answered."""
    store = open_store(folder, about)
    with keeping(folder, store.count, about, True) as keep:
        for n in range(store.count, len(run)):
            if run[n].error is None:
                keep(n, frame(n), run[n], len(run))
            store.add(run[n])
    store.close()


def pictures(folder: Path) -> dict[str, list[int]]:
    return {
        name: sorted(int(p.stem.split("_")[1]) for p in (folder / THUMBNAILS / name).glob("*.webp")) for name in (LEAST, APART)
    }


def test_pictures_of_the_least_certain_are_kept_and_are_the_same_after_a_stop(tmp_path: Path) -> None:
    run = answers(200, rate=0.3)
    kept_of(tmp_path / "whole", run)
    for part in (run[:90], run[:91], run[:150], run):
        kept_of(tmp_path / "parts", part)
    given = [(n, a) for n, a in enumerate(run) if a.error is None]
    surest = sorted(given, key=lambda entry: (round(max(entry[1].probability.values()), 5), entry[0]))
    least = sorted(n for n, _ in surest[:MOST])
    apart = sorted(n for n, a in given if (a.reasons or {})["agree"] is False)
    assert len(apart) < MOST
    assert pictures(tmp_path / "whole") == pictures(tmp_path / "parts") == {LEAST: least, APART: apart}
    page = write_report(tmp_path / "whole", ABOUT).read_text()
    looks = re.findall(r'<figure class="look".*?</figure>', page, re.DOTALL)
    assert len(looks) == MOST + len(apart)
    assert all("data:image/webp" in look for look in looks)


def test_a_picture_whose_line_was_lost_is_made_again(tmp_path: Path) -> None:
    run = answers(120)
    kept_of(tmp_path, run)
    lines = (tmp_path / LINES).read_bytes().splitlines(keepends=True)
    (tmp_path / LINES).write_bytes(b"".join(lines[:-1]) + lines[-1][:20])
    before = pictures(tmp_path)
    kept_of(tmp_path, run)
    assert pictures(tmp_path) == before


def test_tiles_lie_on_the_picture_where_they_lie_in_the_frame(tmp_path: Path) -> None:
    assert shape_of(thumbnail(frame(1))) == SHAPE
    assert outline([(0, 0), (0, 1), (3, 5), (2, 4), (9, 9)], SHAPE) == "M0 0H128V64H0ZM256 128H320V192H256ZM320 192H330V200H320Z"
    run = [Answer(key(0), "hit", {"miss": 0.01, "weak": 0.0, "hit": 0.99}, places=[(1, 2, 0.9)])]
    kept_of(tmp_path, run)
    page = write_report(tmp_path, ABOUT).read_text()
    assert 'viewBox="0 0 330 200"' in page
    assert page.count('d="M128 64H192V128H128Z"') == 2


def test_a_run_of_a_model_that_may_be_unsure_has_all_of_it(tmp_path: Path) -> None:
    bundle = load(write_bundle(tmp_path / "model", target={"kind": "one_of", "names": list(MODEL_NAMES)}, sure=0.5))
    rng = default_rng(2)
    levels, shares_masked = rng.uniform(0, 2000, 60), rng.uniform(0.4, 0.95, 60)
    frames = [
        Frame(
            rng.poisson(level, (SIZE, SIZE)).astype(np.float32), rng.random((SIZE, SIZE)) > share, Geometry((SIZE, SIZE)), key(n)
        )
        for n, (level, share) in enumerate(zip(levels, shares_masked, strict=True))
    ]
    folder, about = tmp_path / "out", about_run(bundle, "beamsight predict", {})
    for part in (frames[:25], frames[25:]):
        store = open_store(folder, about)
        predict_into(store, bundle, part, Tally())
        store.close()
    write_tables(folder)
    page = text_of((folder / "report.html").read_text())
    given = list(read_answers(folder))
    said = [a.answer for a in given]
    hits = [f for f, name in zip(frames, said, strict=True) if name == MODEL_NAMES[-1]]
    assert hits
    assert UNSURE in said
    assert f"shown as the mean of {len(hits)} frames" in page
    mean = mean_of(folder, SIZE)
    assert mean is not None
    trusted = sum(f.mask.astype(int) for f in hits)
    assert mean[0].image == pytest.approx(sum(np.where(f.mask, f.image, 0) for f in hits) / np.maximum(trusted, 1), rel=1e-5)
    assert f"Of {len(hits)} frames called {MODEL_NAMES[-1]}" in page
    least = sorted(range(60), key=lambda n: (round(max(given[n].probability.values()), 5), n))[:MOST]
    assert pictures(folder)[LEAST] == sorted(least)

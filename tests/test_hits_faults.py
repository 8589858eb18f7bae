"""A run of hits through everything that is wrong with files: one line for each, all else answered, nothing lost."""

# SPDX-License-Identifier: BSD-3-Clause

from pathlib import Path

import h5py
import numpy as np
import pytest

from beamsight.answer import Answer
from beamsight.answers import read_answers
from beamsight.task import make_frame
from command import beamsight, lines, started, until_lines
from formats import nxmx, plain_h5
from test_damaged import unknown_filter
from toy_spots import SIDE, TOY_SPOTS, trained

MANY = 400
COUNTS = np.stack([np.rint(make_frame(TOY_SPOTS, 12, i).image.clip(0)) for i in range(6)]).astype("f4")


def part(fault: str) -> np.ndarray:
    """Six frames of which the third has a fault."""
    images = COUNTS.copy()
    images[2] = {"all NaN": np.nan, "some NaN": images[2], "negative": images[2] - 3.0, "endless": np.inf}[fault]
    if fault == "some NaN":
        images[2, :5] = np.nan
    return images


def stored(folder: Path, images: np.ndarray) -> Path:
    folder.mkdir()
    return plain_h5()(folder, images)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of a run, good and bad."""
    made = tmp_path_factory.mktemp("run")
    for name in ("all NaN", "some NaN", "negative", "endless"):
        stored(made / name, part(name))
    (made / "masked").mkdir()
    nxmx(made / "masked", COUNTS[:2].astype("u4"), mask=np.ones((SIDE, SIDE), "u4"))
    data = stored(made / "whole", COUNTS).read_bytes()
    (made / "cut.h5").write_bytes(data[: len(data) // 2])
    (made / "plugin").mkdir()
    unknown_filter(made / "plugin")
    stored(made / "other shape", np.pad(COUNTS, ((0, 0), (0, 32), (0, 64))))
    return made


def by_file(answers: list[Answer], name: str) -> list[Answer]:
    return [answer for answer in answers if f"/{name}.h5" in answer.key or f"/{name}/" in answer.key]


def test_each_fault_is_a_line_and_the_run_goes_on(folder: Path, tmp_path: Path) -> None:
    hits, out = tmp_path / "hits.cxi", tmp_path / "out"
    done = beamsight("predict", trained(), folder, "-o", out, "--peaks", "--write-hits", hits, "-q")
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    answers = list(read_answers(out))
    failed = {name: [a.error for a in by_file(answers, name) if a.error] for name in ("whole", "some NaN", "negative", "all NaN")}
    assert failed["whole"] == failed["some NaN"] == failed["negative"] == []
    assert len(failed["all NaN"]) == 1
    for name, frames in {"whole": 6, "some NaN": 6, "negative": 6, "all NaN": 6, "endless": 6}.items():
        assert len(by_file(answers, name)) == frames
    for name in ("masked", "cut", "plugin"):
        refused = by_file(answers, name)
        assert refused, name
        assert all(a.error and "\n" not in a.error for a in refused), (name, refused)
    good = [a for a in answers if a.error is None]
    # Frames of another shape are answered; a file of hits holds one shape, and says so of each hit of another.
    assert {a.answer for a in by_file(answers, "whole")} <= {"miss", "hit", "unsure"}
    others = by_file(answers, "other shape")
    assert len(others) == 6
    with h5py.File(hits) as file:
        kept = [key.decode() for key in file["entry_1/result_1/key"][()]]
        assert len({file["entry_1/data_1/data"].shape[1:]}) == 1
    shape_of = [a for a in answers if a.error and "shape" in a.error]
    assert len(kept) == sum(a.answer == "hit" for a in good)
    assert len(kept) + len(shape_of) >= 6
    assert (out / "report.html").exists()


def test_a_frame_without_geometry_is_answered_and_its_peaks_are_not_guessed(tmp_path: Path) -> None:
    path = stored(tmp_path / "bare", COUNTS)
    done = beamsight("predict", trained(), path, "-o", tmp_path / "out", "--peaks", "-q")
    assert done.returncode == 0, done.stderr
    for answer in read_answers(tmp_path / "out"):
        assert answer.reasons is not None
        assert answer.answer in ("miss", "hit", "unsure")


def test_panels_that_do_not_fit_the_frames_are_told(tmp_path: Path) -> None:
    path, geom = stored(tmp_path / "run", COUNTS), tmp_path / "wrong.geom"
    corners = f"p0/min_fs = 0\np0/max_fs = {SIDE + 31}\np0/min_ss = 0\np0/max_ss = {SIDE - 1}\n"
    geom.write_text(
        f"clen = 0.1\nres = 10000\nphoton_energy = 9000\n{corners}p0/corner_x = -64\np0/corner_y = -64\np0/fs = x\np0/ss = y\n"
    )
    done = beamsight("predict", trained(), path, "-o", tmp_path / "out", "--geom", geom, "-q")
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    answers = list(read_answers(tmp_path / "out"))
    assert answers
    assert all(a.error and "panel" in a.error and "\n" not in a.error for a in answers), answers


def test_a_run_that_is_killed_goes_on_where_it_stopped(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    images = rng.permuted(np.tile(COUNTS, (MANY // len(COUNTS) + 1, 1, 1))[:MANY], axis=0)
    path, out, hits = stored(tmp_path / "run", images), tmp_path / "out", tmp_path / "hits.cxi"
    command = ("predict", trained(), path, "-o", out, "--peaks", "--write-hits", hits, "-q")
    run = started(*command)
    until_lines(run, out)
    run.kill()
    run.communicate()
    before = list(read_answers(out))
    assert 0 < len(before) < MANY
    done = beamsight(*command)
    assert done.returncode == 0, done.stderr
    after = list(read_answers(out))
    assert [a.key for a in after[: len(before)]] == [a.key for a in before]
    assert len(after) == len({a.key for a in after}) == MANY == len(lines(out))
    with h5py.File(hits) as file:
        kept = [key.decode() for key in file["entry_1/result_1/key"][()]]
    assert sorted(kept) == sorted(a.key for a in after if a.answer == "hit")

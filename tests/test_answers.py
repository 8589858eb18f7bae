"""The record of a run: whole lines, resumed where they end, never lost without a word."""

# SPDX-License-Identifier: BSD-3-Clause

import csv
import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from silx.io import nxdata

from beamsight.answer import Answer, from_line
from beamsight.answers import LINES, open_store, read_about, read_answers, write_csv, write_hdf5
from beamsight.errors import CannotWrite

ABOUT = {"task": "t", "question": "q?", "names": ["a", "b"], "model": "t 1 (00)", "sha256": "00", "options": {}}


def answer(n: int) -> Answer:
    return Answer(f"/d/f.h5::/data?slice={n}", ["a"], {"a": 0.9, "b": 0.1}, [], 0.001)


@contextmanager
def store(folder: Path, **other: object) -> Iterator:  # type: ignore[type-arg]
    opened = open_store(folder, ABOUT | other)
    try:
        yield opened
    finally:
        opened.close()


names = st.lists(st.text(), max_size=3)
answers = st.builds(
    Answer,
    key=st.text(),
    answer=names | st.text(),
    probability=st.dictionaries(st.text(), st.floats(0, 1).map(lambda p: round(p, 5)), max_size=3),
    doubtful=names,
    seconds=st.floats(0, 10).map(lambda s: round(s, 5)),
) | st.builds(Answer, key=st.text(), error=st.text())


@given(answers)
def test_a_line_holds_all_of_an_answer(given: Answer) -> None:
    line = given.line()
    assert "\n" not in line
    assert from_line(line) == given


def test_what_was_answered_before_is_known_and_kept(tmp_path: Path) -> None:
    with store(tmp_path) as s:
        for n in range(5):
            s.add(answer(n))
    with store(tmp_path) as s:
        assert s.count == len(s.done) == 5
        assert answer(3).key in s.done
        assert answer(7).key not in s.done
        assert s.notes == []
        s.add(answer(7))
    assert [a.key for a in read_answers(tmp_path)] == [answer(n).key for n in (0, 1, 2, 3, 4, 7)]


@pytest.mark.parametrize("torn", [b"{", b'{"key": "/d/f.h5::/data?slice=3", "answer"', b"x" * 200_000])
def test_a_torn_last_line_is_dropped(tmp_path: Path, torn: bytes) -> None:
    with store(tmp_path) as s:
        s.add(answer(0))
    whole = (tmp_path / LINES).read_bytes()
    (tmp_path / LINES).write_bytes(whole + torn)
    with store(tmp_path) as s:
        assert s.count == 1
    assert (tmp_path / LINES).read_bytes() == whole


def test_another_version_is_noted_another_task_refused(tmp_path: Path) -> None:
    with store(tmp_path) as s:
        s.add(answer(0))
    with store(tmp_path, sha256="11", model="t 2 (11)") as s:
        assert "t 1 (00)" in s.notes[0]
        assert "t 2 (11)" in s.notes[0]
    with store(tmp_path, sha256="11", model="t 2 (11)", options={"mask": "m"}) as s:
        assert "other options" in s.notes[0]
    for other in ({"task": "u"}, {"names": ["a", "c"]}):
        with pytest.raises(CannotWrite, match="--overwrite"), store(tmp_path, **other):
            pass
    assert len(list(read_answers(tmp_path))) == 1


def test_foreign_lines_are_never_overwritten_silently(tmp_path: Path) -> None:
    (tmp_path / LINES).write_text('{"hello": 1}\n')
    with pytest.raises(CannotWrite, match="something else"), store(tmp_path):
        pass
    (tmp_path / "run.json").write_text(json.dumps(ABOUT))
    with pytest.raises(CannotWrite, match="line 1"), store(tmp_path):
        pass
    assert (tmp_path / LINES).read_text() == '{"hello": 1}\n'
    open_store(tmp_path, ABOUT, overwrite=True).close()
    assert (tmp_path / LINES).read_text() == ""


def test_two_writers_do_not_share_a_record(tmp_path: Path) -> None:
    with store(tmp_path), pytest.raises(CannotWrite, match="another beamsight"):
        open_store(tmp_path, ABOUT)


def test_after_kill_9_every_line_is_whole_and_the_run_goes_on(tmp_path: Path) -> None:
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_answers import ABOUT, answer
from beamsight.answers import open_store
s = open_store({str(tmp_path)!r}, ABOUT)
for n in range(10**7):
    s.add(answer(n))
"""
    for _ in range(3):
        worker = subprocess.Popen([sys.executable, "-c", code])
        before = (tmp_path / LINES).stat().st_size if (tmp_path / LINES).exists() else 0
        while not (tmp_path / LINES).exists() or (tmp_path / LINES).stat().st_size < before + 20_000:
            assert worker.poll() is None
            time.sleep(0.01)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        data = (tmp_path / LINES).read_bytes()
        assert data.endswith(b"\n")
        assert all(json.loads(line)["key"] for line in data.splitlines())
    with store(tmp_path) as s:
        assert s.count == data.count(b"\n")


def test_a_full_disk_leaves_whole_lines_and_one_sentence(tmp_path: Path) -> None:
    # A limit on the size of files stops a write half way, as a full disk does.
    code = f"""
import resource, sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_answers import ABOUT, answer
from beamsight.answers import open_store
from beamsight.errors import CannotWrite
s = open_store({str(tmp_path)!r}, ABOUT)
resource.setrlimit(resource.RLIMIT_FSIZE, (5000, 5000))
try:
    for n in range(1000):
        s.add(answer(n))
except CannotWrite as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.count("\n") == 1
    assert "cannot be written (File too large); what was answered before stays" in done.stdout
    data = (tmp_path / LINES).read_bytes()
    assert 4800 < len(data) <= 5000
    assert data.endswith(b"\n")


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in (tmp_path / "file", tmp_path / "file" / "below", Path("/proc/none")):
        with pytest.raises(CannotWrite, match="give another -o folder"):
            open_store(folder, ABOUT)


def test_tables_hold_every_answer(tmp_path: Path) -> None:
    given = [
        answer(0),
        Answer('odd \udc80 key, "quoted"', error="torn\x00"),
        Answer("k", ["a", "b"], {"a": 1.0, "b": 0.5}, ["b"], centre_px=(3.25, -4.5), centre_error_px=1.5),
    ]
    with store(tmp_path) as s:
        for a in given:
            s.add(a)
    assert next(a for a in read_answers(tmp_path) if a.key == "k") == given[2]
    write_csv(tmp_path, ["a", "b"])
    rows = list(csv.DictReader((tmp_path / "answers.csv").read_text(encoding="utf-8").splitlines()))
    assert [r["answer"] for r in rows] == ["a", "", "a; b"]
    assert [r["b"] for r in rows] == ["0.1", "", "0.5"]
    assert rows[2]["doubtful"] == "b"
    assert [r["centre_x_px"] for r in rows] == ["", "", "-4.5"]
    write_hdf5(tmp_path, ["a", "b"], read_about(tmp_path))
    with h5py.File(tmp_path / "answers.h5") as file:
        data = nxdata.get_default(file)
        assert data is not None
        assert data.is_valid
        np.testing.assert_allclose(data.signal[()], [[0.9, 0.1], [np.nan, np.nan], [1, 0.5]])
        assert [v.decode() for v in data.group["key"][()]][::2] == [given[0].key, "k"]
        assert [v.decode() for v in data.group["name"][()]] == ["a", "b"]
        np.testing.assert_array_equal(data.group["centre_error_px"][()], [np.nan, np.nan, 1.5])


def test_no_half_table_stays_under_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with store(tmp_path) as s:
        s.add(answer(0))
    write_csv(tmp_path, ["a", "b"])
    before = (tmp_path / "answers.csv").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(CannotWrite, match="No space left"):
        write_csv(tmp_path, ["a", "b"])
    with pytest.raises(CannotWrite, match="No space left"):
        write_hdf5(tmp_path, ["a", "b"], ABOUT)
    assert (tmp_path / "answers.csv").read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["answers.csv", "answers.jsonl", "run.json"]

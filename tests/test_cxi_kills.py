"""Hits outlive what ends the process that writes them: a kill, a full disk, a disk that fails half way."""

# SPDX-License-Identifier: BSD-3-Clause

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from beamsight import journal
from beamsight.cxi import DATA, MASK, HitsWriter
from beamsight.errors import CannotWrite
from beamsight.sources import open_frames
from test_cxi import ABOUT, SHAPE, frame, keys, peaks, written

ENDLESS = """
import sys
sys.path.insert(0, sys.argv[2])
from test_cxi import ABOUT, frame, peaks
from beamsight.cxi import HitsWriter
with HitsWriter(sys.argv[1], ABOUT) as writer:
    n = len(writer)
    while True:
        writer.add(frame(n), peaks(9, n))
        n += 1
        print(n, flush=True)
"""


@pytest.mark.parametrize("delay_s", [0.0, 0.003, 0.011])
def test_a_killed_process_leaves_all_it_had_added(delay_s: float, tmp_path: Path) -> None:
    path, told = tmp_path / "hits.cxi", 0
    for _ in range(2):
        process = subprocess.Popen(
            [sys.executable, "-c", ENDLESS, str(path), str(Path(__file__).parent)], stdout=subprocess.PIPE, text=True
        )
        with process:
            assert process.stdout is not None
            for _ in range(8):
                told = int(process.stdout.readline())
            time.sleep(delay_s)
            process.send_signal(signal.SIGKILL)
            rest = process.stdout.read().split("\n")
        told = max([told, *(int(r) for r in rest[:-1] if r)])
        # Where it was among the few writes that change the file, the next to open it for writing finishes them.
        if (tmp_path / ".hits.cxi.journal").exists():
            HitsWriter(path, ABOUT).close()
        found = keys(path)
        assert told <= len(found) <= told + 1
        assert found == [frame(n).key for n in range(len(found))]
        for n, read in enumerate(open_frames(path)):
            np.testing.assert_array_equal(read.image, frame(n).image)
    with HitsWriter(path, ABOUT) as writer:
        assert len((tmp_path / "hits.lst").read_text().splitlines()) == len(writer) == len(found)


def test_a_full_disk_is_one_line_and_loses_nothing(tmp_path: Path) -> None:
    # A limit on the size of files stops a write half way, as a full disk does.
    code = """
import resource, sys
sys.path.insert(0, sys.argv[2])
from test_cxi import ABOUT, frame, peaks
from beamsight.cxi import HitsWriter
from beamsight.errors import CannotWrite
resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, 500_000))
try:
    with HitsWriter(sys.argv[1], ABOUT) as writer:
        for n in range(1000):
            writer.add(frame(n), peaks(9, n))
            print(n)
except CannotWrite as error:
    print(error)
"""
    path = tmp_path / "hits.cxi"
    command = [sys.executable, "-c", code, str(path), str(Path(__file__).parent)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=100)
    assert done.stderr == ""
    *added, last = done.stdout.splitlines()
    assert "cannot be written (File too large); the hits before it stay" in last
    assert len(added) >= 10
    assert keys(path) == [frame(int(n)).key for n in added]
    for n, read in enumerate(open_frames(path)):
        np.testing.assert_array_equal(read.image, frame(n).image)
    # With room again the same command goes on.
    with HitsWriter(path, ABOUT) as writer:
        for n in range(len(added) + 3):
            writer.add(frame(n), peaks(9, n))
    assert keys(path) == [frame(n).key for n in range(len(added) + 3)]
    with h5py.File(path) as file:
        assert file[DATA].shape == file[MASK].shape == (len(added) + 3, *SHAPE)


def test_a_state_that_was_carried_out_half_way_is_finished(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "hits.cxi"
    written(path, 2)
    writer = HitsWriter(path, ABOUT)
    put, carry_out, left = journal._put, journal.carry_out, [2]

    def stops(fd: int, data: Any, at: int) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise OSError(5, "Input/output error")
        put(fd, data, at)

    def half_way(path: Path, fd: int) -> None:
        monkeypatch.setattr(journal, "_put", stops)
        carry_out(path, fd)

    monkeypatch.setattr(journal, "carry_out", half_way)
    with pytest.raises(CannotWrite, match="Input/output error"):
        writer.add(frame(2), peaks(4))
    monkeypatch.undo()
    writer.close()
    assert (tmp_path / ".hits.cxi.journal").exists()
    with HitsWriter(path, ABOUT) as again:
        assert len(again) == 3
    assert keys(path) == [frame(n).key for n in range(3)]
    assert not (tmp_path / ".hits.cxi.journal").exists()


def test_a_journal_that_is_not_whole_is_none(tmp_path: Path) -> None:
    path = tmp_path / "hits.cxi"
    written(path, 2)
    before = path.read_bytes()
    (tmp_path / ".hits.cxi.journal").write_bytes(b"bsjourn1" + bytes(99))
    HitsWriter(path, ABOUT).close()
    assert path.read_bytes() == before

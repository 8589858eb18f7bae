"""A killed simulation goes on, and its archive is to the byte that of one that was never stopped, on any number of workers."""

import fcntl
import json
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest

from beamsight.archive import MASTER, PLAN, SUMS, read_archive
from beamsight.archive_check import check_archive
from beamsight.cli import run
from beamsight.errors import BeamsightError, CannotWrite
from beamsight.examples import TEST, TRAINING
from beamsight.simulating import simulate_archive
from beamsight.task import find_tasks, make_frame
from command import same_paths
from toy import TOY

N, LONG, PER_FILE, SHAPE = 44, 400, 8, (16, 20)
PROGRAM = """
import sys
from pathlib import Path
from toy import TOY
from beamsight.simulating import simulate_archive
simulate_archive(TOY, sys.argv[1], int(sys.argv[2]), shape=(16, 20), per_file=8, workers=int(sys.argv[3]) or None)
"""


def simulated(folder: Path, n: int = N, **options: object) -> Path:
    return simulate_archive(TOY, folder, n, shape=SHAPE, per_file=PER_FILE, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive that was made in one go."""
    return simulated(tmp_path_factory.mktemp("whole") / "a")


@pytest.fixture(scope="module")
def long(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that takes long enough to be killed while it is made."""
    return simulated(tmp_path_factory.mktemp("long") / "a", LONG)


def same(a: Path, b: Path) -> bool:
    names = sorted(p.name for p in a.iterdir())
    return names == sorted(p.name for p in b.iterdir()) and all((a / n).read_bytes() == (b / n).read_bytes() for n in names)


def started(folder: Path, n: int, workers: int = 0) -> subprocess.Popen[bytes]:
    """The same simulation in a process of its own."""
    command = [sys.executable, "-c", PROGRAM, str(folder), str(n), str(workers)]
    return subprocess.Popen(command, env=same_paths(), stderr=subprocess.PIPE)


def wait_for(path: Path, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        assert process.poll() is None, process.stderr.read().decode() if process.stderr else ""
        assert time.monotonic() < end
        time.sleep(0.002)


def test_every_frame_is_the_one_of_its_number(whole: Path) -> None:
    read = read_archive(whole)
    assert [f.key for f in read] == [f"toy-rings/0/{n:08d}" for n in TEST[:N]]
    for n in (0, 7, 8, N - 1):
        made = make_frame(TOY, 0, n, SHAPE)
        assert np.array_equal(read[n].image, made.image)
        assert np.array_equal(read[n].mask, made.mask)
        assert (read[n].truth, read[n].geometry) == (made.truth, made.geometry)
        assert read[n].scene == pytest.approx(vars(made.scene), abs=0)


def test_the_archive_says_what_it_holds_and_is_whole(whole: Path) -> None:
    assert json.loads((whole / PLAN).read_text())["frames"] == N
    found = check_archive(whole)
    assert (found.frames, found.files, found.faults) == (N, 6, [])
    assert not [p for p in whole.iterdir() if p.name.startswith(".")]
    with h5py.File(whole / MASTER) as file:
        assert file["/entry/title"].asstr()[()] == "toy-rings"


def test_a_killed_simulation_goes_on_and_ends_the_same(long: Path, tmp_path: Path) -> None:
    process = started(tmp_path / "a", LONG)
    wait_for(tmp_path / "a" / "data_000003.h5", process)
    process.kill()
    process.communicate()
    assert not (tmp_path / "a" / SUMS).exists()
    first = (tmp_path / "a" / "data_000001.h5").stat().st_mtime_ns
    heard: list[int] = []
    simulated(tmp_path / "a", LONG, tell=heard.append)
    assert sum(heard) == LONG
    # What was finished is not made again.
    assert heard[0] >= 2 * PER_FILE
    assert (tmp_path / "a" / "data_000001.h5").stat().st_mtime_ns == first
    assert same(tmp_path / "a", long)


def test_a_finished_archive_is_left_as_it_is(whole: Path, tmp_path: Path) -> None:
    folder = simulated(tmp_path / "a")
    times = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
    simulated(folder)
    assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == times


def test_a_data_file_damaged_meanwhile_is_made_again(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a"

    def stop(frames: int) -> None:
        if (folder / "data_000004.h5").exists():
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulated(folder, tell=stop)
    content = bytearray((folder / "data_000002.h5").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "data_000002.h5").write_bytes(content)
    (folder / "data_000003.h5").write_bytes(content[:1000])
    simulated(folder)
    assert same(folder, whole)


def test_workers_make_the_same_archive_though_one_is_killed(long: Path, tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    process = started(tmp_path / "a", LONG, workers=2)
    wait_for(tmp_path / "a" / "data_000001.h5", process)
    children = psutil.Process(process.pid).children(recursive=True)
    # Those that import what the task needs are the workers; one of them is enough.
    workers = sorted(children, key=lambda c: c.memory_info().rss)
    workers[-1].send_signal(signal.SIGKILL)
    assert process.wait(60) == 0, process.stderr.read().decode() if process.stderr else ""
    process.communicate()
    assert same(tmp_path / "a", long)


def test_two_do_not_write_one_archive(whole: Path, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    with (folder / PLAN).open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(CannotWrite, match="another process"):
            simulated(folder)
    simulated(folder)
    assert same(folder, whole)


def test_other_plans_and_other_folders_are_refused(tmp_path: Path, whole: Path) -> None:
    with pytest.raises(CannotWrite, match="seed 0 there, 1 asked"):
        simulated(whole, seed=1)
    with pytest.raises(CannotWrite, match="drawn in another way"):
        simulate_archive(replace(TOY, draw=_drawn_otherwise), whole, N, shape=SHAPE, per_file=PER_FILE)
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(CannotWrite, match="holds other things"):
        simulated(tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["notes.txt"]


def test_a_plan_of_which_nothing_was_made_gives_way(tmp_path: Path, whole: Path) -> None:
    def stop(frames: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulated(tmp_path / "a", seed=5, tell=stop)
    assert same(simulated(tmp_path / "a"), whole)


def _drawn_otherwise(rng: np.random.Generator) -> object:
    rng.random()
    return TOY.draw(rng)


def test_frames_to_learn_from_are_others_than_those_to_judge_by(tmp_path: Path) -> None:
    read = read_archive(simulated(tmp_path / "a", 3, training=True))
    assert [f.key for f in read] == [f"toy-rings/0/{n:08d}" for n in TRAINING[:3]]
    for n in (0, -1, len(TEST) + 1):
        with pytest.raises(BeamsightError, match="asked for"):
            simulated(tmp_path / "b", n)
    with pytest.raises(BeamsightError, match="larger size"):
        simulate_archive(TOY, tmp_path / "b", 1, shape=(0, 9))


@contextmanager
def small_disk(size: int) -> Iterator[None]:
    """No file can grow beyond `size` bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_one_clear_line_and_the_same_command_goes_on(whole: Path, tmp_path: Path) -> None:
    # The last data file is a short one: a disk on which only that has room.
    room = (whole / "data_000006.h5").stat().st_size
    assert room < (whole / "data_000001.h5").stat().st_size
    with small_disk(room), pytest.raises(CannotWrite, match=r"data_000001.h5: cannot be written .*the same command goes on"):
        simulated(tmp_path / "a")
    assert [p.name for p in (tmp_path / "a").iterdir()] == [PLAN]
    assert simulated(tmp_path / "a").joinpath(SUMS).read_bytes() == (whole / SUMS).read_bytes()


def test_a_folder_that_cannot_be_written_is_told() -> None:
    with pytest.raises(CannotWrite, match="cannot be written"):
        simulated(Path("/proc/frames"))


def test_the_verb_simulate_writes_what_evaluate_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = next(iter(find_tasks()))
    command = ["simulate", name, str(tmp_path / "a"), "-n", "3", "--size", "40", "--training"]
    assert run(command) == 0
    assert capsys.readouterr().out == f"frames: {tmp_path / 'a'}\n"
    assert [f.image.shape for f in read_archive(tmp_path / "a")] == [(40, 40)] * 3
    assert run([*command, "--quiet"]) == 0
    assert capsys.readouterr().out == ""
    assert run([*command, "--seed", "1"]) == 1
    assert "seed 0 there, 1 asked" in capsys.readouterr().err


def test_the_verb_check_tells_by_its_status(whole: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["check", str(whole)]) == 0
    assert capsys.readouterr().out.startswith(f"ok: {N} frames in 6 data files")
    folder = simulated(tmp_path / "a", 2 * PER_FILE)
    (folder / "data_000002.h5").unlink()
    assert run(["check", str(folder)]) == 1
    assert len(capsys.readouterr().out.splitlines()) == 1
    (folder / "data_000001.h5").unlink()
    assert run(["check", str(folder)]) == 3
    (folder / SUMS).unlink()
    assert run(["check", str(folder)]) == 3
    assert "not finished" in capsys.readouterr().err

"""Answering spread over workers: the same answers as one process gives, whoever of them dies, and one line for every mistake."""

# SPDX-License-Identifier: BSD-3-Clause

import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import psutil
import pytest

from beamsight import bulk
from beamsight.bundle import load
from beamsight.errors import BadBundle, CannotRead
from beamsight.predict import Tally
from beamsight.sources import Refused, read_frames
from command import BLOCK_TORCH, beamsight, lines, started, until_lines
from models import write_bundle

FRAMES = 6000


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_bundle(tmp_path_factory.mktemp("models") / "model"))


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many frames in one file."""
    path = tmp_path_factory.mktemp("stack") / "stack.h5"
    with h5py.File(path, "w") as file:
        file["entry/data/data"] = np.random.default_rng(0).poisson(5, (FRAMES, 32, 32)).astype(np.uint16)
    return path


@pytest.fixture(scope="module")
def whole(model: str, stack: Path, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, object]]:
    """What one process answers."""
    out = tmp_path_factory.mktemp("whole")
    assert beamsight("predict", model, stack, "-o", out, "--no-report").returncode == 0
    return untimed(out)


def untimed(folder: Path) -> list[dict[str, object]]:
    return [answer | {"seconds": 0} for answer in lines(folder)]


def patched(setting: str) -> str:
    """The command with less patience."""
    return BLOCK_TORCH.replace("from beamsight.cli", f"import beamsight.cluster; beamsight.cluster.{setting}\nfrom beamsight.cli")


def workers_of(run: "subprocess.Popen[str]") -> list[psutil.Process]:
    return [p for p in psutil.Process(run.pid).children() if any("spawn_main" in word for word in p.cmdline())]


def test_workers_answer_as_one_process_does(model: str, stack: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    for n in range(40):
        np.save(data / f"{n}.npy", np.random.default_rng(n).poisson(n, (4, 40, 50) if n % 7 == 3 else (40, 50)).astype(np.uint16))
    (data / "5.tif").write_bytes(b"no tiff")
    np.save(tmp_path / "mask.npy", np.arange(2000).reshape(40, 50) % 5 == 0)
    asked = (model, data, tmp_path / "nowhere", "--mask", tmp_path / "mask.npy", "--frames", "0:3", "--threshold", "0.6")
    here = beamsight("predict", *asked, "-o", tmp_path / "here")
    over = beamsight("predict", *asked, "-o", tmp_path / "over", "--workers", "2", "--json")
    assert here.returncode == over.returncode == 1, over
    assert untimed(tmp_path / "over") == untimed(tmp_path / "here")
    assert len(lines(tmp_path / "over")) == 34 + 6 * 3 + 2
    assert over.stdout == (tmp_path / "over" / "answers.jsonl").read_text()
    for name in ("answers.csv", "thumbnails"):
        assert (tmp_path / "over" / name).exists()
    for name, more in (("here", ()), ("over", ("--workers", "1"))):
        beamsight("predict", *asked, "-o", tmp_path / name, *more)
        assert untimed(tmp_path / name) == untimed(tmp_path / "here")
        assert len(lines(tmp_path / name)) == 34 + 6 * 3 + 2
    pictures = [{p.name: p.read_bytes() for p in (tmp_path / f / "thumbnails").iterdir()} for f in ("here", "over")]
    assert pictures[0] == pictures[1]
    assert len(pictures[0]) == 34 + 6 * 3


def test_a_killed_worker_costs_nothing(model: str, stack: Path, whole: list[dict[str, object]], tmp_path: Path) -> None:
    run = started("predict", model, stack, "-o", tmp_path, "--no-report", "--workers", "2")
    until_lines(run, tmp_path)
    workers = workers_of(run)
    assert len(workers) == 2
    workers[0].kill()
    _, err = run.communicate(timeout=60)
    assert run.returncode == 0, err
    assert "Traceback" not in err
    assert untimed(tmp_path) == whole


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_stopped_run_leaves_nobody_behind_and_goes_on(
    model: str, stack: Path, whole: list[dict[str, object]], tmp_path: Path, number: int, status: int
) -> None:
    run = started("predict", model, stack, "-o", tmp_path, "--no-report", "--workers", "2")
    until_lines(run, tmp_path)
    family = psutil.Process(run.pid).children(recursive=True)
    os.killpg(run.pid, number) if number == signal.SIGINT else run.send_signal(number)
    _, err = run.communicate(timeout=20)
    assert run.returncode == status
    assert "Traceback" not in err
    assert not psutil.wait_procs(family, timeout=10)[1]
    before = lines(tmp_path)
    assert 0 < len(before) < FRAMES
    done = beamsight("predict", model, stack, "-o", tmp_path, "--no-report", "--workers", "2")
    assert done.returncode == 0, done
    assert lines(tmp_path)[: len(before)] == before
    assert untimed(tmp_path) == whole


def test_a_file_that_kills_its_reader_costs_itself_alone(model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "tifffile.py").write_text("import os\ndef TiffFile(path):\n    os.kill(os.getpid(), 9)\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path / "evil"), os.environ.get("PYTHONPATH", "")]))
    data = tmp_path / "data"
    data.mkdir()
    for n in (1, 3):
        np.save(data / f"{n}.npy", np.full((40, 50), n, np.uint16))
    (data / "2.tif").write_bytes(b"II*\0" + bytes(100))
    done = beamsight("predict", model, data, "-o", tmp_path / "out", "--workers", "1")
    assert done.returncode == 1, done
    answers = lines(tmp_path / "out")
    assert [Path(str(a["key"]).split("?")[0]).name for a in answers] == ["1.npy", "2.tif", "3.npy"]
    assert answers[1]["error"] == "reading it ended the reader with signal 9, 2 times"
    assert "error" not in answers[0] | answers[2]


def test_mistakes_are_one_line(model: str, stack: Path, tmp_path: Path) -> None:
    impatient = patched("CONNECT_S = 0.5")
    no_dask = "import sys; sys.modules['distributed'] = None" + BLOCK_TORCH
    cases = [
        (["--cluster", "tcp://127.0.0.1:1"], impatient, "tcp://127.0.0.1:1: no scheduler can be reached"),
        (["--cluster", "htcondor", "--workers", "2"], BLOCK_TORCH, "cluster 'htcondor' is not known; write tcp://HOST:PORT"),
        (["--cluster", "slurm"], BLOCK_TORCH, "slurm: how many workers?"),
        (["--cluster", "lsf", "--workers", "2"], BLOCK_TORCH, "lsf: there is no bsub here"),
        (["--workers", "0"], BLOCK_TORCH, "0 workers can do nothing"),
        (["--workers", "2", "--jobs", "3"], BLOCK_TORCH, "--jobs is for one machine"),
        (["--workers", "2"], no_dask, "a cluster needs Dask, which is not installed: pip install 'beamsight[cluster]'"),
    ]
    beamsight("predict", model, stack, "--frames", "0:2", "-o", tmp_path, "--no-report")
    for options, code, told in cases:
        done = beamsight("predict", model, stack, "-o", tmp_path, "--overwrite", *options, code=code)
        assert done.returncode == 2, (options, done)
        assert told in done.stderr
        assert done.stderr.count("\n") == 1
        assert len(lines(tmp_path)) == 2, "answers were lost to a command that could not run"


def test_an_unusable_mask_is_one_line(model: str, stack: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "mask.npy", np.zeros((2, 3), bool))
    done = beamsight("predict", model, stack, "--mask", tmp_path / "mask.npy", "--json", "--workers", "1", "-q")
    assert done.returncode == 3
    assert "the mask has shape (2, 3), the image (32, 32)" in done.stdout


def test_a_file_that_only_one_machine_sees_is_no_refusal(tmp_path: Path) -> None:
    seen, unseen = tmp_path / "seen.npy", tmp_path / "unseen.npy"
    seen.touch()
    reason = refusal_of(unseen)
    assert list(bulk._steps([[Refused(str(unseen), reason)]], slice(None), (), bulk._Course(0)))
    with pytest.raises(CannotRead, match="a worker does not see it"):
        list(bulk._steps([[Refused(str(seen), reason)]], slice(None), (), bulk._Course(0)))


def refusal_of(path: Path) -> str:
    """Why a reading process refuses a file."""
    item = next(read_frames(path))
    assert isinstance(item, Refused)
    return item.reason


def test_a_worker_with_another_model_is_said(model: str) -> None:
    task = bulk.errand(load(model), None, None, None, False)
    with pytest.raises(BadBundle, match=r"a worker has model .*, asked is 000000000000"):
        bulk.answer(replace(task, sha256=64 * "0"), bulk.Bunch(0, 0, []))


@pytest.mark.parametrize("seconds", [1e-9, 1e-4, 0.015, 1.0, 100.0])
def test_bunches_are_whole_groups_of_about_a_second(seconds: float) -> None:
    course = bulk._Course(0)
    course.learn(Tally(frames=100, reading_s=60 * seconds, answering_s=40 * seconds))
    assert course.frames % bulk.GROUP == 0
    assert bulk.GROUP <= course.frames <= bulk.MAX_BUNCH
    assert course.frames * seconds <= max(bulk.BUNCH_S, bulk.GROUP * seconds) * (1 + 1e-9)


def test_jobs_of_a_queue_answer(model: str, stack: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A SLURM of two scripts: jobs that are handed in start at once, on this machine."""
    # The script is deleted as soon as it is handed in.
    hand_in = 'cp "$1" "$0.$$"; setsid bash "$0.$$" >/dev/null 2>&1 & echo "Submitted batch job $!"'
    scripts = {"sbatch": hand_in, "scancel": 'kill -- "-$1"'}
    for name, script in scripts.items():
        (tmp_path / name).write_text(f"#!/bin/bash\n{script}\n")
        (tmp_path / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", os.pathsep.join([str(tmp_path), os.environ["PATH"]]))
    asked = ("predict", model, stack, "--frames", "0:400", "--no-report", "--cluster", "slurm", "--workers", "2")
    unset = beamsight(*asked, "-o", tmp_path / "out")
    assert unset.returncode == 2
    assert "set jobqueue.slurm in ~/.config/dask" in unset.stderr
    assert unset.stderr.count("\n") == 1
    for name, value in {"CORES": "1", "PROCESSES": "1", "MEMORY": "1GB", "INTERFACE": "lo"}.items():
        monkeypatch.setenv(f"DASK_JOBQUEUE__SLURM__{name}", value)
    done = beamsight(*asked, "-o", tmp_path / "out")
    assert done.returncode == 0, done
    assert [str(a["key"]).split("slice=")[1] for a in lines(tmp_path / "out")] == [str(n) for n in range(400)]


def test_pieces_come_in_order_and_their_errors_as_themselves(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent("""
        import json, os, random, sys, time
        from beamsight.cluster import connected, in_order
        from beamsight.errors import BadFrame, BeamsightError

        def slow_first(n):
            time.sleep(0.1 if n % 5 == 0 else 0)
            return n, os.getpid()

        def refuse(n):
            raise BadFrame(f"{n} is no frame")

        def die(n):
            os._exit(1)

        def told(function):
            try:
                return list(in_order(client, function, [7], 4))
            except BeamsightError as error:
                return [type(error).__name__, str(error)]

        if __name__ == "__main__":
            with connected(2) as client:
                drawn = []
                items = (drawn.append(n) or n for n in range(50))
                ahead = 0
                done = []
                for n, pid in in_order(client, slow_first, items, 4):
                    done.append((n, pid))
                    ahead = max(ahead, len(drawn) - len(done) + 1)
                print(json.dumps([done, ahead, told(refuse), told(die)]))
        """)
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    pieces, ahead, refused, died = json.loads(done.stdout)
    assert [n for n, _ in pieces] == list(range(50))
    assert len({pid for _, pid in pieces}) == 2
    assert ahead == 4
    assert refused == ["BadFrame", "7 is no frame"]
    assert died[0] == "LostWorkers"
    assert died[1].startswith("4 workers died at the same piece of work")


def test_a_cluster_that_loses_its_last_worker_is_given_up(model: str, stack: Path, tmp_path: Path) -> None:
    address_file, port_options = tmp_path / "scheduler.json", ("--host", "127.0.0.1", "--port", "0", "--no-dashboard")
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    dask = [sys.executable, "-m", "dask"]
    scheduler = subprocess.Popen([*dask, "scheduler", *port_options, "--scheduler-file", str(address_file)], **quiet)
    options = ("--nthreads", "1", "--no-nanny", "--no-dashboard")
    worker = subprocess.Popen([*dask, "worker", "--scheduler-file", str(address_file), *options], **quiet)
    try:
        while not address_file.exists() or not address_file.read_text().endswith("}"):
            assert scheduler.poll() is None
        address = json.loads(address_file.read_text())["address"]
        impatient = BLOCK_TORCH.replace(
            "from beamsight.cli", "import beamsight.cluster as c; c.NO_WORKER_S = 1\nfrom beamsight.cli"
        )
        done = beamsight("predict", model, stack, "--frames", "0:20", "-o", tmp_path / "out", "--cluster", address, "--no-report")
        assert done.returncode == 0, done
        worker.kill()
        lost = beamsight("predict", model, stack, "-o", tmp_path / "out", "--cluster", address, "--no-report", code=impatient)
        assert lost.returncode == 1
        assert "the cluster has had no worker for 1 s; start some; what is finished is kept" in lost.stderr
        assert "Traceback" not in lost.stderr
        assert len(lines(tmp_path / "out")) == 20
    finally:
        for process in (worker, scheduler):
            process.kill()
            process.wait()

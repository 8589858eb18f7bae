"""The command line as a stranger meets it: statuses, streams, stops, resumption, and one line for every mistake."""

# SPDX-License-Identifier: BSD-3-Clause

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import h5py
import numpy as np
import pytest

import formats
from beamsight import cli
from command import BLOCK_TORCH, beamsight, lines, started, until_lines
from models import write_bundle


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(write_bundle(tmp_path_factory.mktemp("models") / "model"))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three frames and one file that is none."""
    folder = tmp_path_factory.mktemp("data")
    for n in range(3):
        np.save(folder / f"{n}.npy", np.full((40, 50), 30**n, np.uint16))
    (folder / "bad.tif").write_bytes(b"no tiff")
    return folder


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Many frames in one file."""
    path = tmp_path_factory.mktemp("stack") / "stack.h5"
    with h5py.File(path, "w") as file:
        file["entry/data/data"] = np.random.default_rng(0).poisson(5, (3000, 64, 64)).astype(np.uint16)
    return path


def test_a_folder_is_answered_and_the_bad_file_named(model: str, data: Path, tmp_path: Path) -> None:
    done = beamsight("predict", model, data, "-o", tmp_path / "out")
    assert done.returncode == 1
    answers = lines(tmp_path / "out")
    assert [Path(str(a["key"])).name for a in answers] == ["0.npy", "1.npy", "2.npy", "bad.tif"]
    assert [a.get("answer") for a in answers] == [["dark"], ["bright"], ["bright"], None]
    assert answers[3]["error"]
    assert {p.name for p in (tmp_path / "out").iterdir()} >= {"answers.csv", "answers.h5", "report.html", "run.json"}
    assert "report: " in done.stdout
    assert "bad.tif" in done.stdout
    assert re.search(r"^reading \d+\.\d s, answering \d+\.\d s, 4 frames, 1 refused, [\d.]+ frames/s$", done.stderr, re.M)


def test_statuses(model: str, data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("hello")
    cases = [
        ([model, data / "0.npy", "-o", tmp_path / "a"], 0),
        ([model, data / "0.npy", data / "bad.tif", "-o", tmp_path / "b"], 1),
        ([model, data / "0.npy"], 2),
        ([model, "-o", tmp_path / "c"], 2),
        ([model, data / "0.npy", "-o", tmp_path / "c", "--nonsense"], 2),
        ([model, data / "0.npy", "-o", tmp_path / "c", "--threshold", "7"], 2),
        (["no-such-task", data / "0.npy", "-o", tmp_path / "c"], 2),
        ([data / "0.npy", data / "0.npy", "-o", tmp_path / "c"], 2),
        ([model, tmp_path / "missing", "-o", tmp_path / "d"], 3),
        ([model, tmp_path / "empty", "-o", tmp_path / "e"], 3),
        ([model, tmp_path / "text.txt", "-o", tmp_path / "f"], 3),
        ([model, data / "0.npy", "-o", tmp_path / "text.txt"], 1),
    ]
    for arguments, status in cases:
        done = beamsight("predict", *arguments)
        assert done.returncode == status, (arguments, done)
        assert "Traceback" not in done.stdout + done.stderr


def test_mistakes_are_one_line(model: str, data: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        ["predict"],
        ["nonsense"],
        ["predict", "scattering-tgs", "x", "-o", "y"],
        ["predict", model, "x"],
        ["show"],
    ):
        assert cli.run(arguments) == 2
        out, err = capfd.readouterr()
        assert out == ""
        assert err.startswith("beamsight")
        assert err.count("\n") == 1


def test_a_mistake_of_ours_is_one_line_too(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("division\nby zero")

    monkeypatch.setattr("beamsight.bundle.load", broken)
    assert cli.run(["predict", "x", "y", "--json"]) == 1
    assert capsys.readouterr().err.startswith("beamsight: unforeseen ZeroDivisionError: division by zero")


def test_json_goes_to_standard_output_alone(model: str, data: Path, tmp_path: Path) -> None:
    done = beamsight("predict", model, data, "--json", "-q")
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(a["key"]).name for a in answers] == ["0.npy", "1.npy", "2.npy", "bad.tif"]
    assert done.stderr == ""
    both = beamsight("predict", model, data, "--json", "-o", tmp_path / "out")
    drop = {"seconds": 0}
    assert [a | drop for a in map(json.loads, both.stdout.splitlines())] == [a | drop for a in lines(tmp_path / "out")]


def test_a_reader_that_goes_away_is_no_error(model: str, stack: Path) -> None:
    run = started("predict", model, stack, "--json")
    assert run.stdout is not None
    assert run.stderr is not None
    json.loads(run.stdout.readline())
    run.stdout.close()
    assert run.wait(10) == 141
    assert "rror" not in run.stderr.read()
    run.stderr.close()


def test_a_full_disk_behind_the_pipe_is_one_line(model: str, data: Path) -> None:
    with Path("/dev/full").open("w") as full:
        command = [sys.executable, "-c", BLOCK_TORCH, "predict", model, str(data), "--json", "-q"]
        done = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("beamsight: standard output: cannot be written (No space left on device)")
    assert done.stderr.count("\n") == 1


def test_addresses_of_answers_are_read_again(model: str, stack: Path, tmp_path: Path) -> None:
    beamsight("predict", model, stack, "--frames", "5:9:2", "-o", tmp_path / "a")
    keys = [str(a["key"]) for a in lines(tmp_path / "a")]
    assert [key.split("slice=")[1] for key in keys] == ["5", "7"]
    again = beamsight("predict", model, *keys, "-o", tmp_path / "b")
    assert again.returncode == 0, again
    assert [a["probability"] for a in lines(tmp_path / "a")] == [a["probability"] for a in lines(tmp_path / "b")]


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)])
def test_stopped_runs_end_soon_and_go_on(model: str, stack: Path, tmp_path: Path, number: int, status: int) -> None:
    run = started("predict", model, stack, "-o", tmp_path, "--no-report")
    until_lines(run, tmp_path)
    # As a terminal does it: to every process of the command.
    os.killpg(run.pid, number) if number == signal.SIGINT else run.send_signal(number)
    asked = time.monotonic()
    out, err = run.communicate(timeout=10)
    assert time.monotonic() - asked < 5
    assert run.returncode == status
    assert "Traceback" not in out + err
    before = lines(tmp_path)
    assert 0 < len(before) < 3000
    if number != signal.SIGKILL:
        assert f"{len(before):,} frame" in err
    done = beamsight("predict", model, stack, "-o", tmp_path, "--no-report")
    assert done.returncode == 0, done
    after = lines(tmp_path)
    assert after[: len(before)] == before
    assert [str(a["key"]).split("slice=")[1] for a in after] == [str(n) for n in range(3000)]


def test_another_model_is_said_and_another_task_refused(model: str, data: Path, tmp_path: Path) -> None:
    beamsight("predict", model, data / "0.npy", "-o", tmp_path / "out")
    other = write_bundle(tmp_path / "other", task="other-task")
    done = beamsight("predict", other, data / "1.npy", "-o", tmp_path / "out")
    assert done.returncode == 1
    assert "--overwrite" in done.stderr
    assert len(lines(tmp_path / "out")) == 1
    assert beamsight("predict", other, data / "1.npy", "-o", tmp_path / "out", "--overwrite").returncode == 0
    assert len(lines(tmp_path / "out")) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small disk needs root")
def test_a_full_disk_ends_the_run_with_one_line(model: str, stack: Path, tmp_path: Path) -> None:
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", tmp_path], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("this machine does not let a test mount a disk")
    try:
        done = beamsight("predict", model, stack, "-o", tmp_path / "out")
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert done.stderr.count("No space left on device") == 1
        record = (tmp_path / "out" / "answers.jsonl").read_bytes()
        assert record.endswith(b"\n")
        assert all(json.loads(line)["probability"] for line in record.splitlines())
        assert not list(tmp_path.rglob("*.part"))
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_mask_that_hides_most_is_doubted(model: str, data: Path, tmp_path: Path) -> None:
    mask = np.ones((40, 50), np.uint8)
    mask[:10] = 0
    np.save(tmp_path / "mask.npy", mask)
    done = beamsight("predict", model, data / "0.npy", "--mask", tmp_path / "mask.npy", "--json")
    assert "75.0 % of pixels masked; is it the right way round? 1 means masked" in done.stderr
    assert beamsight("predict", model, data / "0.npy", "--mask", tmp_path / "none.npy", "--json").returncode == 3


def test_show_tells_and_draws(model: str, data: Path, tmp_path: Path) -> None:
    from PIL import Image

    done = beamsight("show", data / "1.npy", "-o", tmp_path / "p.png", "--task", model)
    assert done.returncode == 0, done
    assert "40 x 50 px" in done.stdout
    assert "bright" in done.stdout
    assert "unknown: centre" in done.stdout
    with Image.open(tmp_path / "p.png") as image:
        assert image.width >= 380
    assert beamsight("show", data / "bad.tif").returncode == 3


def test_demo_answers_the_real_images(model: str, tmp_path: Path) -> None:
    pytest.importorskip("sasdata")
    done = beamsight("demo", model, "-o", tmp_path / "out")
    names = {Path(str(a["key"]).split("::")[0]).name for a in lines(tmp_path / "out")}
    assert {"BAM_2D.h5", "P123_D2O_30_percent.dat", "33837rear_2D_1.75_16.5_NXcanSAS.h5"} <= names
    assert "report: " in done.stdout


def test_demo_tags_images_of_scattering_where_no_model_is_named(tmp_path: Path) -> None:
    pytest.importorskip("sasdata")
    done = beamsight("demo", "-o", tmp_path / "out")
    assert done.returncode == 0
    found = {Path(str(a["key"]).split("::")[0]).name: a["answer"] for a in lines(tmp_path / "out")}
    assert "ring" in found["P123_D2O_30_percent.dat"]


def test_every_verb_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    verbs = [name for name in cli.app if not name.startswith("-")]
    assert {"predict", "simulate", "train", "evaluate", "export", "tasks", "show", "doctor", "demo"} <= set(verbs)
    for verb in verbs:
        cli.run([verb, "--help"])
        assert f"Example: beamsight {verb}" in capsys.readouterr().out


def test_version_names_the_readers(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"]) == 0
    out = capsys.readouterr().out
    assert {line.split()[0] for line in out.splitlines()} >= {"beamsight", "h5py", "fabio", "hdf5plugin", "openvino"}


def test_without_torch_the_other_verbs_say_what_to_install(tmp_path: Path) -> None:
    hidden = BLOCK_TORCH.replace('raise ImportError("torch is blocked")', "return None").replace(
        "from beamsight.cli",
        "import importlib.util as u; f = u.find_spec; "
        "u.find_spec = lambda n, *a: None if n == 'torch' else f(n, *a)\nfrom beamsight.cli",
    )
    done = beamsight("train", "scattering-tags", tmp_path, code=hidden)
    assert done.returncode == 2
    assert done.stderr == "beamsight: train needs torch, which is not installed: pip install 'beamsight[train]'\n"


def test_doctor_and_tasks_answer(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["doctor"]) == 0
    assert "openvino" in capsys.readouterr().out
    assert cli.run(["tasks"]) == 0


def test_a_geom_file_places_the_panels_of_a_stack(model: str, tmp_path: Path) -> None:
    path = formats.cxi(tmp_path, np.full((2, 2, 8, 10), 9, np.int32))
    lines_of = ["res = 5000", "clen = 0.1", "dim0 = %", "dim2 = ss", "dim3 = fs"]
    for n in (0, 1):
        values = {"dim1": n, "min_fs": 0, "max_fs": 9, "min_ss": 0, "max_ss": 7, "corner_x": 5, "corner_y": 9 * n, "fs": "x"}
        lines_of += [f"p{n}/{key} = {value}" for key, value in (values | {"ss": "y"}).items()]
    (tmp_path / "a.geom").write_text("\n".join(lines_of))
    done = beamsight("predict", model, path, "--geom", tmp_path / "a.geom", "-o", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert [str(a["key"])[-7:] for a in lines(tmp_path / "out")] == ["slice=0", "slice=1"]
    shown = beamsight("show", path, "--geom", tmp_path / "a.geom")
    assert "16 x 10 px" in shown.stdout
    assert "centre of 2 panels each its own" in shown.stdout
    (tmp_path / "b.geom").write_text("\n".join(line for line in lines_of if "p1/corner_y" not in line))
    wrong = beamsight("predict", model, path, "--geom", tmp_path / "b.geom", "-o", tmp_path / "out2")
    assert wrong.returncode == 3
    assert "panel p1 has no corner_y" in wrong.stderr
    assert beamsight("predict", model, path, "--geom", "a", "--poni", "b", "-o", tmp_path / "out3").returncode == 2

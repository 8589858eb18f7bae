"""Several processes train as one: the same steps, one voice, and none goes on alone."""

import json
import os
import socket
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from safetensors.torch import load_file

from as_one import apart
from beamsight.checkpoint import BEST, CHECKPOINT
from beamsight.examples import Source
from beamsight.recipe import Recipe
from beamsight.train import train
from beamsight.trainlog import LOG
from toy import RECIPE, TOY, interrupted_at

HERE = Path(__file__).parent
SHORT = replace(RECIPE, steps=4, batch=5, size=32, validate_every=2, validation=15)
TORCHRUN = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]

# Root mean square differences of one step in float32, relative. Sums are added in another order, and what the last digit does to
# a gradient depends on the network: a change of all weights by 1e-7 alters the loss by 1e-7 and the gradients by 1e-6 (AlexNet),
# 4e-6 (compact) and 2e-3 (joint, which rounds the centre it tells to a quarter of a pixel). These are ten times as much.
LOSS, GRADIENT = 1e-5, {"alexnet": 1e-5, "compact": 1e-4, "joint": 2e-2}


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of processes for which the toy task is announced as another package's."""
    folder = tmp_path / "announced" / "toy-0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 0\n")
    (folder / "entry_points.txt").write_text("[beamsight.tasks]\ntoy = toy:TOY\n")
    paths = [str(HERE), str(folder.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}


def command(out: Path, recipe: Recipe) -> list[str]:
    """Arguments that train the toy task by that recipe."""
    flags = {True: "--{}", False: "--no-{}"}
    options = []
    for field, value in asdict(recipe).items():
        name = field.replace("_", "-")
        options += [flags[value].format(name)] if isinstance(value, bool) else [f"--{name}", str(value)]
    return ["-m", "beamsight", "train", "toy-rings", str(out), *options]


@pytest.mark.slow
def test_two_processes_take_the_step_of_one(environment: dict[str, str]) -> None:
    names = list(GRADIENT)
    done = subprocess.run(
        [sys.executable, *TORCHRUN, str(HERE / "as_one.py"), *names],
        capture_output=True, text=True, check=False, timeout=110, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    for name in names:
        assert told[name]["loss"] < LOSS
        assert told[name]["gradient"] < GRADIENT[name]
        assert told[name]["norms"] < 1e-5
    # Without batch norm rounding does not grow from step to step.
    assert told["alexnet"]["later"] < LOSS


@pytest.mark.slow
def test_two_processes_go_on_from_the_checkpoint_of_one(
    tmp_path: Path, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = load_file(train(TOY, tmp_path / "whole", SHORT, ahead=0) / BEST)
    monkeypatch.setattr(Source, "step", interrupted_at(2))
    with pytest.raises(KeyboardInterrupt):
        train(TOY, tmp_path / "run", SHORT, ahead=0)
    done = subprocess.run(
        [sys.executable, *TORCHRUN, *command(tmp_path / "run", SHORT)],
        capture_output=True, text=True, check=False, timeout=110, env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    # One of them speaks, to people and to programs.
    assert done.stdout == f"run: {tmp_path / 'run'}\n"
    log = (tmp_path / "run" / LOG).read_text()
    assert log.count("step 4/4") == log.count("step 4  mean AP") == 1
    assert len(list((tmp_path / "run").glob("events.*"))) == 2
    # The last step alone was another's.
    best = load_file(tmp_path / "run" / BEST)
    assert apart([best[k] for k in whole], list(whole.values())) < GRADIENT["compact"]


def two(arguments: list[str], environment: dict[str, str]) -> list[subprocess.Popen[str]]:
    """Two processes as torchrun would start them, without torchrun, which ends the other when one is gone."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        place = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    told = place | {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "TORCHELASTIC_RUN_ID": "test"}
    return [
        subprocess.Popen(
            [sys.executable, *arguments], env=environment | told | {"RANK": rank, "LOCAL_RANK": rank}, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )
        for rank in "01"
    ]  # fmt: skip


@pytest.mark.slow
def test_a_process_that_is_lost_ends_the_others_with_one_line(tmp_path: Path, environment: dict[str, str]) -> None:
    first, second = two(command(tmp_path / "run", replace(SHORT, steps=10**6, validate_every=1)), environment)
    assert first.stderr is not None
    assert "mean AP" in first.stderr.readline()
    second.kill()
    _, said = first.communicate(timeout=60)
    second.communicate(timeout=60)
    assert first.returncode == 2
    last = said.splitlines()[-1]
    assert last.startswith("beamsight: another process of this training ended")
    assert "Traceback" not in said


@pytest.mark.slow
def test_asked_twice_to_end_they_keep_a_checkpoint(tmp_path: Path, environment: dict[str, str]) -> None:
    # A scheduler signals every process of a job, and torchrun hands on what it got itself.
    both = two(command(tmp_path / "run", replace(SHORT, steps=10**6, validate_every=1)), environment)
    assert both[0].stderr is not None
    assert "mean AP" in both[0].stderr.readline()
    for _ in range(2):
        for process in both:
            process.terminate()
    said = [process.communicate(timeout=60)[1] for process in both]
    assert [process.returncode for process in both] == [130, 130]
    assert said[0].splitlines()[-1] == "beamsight: stopped; what was done is kept, the same command goes on from there"
    assert said[1] == ""
    assert (tmp_path / "run" / CHECKPOINT).exists()


@pytest.mark.slow
def test_what_the_first_process_refuses_is_said_once(tmp_path: Path, environment: dict[str, str]) -> None:
    train(TOY, tmp_path / "run", replace(SHORT, steps=1), ahead=0)
    ended = [p.communicate(timeout=100)[1] for p in two(command(tmp_path / "run", replace(SHORT, seed=7)), environment)]
    assert ended[0].splitlines() == [
        f"beamsight: {tmp_path / 'run'} holds another training (seed 0 not 7, steps 1 not 4); "
        "choose another folder or overwrite it"
    ]
    assert ended[1] == ""

"""A training that is killed, stopped or runs out of room goes on as if nothing had been; what it said can be read back."""

import multiprocessing
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from beamsight.ahead import made_ahead
from beamsight.checkpoint import BEST, CHECKPOINT, RUN, restore
from beamsight.errors import BeamsightError, CannotRead
from beamsight.examples import Examples, Source, simulate
from beamsight.train import start, train
from beamsight.trainlog import LOG, Clock
from toy import RECIPE, TOY, TOY_ONE

SHORT = replace(RECIPE, steps=6, batch=4, size=32, validate_every=2, validation=8)
HERE = Path(__file__).parent


def program(out: Path, before: str = "", first: str = "") -> list[str]:
    """A process that trains as SHORT says and keeps a checkpoint of every step; `first` and `before` are run before that."""
    code = f"""
import sys
sys.path.insert(0, {str(HERE)!r})
from test_train_faults import *
import beamsight.train
import beamsight.cli
{first}
if __name__ == "__main__":
    torch.set_num_threads(1)
    beamsight.train.CHECKPOINT_S = 0.0
    {before}
    train(TOY, {str(out)!r}, SHORT)
"""
    return [sys.executable, "-c", code]


def same(a: Path, b: Path) -> None:
    """Both runs ended with the same weights, optimizer and best weights, to the last bit."""
    for name in (CHECKPOINT, BEST):
        one, two = load_file(a / name), load_file(b / name)
        assert one.keys() == two.keys()
        assert all(torch.equal(one[k], two[k]) for k in one), name


@pytest.mark.slow
def test_a_killed_training_ends_as_if_it_never_was(tmp_path: Path) -> None:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    whole = train(TOY, tmp_path / "whole", SHORT, ahead=0)
    torch.set_num_threads(threads)
    # Slowed down, so that it is killed amid its steps.
    slow = "import time; say = beamsight.train.save; beamsight.train.save = lambda *a: (say(*a), time.sleep(0.5))"
    running = subprocess.Popen(program(tmp_path / "cut", slow), stderr=subprocess.PIPE)
    while not (tmp_path / "cut" / CHECKPOINT).exists():
        assert running.poll() is None, running.stderr and running.stderr.read()
        time.sleep(0.01)
    children = psutil.Process(running.pid).children(recursive=True)
    running.kill()
    running.communicate()
    state = start(TOY.target, SHORT)
    restore(state, tmp_path / "cut" / CHECKPOINT)
    assert state.step < SHORT.steps
    # Nobody else ends them.
    assert psutil.wait_procs(children, timeout=60)[1] == []
    subprocess.run(program(tmp_path / "cut"), check=True, capture_output=True, timeout=100)
    same(whole, tmp_path / "cut")


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    whole = train(TOY, tmp_path, replace(SHORT, steps=1), ahead=0)
    before = (whole / CHECKPOINT).read_bytes()
    # A limit on the size of files stops a write half way, as a full disk does.
    first = f"""
import resource
SHORT = replace(SHORT, steps=1)
def train(*a):
    beamsight.train.prepare(Path(a[1]), TOY.name, SHORT, None, True)
    state = start(TOY.target, SHORT)
    resource.setrlimit(resource.RLIMIT_FSIZE, ({len(before) // 2}, {len(before) // 2}))
    try:
        beamsight.train.save(state, Path(a[1]) / CHECKPOINT)
    except BeamsightError as error:
        print(error)
"""
    done = subprocess.run(program(tmp_path, first=first), check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == (
        f"{tmp_path}: cannot be written (File too large); the last checkpoint is whole: make room, and the same command goes on\n"
    )
    assert (whole / CHECKPOINT).read_bytes() == before
    assert not list(tmp_path.glob("*.part"))


def test_a_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    run = train(TOY, tmp_path / "run", replace(SHORT, steps=1), ahead=0)
    for changed, told in (({"network": "vgg"}, "network 'compact' not 'vgg'"), ({"batch": 8}, "batch 4 not 8")):
        (run / RUN).unlink()
        with pytest.raises(BeamsightError, match=rf"checkpoint.safetensors holds another training \({told}\); choose another"):
            train(TOY, run, replace(SHORT, steps=1, **changed))
    (run / RUN).unlink()
    with pytest.raises(BeamsightError, match="task 'toy-rings' not 'toy-ring'"):
        train(TOY_ONE, run, replace(SHORT, steps=1))
    with pytest.raises(BeamsightError, match="frames None not '20 from toy-rings/3/00000000'"):
        train(TOY, run, replace(SHORT, steps=1), list(simulate(TOY, 20, seed=3, shape=(32, 32))))
    with pytest.raises(CannotRead, match="no checkpoint of this training"):
        restore(start(TOY.target, replace(SHORT, network="joint")), run / CHECKPOINT)


def test_curves_can_be_read_back(tmp_path: Path) -> None:
    run = train(TOY, tmp_path, SHORT, ahead=0)
    curves = EventAccumulator(str(run)).Reload()
    told = {name: {e.step: e.value for e in curves.Scalars(name)} for name in curves.Tags()["scalars"]}
    assert told["loss"].keys() == told["learning rate"].keys() == told["waiting"].keys() == {6}
    assert told["mean AP"].keys() == told["AP/ring"].keys() == told["AP/strong"].keys() == {2, 4, 6}
    assert told["learning rate"][6] == pytest.approx(0, abs=1e-9)
    assert 0 < told["waiting"][6] < 1
    log = (run / LOG).read_text()
    # Curves keep float32: a half of the last digit that the log shows may round the other way.
    assert float(re.search(r"loss ([\d.]+)", log)[1]) == pytest.approx(told["loss"][6], abs=1e-4)  # type: ignore[index]
    assert float(re.search(r"step 4  mean AP ([\d.]+)", log)[1]) == pytest.approx(told["mean AP"][4], abs=1e-4)  # type: ignore[index]
    assert "% of it waiting" in log


def test_a_time_limit_keeps_a_checkpoint_and_the_same_call_goes_on(tmp_path: Path) -> None:
    whole = train(TOY, tmp_path / "whole", SHORT, ahead=0)
    for steps in (1, 2):
        train(TOY, tmp_path / "cut", SHORT, ahead=0, stop_after_hours=1e-9)
        state = start(TOY.target, SHORT)
        restore(state, tmp_path / "cut" / CHECKPOINT)
        assert state.step == steps
    assert "2 steps in 0.00 h" in (tmp_path / "cut" / LOG).read_text()
    assert "the same command goes on" in (tmp_path / "cut" / LOG).read_text()
    train(TOY, tmp_path / "cut", SHORT, ahead=0)
    same(whole, tmp_path / "cut")


def test_several_processes_ahead_keep_the_order() -> None:
    source = Source(TOY, SHORT)
    with made_ahead(source.step, 3, 10, 3) as batches:
        for n, (number, batch) in enumerate(batches, 3):
            assert number == n
            assert torch.equal(batch.counts, source.step(number).counts)
    assert number == 9
    assert multiprocessing.active_children() == []


def test_parts_of_a_source_are_its_whole() -> None:
    recipe = replace(SHORT, batch=5)
    whole = Source(TOY, recipe).step(1)
    parts = [Source(TOY, recipe, None, slice(k, None, 2)).step(1) for k in range(2)]
    for k in range(2):
        assert torch.equal(whole.counts[k::2], parts[k].counts)
        assert torch.equal(whole.centre[k::2], parts[k].centre)
    judged = [len(b) for k in range(2) for b in Source(TOY, recipe, None, slice(k, None, 2)).validation(13)]
    assert sorted(judged) == [3, 5, 5]


def test_waiting_is_the_time_that_examples_take_to_come() -> None:
    def slowly() -> Iterator[int]:
        for n in range(3):
            time.sleep(0.02)
            yield n

    state = start(TOY.target, SHORT)
    clock = Clock(state, lambda: False, float("inf"))
    for _ in clock.timed(slowly()):
        time.sleep(0.02)
        assert clock.agreed(state, 0.25) == 0.25
    assert 0.06 <= state.waited <= state.seconds - 0.06
    assert not clock.stopped


def test_a_loss_that_is_no_number_ends_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    step = Source.step

    def broken(source: Source, number: int) -> Examples:
        made = step(source, number)
        return replace(made, counts=made.counts * torch.nan) if number == 3 else made

    monkeypatch.setattr(Source, "step", broken)
    with pytest.raises(BeamsightError, match="step 3 is nan"):
        train(TOY, tmp_path, SHORT, ahead=0)
    assert all(weight.isfinite().all() for weight in load_file(tmp_path / BEST).values())

"""How a run is stopped, and how its progress is told."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from beamsight.answer import UNSURE, Answer
from beamsight.console import Stopped, running, stoppable, told
from beamsight.predict import Tally


def stopped_by(number: signal.Signals) -> None:
    with stoppable():
        try:
            os.kill(os.getpid(), number)
        finally:
            # While the run tidies up, another one is no longer caught.
            assert signal.getsignal(signal.SIGINT) == signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_stops_and_leaves_the_second_to_the_system(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with pytest.raises(Stopped) as stopped:
        stopped_by(number)
    assert stopped.value.status == 128 + number
    assert signal.getsignal(number) == before


def test_a_second_signal_kills_a_run_that_does_not_end() -> None:
    code = """
import os, signal, sys, time
from beamsight.console import stoppable
with stoppable():
    try:
        os.kill(os.getpid(), signal.SIGINT)
    finally:
        print("tidying", flush=True)
        time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as run:
        assert run.stdout is not None
        assert run.stdout.readline() == "tidying\n"
        run.send_signal(signal.SIGINT)
        assert run.wait(60) == -signal.SIGINT


def test_progress_says_of_how_many_as_far_as_it_is_known() -> None:
    tally = Tally(frames=1234, refused=2)
    assert running(tally).startswith("1,234 frames, 2 refused, ")
    assert running(tally, 1000, 5000, False).startswith("2,234 of 5,000+ frames, 2 refused")
    assert running(tally, 0, 1234, True).startswith("1,234 of 1,234 frames")


def test_an_unsure_answer_is_told_with_the_name_it_would_have_been() -> None:
    assert told(Answer("k", UNSURE, {"miss": 0.4, "hit": 0.6}, ["hit"])) == "unsure, (hit? 0.60), then miss 0.40"
    assert told(Answer("k", "hit", {"miss": 0.1, "hit": 0.9})) == "hit 0.90, then miss 0.10"
    apart = {"nearest_neighbours_nm": 14.93, "nearest_neighbours_error_nm": 0.21}
    assert told(Answer("k", "HCP", {"HCP": 1.0, "none": 0.0}, reasons=apart)) == "HCP 1.00, neighbours 14.9 ± 0.2 nm apart"

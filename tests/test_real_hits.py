"""The shipped models on measured frames of serial crystallography, whose labels others gave."""

# SPDX-License-Identifier: BSD-3-Clause

from functools import cache

import pytest

from beamsight.answer import Answer
from beamsight.bundle import load
from beamsight.sources import open_frames
from studies.sfx_frames import FRAMES

HITS = {
    "pilatus6m_gridscan/thau_3_2_0003.cbf.bz2": 1,
    "pilatus6m_gridscan/thau_3_2_0014.cbf.bz2": 1,
    "cspad_lcls/thermolysin_cspad_4frames.h5": 4,
    "jungfrau_module/jungfrau_mod5.h5": 3,
    "eiger16m/dlsnxs2cbf_therm_0001.cbf.gz": 1,
    "timepix_ed/TIMEPIX_SU_512-stdgoni_0001.img": 1,
}
WEAK = ("pilatus6m_gridscan/thau_3_2_0015.cbf.bz2", "rayonix_mfx/mfx_rayonix_kapton_hit.h5")
MISSES = tuple(f"pilatus6m_gridscan/thau_3_2_00{n}.cbf.bz2" for n in (16, 17, 19))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FRAMES.is_dir(), reason="no real images; BEAMSIGHT_DATA names their folder"),
]


@cache
def answers(task: str, name: str) -> list[Answer]:
    return list(load(task).predict(open_frames(str(FRAMES / name))))


@pytest.mark.parametrize("name", HITS)
def test_measured_hits_are_hits(name: str) -> None:
    assert [a.answer for a in answers("xfel-hits", name)] == ["hit"] * HITS[name]
    assert [a.answer for a in answers("bragg-frames", name)] == ["Bragg spots"] * HITS[name]


@pytest.mark.parametrize("name", MISSES)
def test_measured_misses_are_misses(name: str) -> None:
    assert [a.answer for a in answers("xfel-hits", name)] == ["miss"]
    assert answers("bragg-frames", name)[0].answer in ("no pattern", "unsure")


@pytest.mark.parametrize("name", WEAK)
def test_measured_weak_hits_are_no_confident_misses(name: str) -> None:
    (answer,) = answers("xfel-hits", name)
    assert answer.answer in ("weak", "hit")
    assert answers("bragg-frames", name)[0].answer == "Bragg spots"

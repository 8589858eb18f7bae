"""The shipped model on patterns of another program, and on measured images that show no lattice."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import importlib
from types import ModuleType

import pytest

from beamsight.bundle import load


@pytest.fixture(scope="module")
def sets() -> ModuleType:
    return importlib.import_module("gisaxs_sets")


def said(sets: ModuleType, asked: list) -> list:
    scores, model = importlib.import_module("gisaxs_scores"), load("gisaxs-lattice")
    return [scores.said_of(one, answer) for one, answer in zip(asked, model.predict([o.frame for o in asked]), strict=True)]


@pytest.mark.peer
def test_published_patterns_are_told(sets: ModuleType) -> None:
    if missing := sets.absent(sets.DATA / "gisaxs"):
        pytest.skip(missing)
    found = said(sets, list(sets.hipgisaxs()))
    # Four in five of the shipped model, 85 % asked; chance is one in eight.
    assert sum(one.allowed for one in found) > 0.75 * len(found)
    assert sum(one.confident and not one.allowed for one in found) <= 0.02 * len(found)


def test_a_turned_pattern_has_the_name_it_had(sets: ModuleType) -> None:
    if missing := sets.absent(sets.DATA / "gisaxs"):
        pytest.skip(missing)
    model, frames = load("gisaxs-lattice"), [one.frame for one in list(sets.hipgisaxs())[::12]]
    answers = [model.predict([sets.turned_by(f, n) for f in frames]) for n in range(4)]
    names = [[max(a.probability, key=a.probability.get) for a in each] for each in answers]
    for turn in range(1, 4):
        same = sum(one == other for one, other in zip(names[0], names[turn], strict=True))
        assert same >= len(frames) - 1, (turn, same)


def test_measured_images_of_none_get_no_lattice(sets: ModuleType) -> None:
    if missing := sets.absent(sets.DATA / "scattering"):
        pytest.skip(missing)
    found = said(sets, list(sets.measured()))
    assert sum(one.answer in ("none", "unsure") for one in found) >= 0.9 * len(found)

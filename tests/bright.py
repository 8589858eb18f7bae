"""What lattices are learnt from at first: bright patterns in upright files, before detectors without fault."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import fields, replace

from numpy.random import Generator

from beamsight.detector import Detector
from beamsight.task import Task
from beamsight.tasks.gisaxs_lattice import draw
from beamsight.tasks.gisaxs_lattice.scene import Pattern

BRIGHT_PH = 1e3


def bright(rng: Generator) -> Pattern:
    """Any scene of the task, with more light and not turned."""
    scene = draw(rng)
    more = max(1.0, BRIGHT_PH / max(scene.lattice_ph, 1e-3))
    light = {f.name: getattr(scene, f.name) * more for f in fields(scene) if f.name.endswith("_ph")}
    return replace(scene, turns=0, **light)


def faultless(rng: Generator) -> Detector:
    """A detector that blurs by a pixel at most."""
    return Detector(binning=2.0, spread_px=float(rng.uniform(0, 1)))


def brightly(task: Task) -> Task:
    """The task with these, for the half of its network that learns first."""
    return replace(task, draw=bright, detector=faultless, recipe=replace(task.recipe, network="outlining", rotate=False))

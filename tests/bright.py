"""What lattices are learnt from at first: bright patterns in upright files, before detectors without fault."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import fields, replace

from numpy.random import Generator

from beamsight.task import Task
from beamsight.tasks.gisaxs_lattice.scene import Pattern
from train_lattices import BRIGHT_PH, faultless
from train_righting import upright


def bright(rng: Generator) -> Pattern:
    """Any upright scene of the task, with more light."""
    scene = upright(rng)
    more = max(1.0, BRIGHT_PH / max(scene.lattice_ph, 1e-3))
    return replace(scene, **{f.name: getattr(scene, f.name) * more for f in fields(scene) if f.name.endswith("_ph")})


def brightly(task: Task) -> Task:
    """The task with these, for the half of its network that learns first."""
    return replace(task, draw=bright, detector=faultless, recipe=replace(task.recipe, network="outlining", rotate=False))

"""The models that the study of tags sets beside the shipped one: AlexNet, and ours trained without CCDs and neutron detectors.

    python studies/train_tags.py alexnet runs/alexnet --hours 0.2
    python studies/train_tags.py counters runs/counters --hours 0.2

Each is trained on the same simulated frames as the shipped model, `counters` on photon counters and plain files only, and
exported to OUT/bundle.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

from numpy.random import Generator

from beamsight.detector import Detector
from beamsight.export import export
from beamsight.task import Task, find_task
from beamsight.tasks.scattering_tags.instrument import of_kind
from beamsight.train import train

TAUGHT, LEFT_OUT = ("counter", "plain"), ("ccd", "neutron")


def taught_detector(rng: Generator) -> Detector:
    """A detector of the kinds that the left-out model is taught."""
    return of_kind(rng, str(rng.choice(TAUGHT)))


def left_out_detector(rng: Generator) -> Detector:
    """A detector of the kinds that it never saw."""
    return of_kind(rng, str(rng.choice(LEFT_OUT)))


def task_of(kind: str) -> Task:
    """The scattering task with the detectors, network and pace of that model."""
    task = find_task("scattering-tags")
    if kind == "alexnet":
        # AlexNet without batch norm diverges at the compact network's pace.
        return replace(task, recipe=replace(task.recipe, network="alexnet", view="image", learning_rate=3e-4))
    return replace(task, detector=taught_detector)


def main() -> None:
    """Train and export one of the models."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["alexnet", "counters"])
    parser.add_argument("out", type=Path)
    parser.add_argument("--hours", type=float, default=0.2)
    options = parser.parse_args()
    task = task_of(options.kind)
    recipe = replace(task.recipe, steps=1_000_000, max_hours=options.hours)
    train(task, options.out, recipe)
    # Average precision needs no card; a rough calibration does.
    print(export(options.out, options.out / "bundle", task, chosen=1500, scored=500))


if __name__ == "__main__":
    main()

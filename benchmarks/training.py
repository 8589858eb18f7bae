"""How many images a second are learnt from, by one process and by two, how long they wait for examples, and the paper's Table I.

    python benchmarks/training.py            rates over some hundred steps; on a GPU also the whole of Table I
    python benchmarks/training.py --whole    the whole of Table I on this machine's processor too: hours

Each figure is of the command that a user would type, from the curves that it leaves for TensorBoard. Table I: AlexNet, 3,200
images, 5,000 steps; the paper does not say how many images a step has, here they are 64.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import safe_open
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from beamsight.checkpoint import CHECKPOINT
from studies.rows import ROOT, Row, keep, show
from studies.train_tags import task_of

# A tenth of the stored frames judges, so that 3,200 are learnt from.
FRAMES, STEPS, BATCH = 3556, 5000, 64
PAPER_S, PAPER_MAP = "27,832 s (CPU), 19,500 s (1 K80), 4,250 s (8 K80)", "0.944 (CPU), 0.954 (1 K80), 0.951 (8 K80)"


@dataclass(frozen=True)
class Asked:
    """What is run: `task` from `archive`, `steps` of `batch` images."""

    task: str
    archive: Path
    folder: Path
    steps: int
    batch: int

    def options(self, judged: int = FRAMES, network: str | None = None) -> list[str]:
        """Options of `beamsight train`; `judged` frames at the end, or as many as an archive has for that."""
        told = {"steps": self.steps, "batch": self.batch, "validation": judged, "validate-every": STEPS}
        if network is not None:
            recipe = task_of(network).recipe
            told |= {"network": network, "view": recipe.view, "learning-rate": recipe.learning_rate}
        return [word for name, value in told.items() for word in (f"--{name}", str(value))]


def run(name: str, asked: Asked, options: list[str], processes: int = 1, threads: int = 1, gpu: bool = False) -> Path:
    """Train by the command line in processes of so many threads; gives the run's folder."""
    out = asked.folder / name
    launcher = [] if processes == 1 else ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    command = [sys.executable, *launcher, "-m", "beamsight", "train", asked.task, str(out), *options]
    hidden = {} if gpu else {"CUDA_VISIBLE_DEVICES": ""}
    subprocess.run(command, check=True, env=os.environ | hidden | {"OMP_NUM_THREADS": str(threads)}, stdout=subprocess.DEVNULL)
    return out


def curve(out: Path, name: str) -> list[float]:
    """The values of a curve of a run."""
    return [event.value for event in EventAccumulator(str(out)).Reload().Scalars(name)]


def steady(out: Path, name: str) -> float:
    """The median of a curve after its first point, in which processes start."""
    values = curve(out, name)
    return statistics.median(values[1:] or values)


def rates(asked: Asked) -> list[Row]:
    """Images a second and the share of waiting, from an archive and simulated, on processors."""
    stored = [*asked.options(), "--frames", str(asked.archive)]
    one, two = run("one", asked, stored), run("two", asked, stored, processes=2)
    threads = run("threads", asked, stored, threads=2)
    simulated = run("simulated", asked, asked.options(asked.batch))
    told = [
        ("training from an archive, 1 process", one, 5.0),
        ("training from an archive, 2 processes", two, 5.0),
        ("training from an archive, 1 process of 2 threads", threads, 5.0),
        ("training, simulating as it goes, 1 process", simulated, None),
    ]
    return [row for name, out, bound in told for row in _pair(name, out, bound)]


def _pair(name: str, out: Path | None, bound: float | None) -> list[Row]:
    rate, waits = (None, None) if out is None else (steady(out, "frames a second"), 100 * steady(out, "waiting"))
    return [Row(name, rate, "images/s"), Row("the same, share of waiting", waits, "%", bound, "lower")]


def table_one(asked: Asked, whole: bool) -> list[Row]:
    """The paper's Table I, on processors from the rate unless `whole`, on a GPU in full."""
    full = replace(asked, steps=STEPS, batch=BATCH)
    slow = _alexnet("alexnet", full if whole else asked, threads=2)
    quick = _alexnet("alexnet-gpu", full, gpu=True) if torch.cuda.is_available() else None
    name = f"AlexNet, 3,200 images, 5,000 steps of {BATCH}"
    how = "in full" if whole else f"from the rate over {asked.steps} steps"
    return [
        *_pair("AlexNet from an archive, 1 GPU", quick, 5.0),
        Row(f"{name}: 2 cores, {how}", _seconds(slow, whole), "s", paper=PAPER_S),
        Row(f"{name}: 1 GPU", quick and _seconds(quick, True), "s", 600, "lower", PAPER_S),
        Row("mean AP after that, 2 cores", _last(slow) if whole else None, "", paper=PAPER_MAP),
        Row("mean AP after that, 1 GPU", quick and _last(quick), "", paper=PAPER_MAP),
    ]


def _alexnet(name: str, asked: Asked, threads: int = 1, gpu: bool = False) -> Path:
    return run(name, asked, [*asked.options(network="alexnet"), "--frames", str(asked.archive)], threads=threads, gpu=gpu)


def _seconds(out: Path, whole: bool) -> float:
    """How long a run took, or at its rate would take for the whole."""
    if not whole:
        return STEPS * BATCH / steady(out, "frames a second")
    with safe_open(out / CHECKPOINT, "pt") as file:
        return float(file.metadata()["seconds"])


def _last(out: Path) -> float:
    return curve(out, "mean AP")[-1]


def main() -> None:
    """Measures, prints and keeps the rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--task", default="scattering-tags")
    parser.add_argument("--whole", action="store_true", help="all 5,000 steps on the processor")
    parser.add_argument("--quick", action="store_true", help="a few steps: tries the benchmark, its figures are not kept")
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        frames, steps, batch = (40, 3, 8) if told.quick else (FRAMES, 200, BATCH)
        archive = Path(folder) / "frames"
        subprocess.run([sys.executable, "-m", "beamsight", "simulate", told.task, str(archive), "-n", str(frames)], check=True)
        asked = Asked(told.task, archive, Path(folder), steps, batch)
        rows = [*rates(asked), *table_one(asked, told.whole)]
    show(rows, "Training")
    if not told.quick:
        keep(rows, ROOT / "benchmarks" / "results" / "training.json")


if __name__ == "__main__":
    main()

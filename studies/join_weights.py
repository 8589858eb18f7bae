"""The weights of the network "paired" from those of its two halves: a folder to start from.

    python studies/join_weights.py COMPARING OUTLINING OUT

Each half has learnt by itself, the one from power spectra, the other from pictures; OUT is no run, but `beamsight train
gisaxs-lattice RUN --start OUT` and `studies/train_lattices.py RUN --first OUT` go on from it.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import argparse
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from beamsight.bundle import WEIGHTS
from beamsight.checkpoint import BEST


def join(comparing: Path, outlining: Path, out: Path) -> Path:
    """Writes both into `out`. Raises CannotRead's causes where one of them is no run or model."""
    out.mkdir(parents=True, exist_ok=True)
    halves = {"comparing": comparing, "outlining": outlining}
    save_file({f"{part}.{name}": value for part, run in halves.items() for name, value in _weights(run).items()}, out / BEST)
    return out


def _weights(run: Path) -> dict[str, Tensor]:
    return load_file(next(run / name for name in (BEST, WEIGHTS) if (run / name).exists()))


def main() -> None:
    """Of two runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("comparing", "outlining", "out"):
        parser.add_argument(name, type=Path)
    options = parser.parse_args()
    print(f"joined: {join(options.comparing, options.outlining, options.out)}")


if __name__ == "__main__":
    main()

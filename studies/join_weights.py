"""The weights of the network "paired" from those of its two halves: a folder to start from.

    python studies/join_weights.py COMPARING OUTLINING OUT [--share 0.5]

Each half has learnt by itself, the one from power spectra, the other from pictures; of the logits of the second, which knows less
at first, a share is added. OUT is no run, but `beamsight train gisaxs-lattice RUN --start OUT` and
`studies/train_lattices.py RUN --first OUT` go on from it.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import argparse
from pathlib import Path

from safetensors.torch import load_file, save_file
from torch import Tensor

from beamsight.bundle import WEIGHTS
from beamsight.checkpoint import BEST


def join(comparing: Path, outlining: Path, out: Path, share: float) -> Path:
    """Writes both into `out`. Raises CannotRead's causes where one of them is no run or model."""
    out.mkdir(parents=True, exist_ok=True)
    one, other = _weights(comparing), _weights(outlining)
    other |= {name: share * value for name, value in other.items() if name.startswith("head.")}
    joined = {"comparing." + name: value for name, value in one.items()}
    save_file(joined | {"outlining." + name: value for name, value in other.items()}, out / BEST)
    return out


def _weights(run: Path) -> dict[str, Tensor]:
    return load_file(next(run / name for name in (BEST, WEIGHTS) if (run / name).exists()))


def main() -> None:
    """Of two runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("comparing", "outlining", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--share", type=float, default=0.5, help="of the logits of the second")
    options = parser.parse_args()
    print(f"joined: {join(options.comparing, options.outlining, options.out, options.share)}")


if __name__ == "__main__":
    main()

"""The weights of the network "paired" from those of its two halves: a folder to start from.

    python studies/join_weights.py COMPARING OUTLINING OUT [--share 0.5]

Each half has learnt by itself, the one from power spectra, the other from pictures; of the logits of the second, which knows less
at first, a share is added. OUT is no run, but `beamsight train gisaxs-lattice RUN --start OUT` and
`studies/train_lattices.py RUN --first OUT` go on from it.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file

from beamsight.beginning import weights_of
from beamsight.checkpoint import BEST
from mean_weights import parsed


def join(comparing: Path, outlining: Path, out: Path, share: float) -> Path:
    """Writes both into `out`. Raises FileNotFoundError where one of them is no run or model."""
    out.mkdir(parents=True, exist_ok=True)
    one, other = (weights_of(run) for run in (comparing, outlining))
    other |= {name: share * value for name, value in other.items() if name.startswith("head.")}
    joined = {"comparing." + name: value for name, value in one.items()}
    save_file(joined | {"outlining." + name: value for name, value in other.items()}, out / BEST)
    return out


def main() -> None:
    """Of two runs."""
    options = parsed(__doc__, ("comparing", "outlining", "out"), "of the logits of the second")
    print(f"joined: {join(options.comparing, options.outlining, options.out, options.share)}")


if __name__ == "__main__":
    main()

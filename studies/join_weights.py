"""The weights of the network "paired" from those of its parts: a folder to start from.

    python studies/join_weights.py COMPARING OUTLINING RIGHTING OUT [--share 1]

Each part has learnt by itself, from power spectra, from pictures, and which way up these are; or stands in a run of "paired", of
which that part is taken. Of the logits of an outlining part that knows less at first, a share is added. OUT is no run, but
`beamsight train gisaxs-lattice RUN --start OUT` and `studies/train_lattices.py RUN --first OUT` go on from it.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor

from beamsight.beginning import weights_of
from beamsight.checkpoint import BEST
from mean_weights import parsed

PARTS = ("comparing", "outlining", "righting")


def part_of(run: Path, name: str) -> dict[str, Tensor]:
    """The weights of a part by their names in the whole: those of a run that has learnt it alone, or that part of a whole one."""
    weights = weights_of(run)
    of_whole = {key: value for key, value in weights.items() if key.startswith(f"{name}.")}
    return of_whole or {f"{name}.{key}": value for key, value in weights.items()}


def join(comparing: Path, outlining: Path, righting: Path, out: Path, share: float) -> Path:
    """Writes all into `out`. Raises FileNotFoundError where one of them is no run or model."""
    parts = {name: part_of(run, name) for name, run in zip(PARTS, (comparing, outlining, righting), strict=True)}
    parts["outlining"] |= {k: share * v for k, v in parts["outlining"].items() if k.startswith("outlining.head.")}
    out.mkdir(parents=True, exist_ok=True)
    save_file({key: value for part in parts.values() for key, value in part.items()}, out / BEST)
    return out


def main() -> None:
    """Of three runs."""
    options = parsed(__doc__, (*PARTS, "out"), "of the logits of the second", 1.0)
    print(f"joined: {join(options.comparing, options.outlining, options.righting, options.out, options.share)}")


if __name__ == "__main__":
    main()

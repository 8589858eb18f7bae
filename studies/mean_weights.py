"""The mean of the weights of two trainings, of which the second went on from the first: a run folder to export.

    python studies/mean_weights.py FIRST SECOND OUT [--share 0.5]

What the second learnt of new scenes, without all that it forgot of the others (Wortsman et al., ICML 2022).
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from safetensors.torch import load_file, save_file

from beamsight.checkpoint import BEST, RUN


def mean_of(first: Path, second: Path, out: Path, share: float) -> Path:
    """Writes the mean into `out`, a run as the second one was, of which it has that share. Raises KeyError where they are not of
    one network."""
    out.mkdir(parents=True, exist_ok=True)
    one, other = load_file(first / BEST), load_file(second / BEST)
    save_file({name: one[name].float().lerp(v.float(), share).to(v.dtype) for name, v in other.items()}, out / BEST)
    shutil.copy(second / RUN, out / RUN)
    return out


def parsed(description: str, folders: tuple[str, ...], share: str, default: float = 0.5) -> argparse.Namespace:
    """Those folders, and a share of what `share` says."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in folders:
        parser.add_argument(name, type=Path)
    parser.add_argument("--share", type=float, default=default, help=share)
    return parser.parse_args()


def main() -> None:
    """Of two runs."""
    options = parsed(__doc__, ("first", "second", "out"), "of the second")
    print(f"mean: {mean_of(options.first, options.second, options.out, options.share)}")


if __name__ == "__main__":
    main()

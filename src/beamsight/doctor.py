"""What is installed, what is missing, and what the missing is for. Nothing heavy is imported to find out."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

from beamsight.bundle import load, shipped
from beamsight.errors import BeamsightError

READERS = ("h5py", "hdf5plugin", "fabio", "silx", "pillow")
# Package, what it is for, the extra that brings it (None: beamsight itself).
PARTS = (
    ("numpy", "arrays", None),
    ("h5py", "HDF5, NeXus", None),
    ("hdf5plugin", "compressed HDF5", None),
    ("fabio", "EDF, CBF, TIFF, MarCCD and more", None),
    ("silx", "addresses of frames", None),
    ("pillow", "pictures", None),
    ("openvino", "running the models", None),
    ("pyFAI", "geometry from .poni files", "poni"),
    ("numba", "classical peaks", "peaks"),
    ("sasdata", "real images for `beamsight demo`", "demo"),
    ("distributed", "workers and clusters", "cluster"),
    ("dask-jobqueue", "clusters with SLURM, PBS or LSF", "cluster"),
    ("torch", "simulating and training", "train"),
    ("onnx", "exporting", "train"),
    ("safetensors", "checkpoints", "train"),
    ("scikit-learn", "scores", "train"),
    ("tensorboard", "watching a training", "train"),
)


def installed(package: str) -> str | None:
    """The version of an installed package, or None."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def versions() -> str:
    """The versions of beamsight, of its readers and of its runtime, one a line."""
    return "\n".join(f"{p} {installed(p) or 'missing'}" for p in ("beamsight", *READERS, "pyFAI", "openvino"))


def needs_torch(verb: str) -> str | None:
    """One line that says how to get torch for `verb`; None where it is there."""
    if find_spec("torch") is not None:
        return None
    return f"{verb} needs torch, which is not installed: pip install 'beamsight[train]'"


def examine() -> tuple[list[tuple[str, str, str]], bool]:
    """(thing, what was found, what to do or what it is for) of each part and shipped model; and whether predict can work."""
    rows, works = [], True
    for package, purpose, extra in PARTS:
        found = installed(package)
        remedy = f"for {purpose}: pip install '{'beamsight' if extra is None else f'beamsight[{extra}]'}'"
        rows.append((package, found or "missing", purpose if found else remedy))
        works = works and (found is not None or extra is not None)
    for task, folder in shipped().items():
        try:
            rows.append((task, "model ready", load(folder).name))
        except BeamsightError as error:
            rows.append((task, "model broken", str(error)))
            works = False
    if not shipped():
        rows.append(("models", "none", "none ships with this copy; name a folder made by `beamsight export`"))
    return rows, works

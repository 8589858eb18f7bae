"""Who may import whom, what answering must not need, and what the source must not contain."""

# SPDX-License-Identifier: BSD-3-Clause

import ast
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "beamsight"

# The layer of every module. A module imports from lower layers; the exceptions are named below.
LAYERS = {
    "errors": 0, "frame": 0, "targets": 0, "noise": 0, "physics": 0, "bessel": 0, "contrast": 0, "patterson": 0,
    "detector": 1, "views": 1, "fourier_bessel": 1, "recipe": 1,
    "sources": 1, "addresses": 1, "children": 1, "child": 1, "readers": 1, "stack": 1, "wire": 1,
    "hdf5": 1, "hdf5_meta": 1, "hdf5_find": 1, "images": 1, "tables": 1, "masks": 1, "gaps": 1, "geometry_files": 1, "archive": 1,
    "layout": 1, "crystfel_geom": 1, "crystfel_place": 1, "crystfel_write": 1, "journal": 1,
    "archive_files": 1, "archive_write": 1, "archive_check": 1, "chunks": 1,
    "task": 2, "answer": 2, "modelfiles": 2, "runtime": 2,
    "rewrites": 2, "inputs": 2, "distances": 2, "bundle": 2, "answers": 2, "display": 2, "report": 2,
    "predict": 2, "cluster": 2, "bulk": 2, "curves": 2, "state": 2, "shift": 2, "cxi": 2, "hits": 2, "rings": 2,
    "peakfinder8": 2, "peakfinder8_kernels": 2,
    "run_report": 2, "run_charts": 2, "charts": 2, "chances": 2, "marked": 2, "seen": 2, "powder": 2, "keeping": 2,
    "tasks": 3,
    "networks": 4, "joint": 4, "spots": 4, "coefficients": 4, "blocks": 4, "mixer": 4, "comparing": 4, "baselines": 4,
    "checkpoint": 4, "beginning": 4, "parallel": 4, "trainlog": 4,
    "examples": 4, "ahead": 4, "calibrate": 4, "train": 4, "evaluate": 4, "normal": 4, "export": 4,
    "simulating": 4, "disturb": 4, "sweeps": 4, "robustness": 4,
    "sensors": 0, "catalogue": 0, "modules": 1, "readouts": 2, "runs": 2, "shots": 2, "taking": 2, "watched": 2,
    "__init__": 5, "__main__": 5, "cli": 5, "console": 5, "doctor": 5, "making": 5, "checking": 5, "running": 5, "show": 5,
}  # fmt: skip
# Readers know of files and frames, of nothing else; they may be several modules that help one another.
READING = {name for name, layer in LAYERS.items() if layer == 1} - {"detector", "modules", "views", "fourier_bessel", "recipe"}
# Layers whose modules may use one another.
MIXED = {0, 2, 4, 5}
# Simulating and training need torch; the command line imports these inside the verb. All else answers without.
NEEDS_TORCH = {
    "noise",
    "physics",
    "detector",
    "views",
    "contrast",
    "patterson",
    "bessel",
    "fourier_bessel",
    "simulating",
    "task",
    "tasks",
    "networks",
    "joint",
    "spots",
    "coefficients",
    "blocks",
    "mixer",
    "comparing",
    "baselines",
    "checkpoint",
    "beginning",
    "examples",
    "normal",
    "ahead",
    "calibrate",
    "parallel",
    "trainlog",
    "train",
    "evaluate",
    "export",
    "modules",
    "readouts",
    "runs",
    "shots",
    "taking",
    "watched",
    "disturb",
    "sweeps",
    "robustness",
}

FILES = sorted(p for p in SOURCE.rglob("*.py"))
NAMES = [".".join(p.relative_to(SOURCE).with_suffix("").parts) for p in FILES]


def imported(tree: ast.AST) -> Iterator[str]:
    """The modules of this package that a syntax tree imports anywhere, as dotted names without `beamsight.`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (a.name.removeprefix("beamsight.") for a in node.names if a.name.startswith("beamsight."))
        elif isinstance(node, ast.ImportFrom) and node.module == "beamsight":
            yield from (a.name for a in node.names)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").startswith("beamsight."):
            yield str(node.module).removeprefix("beamsight.")


def allowed(importer: str, target: str) -> bool:
    """True where the module `importer` may import the module `target`, both as top-level names."""
    if importer in READING:
        return target in READING | {"errors", "frame"}
    mine, other = LAYERS[importer], LAYERS[target]
    if target == "tasks":
        return importer == "tasks"  # tasks are found, never named
    return other < mine or (mine == other and mine in MIXED)


@pytest.mark.parametrize(("path", "name"), list(zip(FILES, NAMES, strict=True)), ids=NAMES)
def test_imports_point_one_way(path: Path, name: str) -> None:
    top = name.split(".")[0]
    assert top in LAYERS, f"{name} has no layer; give it one in LAYERS"
    tree = ast.parse(path.read_text())
    wrong = [t for t in imported(tree) if t.split(".")[0] in LAYERS and not allowed(top, t.split(".")[0])]
    assert not wrong, f"{name} imports {wrong}"


@pytest.mark.parametrize("path", sorted((SOURCE / "tasks").rglob("*.py")), ids=lambda p: p.stem)
def test_tasks_do_not_know_one_another(path: Path) -> None:
    own = ".".join(["tasks", *path.relative_to(SOURCE / "tasks").with_suffix("").parts[:1]])
    assert not [t for t in imported(ast.parse(path.read_text())) if t.startswith("tasks") and t.split(".")[:2] != own.split(".")]


def without_docstrings(tree: ast.Module) -> Iterator[str]:
    """Every string of the code itself; docstrings and examples may name what they like."""
    told = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            told.add(id(node.body[0].value))  # type: ignore[attr-defined]
    yield from (n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str) and id(n) not in told)


def test_generic_code_never_names_a_task() -> None:
    tasks = [m.name for m in pkgutil.iter_modules([str(SOURCE / "tasks")])]
    names = {form for stem in tasks for form in (stem, stem.replace("_", "-"))}
    for path in FILES:
        if "tasks" not in path.relative_to(SOURCE).parts:
            named = [
                s
                for s in without_docstrings(ast.parse(path.read_text()))
                if any(n in s for n in names) and not s.startswith("Example:")
            ]
            assert not named, f"{path.name} names a task: {named}"


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_no_code_runs_from_a_data_file(path: Path) -> None:
    forbidden = r"torch\.load\b|allow_pickle=True|\b(pickle\.load|dill|joblib|shelve|yaml)\b|(?<!\.)\beval\(|\bexec\("
    assert not re.findall(forbidden, path.read_text())


def run(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_answering_imports_without_torch() -> None:
    modules = ["beamsight", *(f"beamsight.{m}" for m in LAYERS if m not in NEEDS_TORCH | {"__init__", "__main__"})]
    assert run(f"import sys, importlib; sys.modules['torch'] = None; [importlib.import_module(m) for m in {modules}]") == ""


def test_import_is_quick() -> None:
    # The best of three: a busy machine slows an import, nothing makes it faster than it is.
    timed = "import time; t = time.perf_counter(); import beamsight; print(time.perf_counter() - t)"
    assert min(float(run(timed)) for _ in range(3)) < 0.3

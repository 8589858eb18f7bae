"""How the weights that ship came together: means of trainings, parts joined, and the part that rights files."""

# SPDX-License-Identifier: BSD-3-Clause

import importlib
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from beamsight.checkpoint import BEST, RUN
from beamsight.comparing import SIDES, upright
from beamsight.networks import build_network
from beamsight.task import find_task

CHANNELS, WIDTH = 4, 8  # of the view "decades", and of the answers


def kept(folder: Path, network: torch.nn.Module) -> Path:
    folder.mkdir()
    save_file(network.state_dict(), folder / BEST)
    (folder / RUN).write_text("{}")
    return folder


def built(name: str, seed: int, width: int = WIDTH) -> torch.nn.Module:
    torch.manual_seed(seed)
    return build_network(name, CHANNELS, width, "decades" if name != "comparing" else "patterson", 96)


@pytest.fixture
def parts(tmp_path: Path) -> list[Path]:
    widths = {"comparing": WIDTH, "outlining": WIDTH, "righting": SIDES}
    return [kept(tmp_path / name, built(name, n, width)) for n, (name, width) in enumerate(widths.items())]


def test_parts_that_learnt_alone_are_joined(parts: list[Path], tmp_path: Path) -> None:
    join = importlib.import_module("join_weights").join
    paired = built("paired", 9)
    paired.load_state_dict(load_file(join(*parts, tmp_path / "joined", 0.5) / BEST))  # all of it is there, and nothing else
    seen = torch.randn(2, CHANNELS, 96, 96)
    alone, whole = built("outlining", 1).eval(), paired.outlining.eval()
    torch.testing.assert_close(whole(seen)[0], alone(seen)[0] / 2)


def test_a_part_is_taken_out_of_a_whole_run(parts: list[Path], tmp_path: Path) -> None:
    join = importlib.import_module("join_weights").join
    whole = kept(tmp_path / "whole", built("paired", 5))
    joined = load_file(join(whole, whole, parts[2], tmp_path / "joined", 1.0) / BEST)
    for name, value in load_file(whole / BEST).items():
        righting = name.removeprefix("righting.")
        assert torch.equal(joined[name], load_file(parts[2] / BEST)[righting] if righting != name else value), name


def test_a_mean_has_its_share_of_the_second_run(tmp_path: Path) -> None:
    mean_of = importlib.import_module("mean_weights").mean_of
    runs = [kept(tmp_path / str(n), built("righting", n, SIDES)) for n in range(2)]
    first, second, mean = (load_file(run / BEST) for run in (*runs, mean_of(*runs, tmp_path / "mean", 0.25)))
    assert (tmp_path / "mean" / RUN).exists()
    for name, value in mean.items():
        torch.testing.assert_close(value.float(), 0.75 * first[name].float() + 0.25 * second[name].float(), check_dtype=False)
    shutil.rmtree(runs[1])
    with pytest.raises(FileNotFoundError):
        mean_of(*runs, tmp_path / "mean", 0.25)


def test_the_side_that_is_asked_is_the_one_that_rights_a_file() -> None:
    righting = importlib.import_module("train_righting")
    task = find_task("gisaxs-lattice")
    recipe = replace(task.recipe, network="righting", size=48, batch=16, exposures=1, mirror=True, rotate=True)
    asked = righting.batches_of(task, recipe)(3)
    drawn = righting.batches_of(task, replace(recipe, mirror=False, rotate=False))(3)
    assert set(asked.truth.argmax(1).tolist()) == set(range(SIDES))
    assert not drawn.truth.argmax(1).any()
    righted, stands = upright(asked.counts[:, None], asked.truth), drawn.counts[:, None]
    for n in range(recipe.batch):
        assert any(torch.equal(righted[n], way) for way in (stands[n], stands[n].flip(2))), n

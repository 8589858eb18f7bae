"""The graph as it runs: narrow where that is harmless, and the same for one frame as for many."""

# SPDX-License-Identifier: BSD-3-Clause

import numpy as np
import pytest

from beamsight.bundle import Bundle, _infer, load
from beamsight.frame import Frame
from beamsight.inputs import Inputs
from beamsight.rewrites import narrow, quicken
from beamsight.runtime import compiled, runtime
from beamsight.task import find_task, frames_of, make_batch


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load("scattering-tags")


@pytest.fixture(scope="module")
def frames(bundle: Bundle) -> list[Frame]:
    task = find_task("scattering-tags")
    return frames_of(task, 5, make_batch(task, 5, range(12)))


def test_only_convolutions_and_what_is_between_them_are_narrow(bundle: Bundle) -> None:
    model = runtime().Core().read_model(bundle.onnx, b"")
    narrow(model)
    nodes = [n for n in model.get_ordered_ops() if n.get_output_size()]
    kinds = [n.get_type_name() for n in nodes if n.get_output_element_type(0).get_type_name() == "bf16"]
    assert kinds.count("Convolution") >= 15
    assert set(kinds) == {"Convolution", "Relu", "Add", "Convert"}


def test_narrow_convolutions_answer_alike_where_the_centre_is_told(bundle: Bundle, frames: list[Frame]) -> None:
    logits = {p: _infer(compiled(bundle.onnx, p), frames, Inputs())["logits"] for p in ("f32", "bf16")}
    apart = np.abs(bundle.probability(logits["f32"]) - bundle.probability(logits["bf16"]))
    assert 0 < apart.max() <= 0.05


def test_one_frame_by_itself_is_answered_as_among_others(bundle: Bundle, frames: list[Frame]) -> None:
    together = [a.probability for a in bundle.predict(frames)]
    for frame, expected in zip(frames, together, strict=True):
        alone = next(bundle.predict(frame)).probability
        assert alone == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize("name", ["scattering-tags", "xfel-hits"])
def test_a_quickened_graph_says_the_same(name: str) -> None:
    core, task = runtime().Core(), find_task(name)
    frames = frames_of(task, 6, make_batch(task, 6, range(4)))
    models = [core.read_model(load(name).onnx, b"") for _ in range(2)]
    quicken(models[1])
    kinds = [[n.get_type_name() for n in model.get_ordered_ops()] for model in models]
    assert kinds[1].count("AvgPool") > kinds[0].count("AvgPool")
    plain, quick = (_infer(core.compile_model(m, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}), frames, Inputs()) for m in models)
    assert quick["logits"] == pytest.approx(plain["logits"], abs=2e-3)


def test_norms_become_a_part_of_the_convolutions_before_them() -> None:
    core, task = runtime().Core(), find_task("gisaxs-lattice")
    frames = frames_of(task, 6, make_batch(task, 6, range(4)))
    models = [core.read_model(load("gisaxs-lattice").onnx, b"") for _ in range(2)]
    quicken(models[1])
    norms = [[n.get_type_name() for n in model.get_ordered_ops()].count("BatchNormInference") for model in models]
    assert norms[0] > 20
    assert norms[1] == 0
    plain, quick = (_infer(core.compile_model(m, "CPU", {"INFERENCE_PRECISION_HINT": "f32"}), frames, Inputs()) for m in models)
    assert quick["logits"] == pytest.approx(plain["logits"], abs=2e-3)

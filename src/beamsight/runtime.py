"""The runtime that answers: OpenVINO, without its habit of calling home.

Imported as it is, OpenVINO tells a server of Google's on every start that it was imported, from a process that it forks,
and keeps an identity in the home folder. Detector computers often reach no network, and nobody asked their users.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import sys
from typing import Any


def runtime() -> Any:
    """The module `openvino`. Its telemetry finds its own package missing and takes the stub that does nothing."""
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None makes the import fail
    import openvino

    return openvino


def compiled(graph: bytes, precision: str, frames: int | None = None, threads: int = 0) -> Any:
    """An ONNX `graph` ready to run on this processor, for any number of frames, or for exactly `frames`, which is quicker.

    `precision` "f32", or "bf16": convolutions and what is between them in bfloat16, where the processor has it. All else stays in
    float32, as the cell of a pixel, a sum of thousands or a logarithm is nothing that eight bits can hold. From memory, so
    that what runs is what was checked, and no other file can be reached. `threads` 0 takes every processor there is. Raises
    RuntimeError where OpenVINO cannot run it.
    """
    core = runtime().Core()
    model = core.read_model(graph, b"")
    if frames is not None:
        model.reshape({i.any_name: [frames, *list(i.partial_shape)[1:]] for i in model.inputs})
    if precision == "bf16":
        _narrow(model)
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
    if threads:
        # Where several processes answer, each would tie its threads to the same first processors.
        settings |= {"INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False}
    return core.compile_model(model, "CPU", settings)


def _narrow(model: Any) -> None:
    """Have the convolutions of a model, and the sums and ReLUs that follow one, computed in bfloat16."""
    from openvino import opset13

    nodes = model.get_ordered_ops()
    narrow: set[str] = set()
    for node in nodes:
        follows = any(_name(value) in narrow for value in node.input_values())
        # Convolutions of single pixels cost little, and one of them tells where the beam is.
        wide = node.get_type_name() == "Convolution" and max(node.input_value(1).get_shape()[2:]) > 1
        if wide or (follows and node.get_type_name() in ("Relu", "Add")):
            narrow.add(node.get_friendly_name())
    chosen = [node for node in nodes if node.get_friendly_name() in narrow]
    halved: dict[tuple[str, int], Any] = {}
    for place in (place for node in chosen for place in node.inputs()):
        value = place.get_source_output()
        if _name(value) in narrow:
            continue
        key = (_name(value), value.get_index())
        halved[key] = halved.get(key) or opset13.convert(value, "bf16").output(0)
        place.replace_source_output(halved[key])
    for node in chosen:
        users = [place for place in node.output(0).get_target_inputs() if place.get_node().get_friendly_name() not in narrow]
        whole = opset13.convert(node.output(0), "f32").output(0) if users else None
        for place in users:
            place.replace_source_output(whole)
    model.validate_nodes_and_infer_types()


def _name(value: Any) -> str:
    return str(value.get_node().get_friendly_name())

"""What is done to a graph before it runs, so that it runs quicker: the same numbers by other operations, or in fewer bits."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from typing import Any

import numpy as np


def quicken(model: Any) -> None:
    """Have means over the squares around each place taken by rows and then by columns: equal but for rounding, and of 9 x 9 in
    less than a quarter of the sums. Norms after convolutions become a part of these."""
    for node in model.get_ordered_ops():
        if node.get_type_name() == "AvgPool":
            _by_rows_and_columns(node)
        elif node.get_type_name() == "BatchNormInference":
            _into_convolution(node)
    model.validate_nodes_and_infer_types()


def _by_rows_and_columns(node: Any) -> None:
    from openvino import opset13

    had = node.get_attributes()
    if len(had["kernel"]) != 2 or min(had["kernel"]) < 2 or set(had["strides"]) != {1} or had["auto_pad"] != "explicit":
        return
    value = node.input_value(0)
    for axis in range(2):
        kernel, begin, end = ([v if n == axis else rest for n, v in enumerate(had[key])]
                              for key, rest in (("kernel", 1), ("pads_begin", 0), ("pads_end", 0)))  # fmt: skip
        value = opset13.avg_pool(value, [1, 1], begin, end, kernel, had["exclude-pad"], had["rounding_type"]).output(0)
    for place in node.output(0).get_target_inputs():
        place.replace_source_output(value)


def _into_convolution(norm: Any) -> None:
    """The runtime would do so itself, but only after what shall be narrow was chosen. To convolutions an offset is added, nought
    where the network has none."""
    from openvino import opset13

    offset_added = norm.input_value(0).get_node()
    if offset_added.get_type_name() != "Add" or offset_added.input_value(0).get_node().get_type_name() != "Convolution":
        return
    convolution, had = offset_added.input_value(0).get_node(), offset_added.input_value(1)
    gain, offset, mean, variance = (norm.input_value(n) for n in range(1, 5))
    width = opset13.sqrt(opset13.add(variance, np.float32(norm.get_attributes()["epsilon"])))
    scale = opset13.divide(gain, width)
    weights = opset13.multiply(convolution.input_value(1), opset13.unsqueeze(scale, [1, 2, 3]))
    convolution.input(1).replace_source_output(weights.output(0))
    rest = opset13.unsqueeze(opset13.subtract(offset, opset13.multiply(mean, scale)), [0, 2, 3])
    moved = opset13.add(opset13.multiply(had, opset13.unsqueeze(scale, [0, 2, 3])), rest)
    offset_added.input(1).replace_source_output(moved.output(0))
    for place in norm.output(0).get_target_inputs():
        place.replace_source_output(offset_added.output(0))


def narrow(model: Any) -> None:
    """Have the convolutions of a model, and the sums and ReLUs that follow one, computed in bfloat16."""
    from openvino import opset13

    nodes = model.get_ordered_ops()
    halves: set[str] = set()
    for node in nodes:
        follows = any(_name(value) in halves for value in node.input_values())
        # Convolutions of single pixels cost little, and one of them tells where the beam is.
        wide = node.get_type_name() == "Convolution" and max(node.input_value(1).get_shape()[2:]) > 1
        if wide or (follows and node.get_type_name() in ("Relu", "Add")):
            halves.add(node.get_friendly_name())
    chosen = [node for node in nodes if node.get_friendly_name() in halves]
    halved: dict[tuple[str, int], Any] = {}
    for place in (place for node in chosen for place in node.inputs()):
        value = place.get_source_output()
        if _name(value) in halves:
            continue
        key = (_name(value), value.get_index())
        halved[key] = halved.get(key) or opset13.convert(value, "bf16").output(0)
        place.replace_source_output(halved[key])
    for node in chosen:
        users = [place for place in node.output(0).get_target_inputs() if place.get_node().get_friendly_name() not in halves]
        whole = opset13.convert(node.output(0), "f32").output(0) if users else None
        for place in users:
            place.replace_source_output(whole)
    model.validate_nodes_and_infer_types()


def _name(value: Any) -> str:
    return str(value.get_node().get_friendly_name())

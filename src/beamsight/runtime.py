"""The runtime that answers: OpenVINO, without its habit of calling home.

Imported as it is, OpenVINO tells a server of Google's on every start that it was imported, from a process that it forks,
and keeps an identity in the home folder. Detector computers often reach no network, and nobody asked their users.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import sys
from typing import Any

from beamsight.rewrites import narrow, quicken


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
    quicken(model)
    if precision == "bf16":
        narrow(model)
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
    if threads:
        # Where several processes answer, each would tie its threads to the same first processors.
        settings |= {"INFERENCE_NUM_THREADS": threads, "ENABLE_CPU_PINNING": False}
    return core.compile_model(model, "CPU", settings)

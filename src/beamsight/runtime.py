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

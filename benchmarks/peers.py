"""Programs to compare with that need an environment of their own, made once in the user's cache."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ONDAMONITOR = ("ondamonitor==23.8.3", "numpy<2")
BORNAGAIN = ("bornagain==25.0.0",)


def peer_python(packages: tuple[str, ...]) -> Path:
    """The interpreter of an environment with these packages, named by the first, made where there is none. Raises
    CalledProcessError where it cannot be."""
    home = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "beamsight" / packages[0].replace("==", "-")
    python, done = home / "bin" / "python", home / "installed"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", "--clear", home], check=True)
        subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages], check=True)
        done.touch()
    return python


def clean_environment() -> dict[str, str]:
    """The environment of this process without what would show a peer this one's packages."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}

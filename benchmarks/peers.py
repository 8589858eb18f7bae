"""Programs to compare with that need an environment of their own, made once in the user's cache."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

Ask = Callable[[dict[str, Any]], dict[str, Any]]

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


@contextmanager
def asking(packages: tuple[str, ...], script: Path) -> Iterator[Ask]:
    """A function that hands a line of JSON to `script`, which runs in the environment of these packages, and gives its answer."""
    command = [peer_python(packages), script]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=clean_environment()) as process:

        def ask(line: dict[str, Any]) -> dict[str, Any]:
            if process.stdin is None or process.stdout is None:
                raise RuntimeError("a peer without pipes")
            print(json.dumps(line), file=process.stdin, flush=True)
            answer: dict[str, Any] = json.loads(process.stdout.readline())
            return answer

        try:
            yield ask
        finally:
            process.kill()

"""The command as a stranger starts it, for tests of whole runs."""

# SPDX-License-Identifier: BSD-3-Clause

import json
import os
import subprocess
import sys
import time
from pathlib import Path

BLOCK_TORCH = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torch":
            raise ImportError("torch is blocked")
sys.meta_path.insert(0, Block())
from beamsight.cli import main
main()
"""


def beamsight(*arguments: object, code: str = BLOCK_TORCH) -> subprocess.CompletedProcess[str]:
    """The command in a process of its own, without torch."""
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def started(*arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", BLOCK_TORCH, *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def same_paths() -> dict[str, str]:
    """The environment of a process that finds what this one does: the tests and the studies they call."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}


def lines(folder: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]


def until_lines(run: subprocess.Popen[str], folder: Path, bytes_: int = 1000) -> None:
    record = folder / "answers.jsonl"
    while not record.exists() or record.stat().st_size < bytes_:
        assert run.poll() is None
        time.sleep(0.005)

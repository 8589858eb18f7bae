"""beamsight answers questions about detector images with models trained on simulated physics.

>>> import beamsight as bs
>>> model = bs.load("scattering-tags")                        # doctest: +SKIP
>>> for answer in model.predict(bs.open("run_12.h5")):        # doctest: +SKIP
...     print(answer.key, answer.answer)
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from beamsight.answer import Answer
    from beamsight.bundle import Bundle, load
    from beamsight.display import picture
    from beamsight.errors import BeamsightError
    from beamsight.frame import Frame, Geometry, fit
    from beamsight.recipe import Recipe
    from beamsight.sources import Refused
    from beamsight.sources import read_frames as open
    from beamsight.task import Task, find_task, find_tasks, make_frame

# Public name -> where it lives. Looked up on first use, so that `import beamsight` stays quick and needs no torch.
_WHERE = {
    "Answer": "answer",
    "BeamsightError": "errors",
    "Bundle": "bundle",
    "Frame": "frame",
    "Geometry": "frame",
    "Recipe": "recipe",
    "Refused": "sources",
    "Task": "task",
    "find_task": "task",
    "find_tasks": "task",
    "fit": "frame",
    "load": "bundle",
    "make_frame": "task",
    "open": "sources",
    "picture": "display",
}
_NAMED = {"open": "read_frames"}

__all__ = [
    "Answer",
    "BeamsightError",
    "Bundle",
    "Frame",
    "Geometry",
    "Recipe",
    "Refused",
    "Task",
    "find_task",
    "find_tasks",
    "fit",
    "load",
    "make_frame",
    "open",
    "picture",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("beamsight")
    if name not in _WHERE:
        raise AttributeError(f"module 'beamsight' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(f"beamsight.{_WHERE[name]}"), _NAMED.get(name, name))
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return [*__all__, "__version__"]

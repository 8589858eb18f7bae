"""A trained model that can be handed to someone: a folder with a graph, its weights and a card that says what they are.

Answering needs no torch and none of the task's code: the card says it all.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from beamsight.answer import TILE_PX, UNSURE, Answer
from beamsight.distances import nearest_m
from beamsight.errors import BadBundle, BadFrame, UnknownTask
from beamsight.frame import Frame, Geometry, fit
from beamsight.inputs import Inputs
from beamsight.masks import trusted
from beamsight.modelfiles import MAX_HEADER_BYTES, check_onnx, check_safetensors, refuse_pickle
from beamsight.runtime import compiled
from beamsight.state import STATE
from beamsight.targets import OneOf, Tags, Target, sigmoid

SHIPPED = Path(__file__).parent / "bundles"
MODEL, WEIGHTS, CARD = "model.onnx", "weights.safetensors", "card.json"
_NEEDED = ("task", "question", "size", "target", "threshold", "doubtful", "calibration", "precision", "version", "sha256")
# Above this a folder is no model of ours, and is not read into memory.
MAX_FILE_BYTES = 1_000_000_000
MAX_PIXELS = 2**24  # of frames that are seen pixel by pixel, answered at a time


class Refusal(Protocol):
    """What a reader gives in place of a frame that it could not read."""

    @property
    def key(self) -> str:
        """The frame's key."""

    @property
    def reason(self) -> str:
        """Why it was not read, in one line."""


Asked: TypeAlias = "Frame | NDArray[Any] | Refusal"
# The outputs of a graph by name, a row a frame.
Found: TypeAlias = "dict[str, NDArray[np.float32]]"


class Seen(NamedTuple):
    """A frame as the network sees it, or what came in its place; why it is not answered; the longer side it came with, px; and as
    it came."""

    item: Any
    trouble: str | None
    side: int
    whole: Any = None


@dataclass(frozen=True)
class Bundle:
    """A trained model: the folder it lies in, its card, its ONNX graph as bytes, the threads that answer. Made by `load`."""

    folder: Path
    card: dict[str, Any]
    onnx: bytes = field(repr=False, compare=False)
    threads: int = field(default=0, repr=False, compare=False)

    @property
    def name(self) -> str:
        """Task, version and the first figures of the graph's checksum: what a result should quote."""
        return f"{self.card['task']} {self.card['version']} ({self.card['sha256'][MODEL][:12]})"

    @property
    def target(self) -> Target:
        """What is asked, and the names of the answers."""
        return _target(self.card)

    @property
    def size(self) -> int:
        """Side in pixels of the square that the network sees; of a model that sees frames as they are, that it learnt from."""
        return int(self.card["size"])

    @property
    def fitted(self) -> int | None:
        """Side in pixels of the square that frames are fitted to; None where they are seen pixel by pixel, of any size."""
        return None if self.card.get("view") == "contrast" else self.size

    def predict(
        self, frames: Asked | Iterable[Asked], batch: int = 16, threshold: float | Sequence[float] | None = None
    ) -> Iterator[Answer]:
        """One Answer a frame, in order, as the frames come: never more than `batch` are held.

        `frames`: Frames of any size, arrays [H W] or stacks [N H W] in counts (their trusted pixels are those of
        `masks.trusted`), or a reader's refusals, which become answers with an error. `threshold`, one number or one a name [T],
        replaces the card's. Raises BadBundle where the graph cannot be run, BadFrame for an array that is no image.
        """
        limits = _limits(self.card, threshold)
        for group, found, seconds in self._run(frames, batch):
            rows = iter(range(len(group)))
            for seen in group:
                if seen.trouble is None:
                    yield self._answer(seen, found, next(rows), limits, seconds)
                else:
                    yield Answer(seen.item.key, error=seen.trouble)

    def embed(self, frames: Asked | Iterable[Asked], batch: int = 16) -> Iterator[tuple[str, NDArray[np.float32] | None]]:
        """(key, embedding [E] float32) of each frame, in order; None in place of the embedding of a refused frame."""
        for group, found, _ in self._run(frames, batch):
            rows = iter(found.get("embedding", ()))
            yield from ((seen.item.key, next(rows) if seen.trouble is None else None) for seen in group)

    def probability(self, logits: NDArray[np.float32]) -> NDArray[np.float32]:
        """[... T] logits to calibrated probabilities: of scale * logits + shift, both from the card."""
        scale, shift = (np.asarray(self.card["calibration"][k], np.float32) for k in ("scale", "shift"))
        return self.target.probability(scale * logits + shift)

    def _answer(self, seen: Seen, found: Found, row: int, limits: Sequence[float], seconds: float) -> Answer:
        key, logits = seen.item.key, found["logits"][row]
        if not np.isfinite(logits).all():
            return Answer(key, error="the model gave no number for this frame; its counts are beyond what it was made for")
        p = self.probability(logits)
        answer = self.target.decode(p.tolist(), limits)
        bands = zip(self.target.names, p, self.card["doubtful"], strict=True)
        unsure = [name for name, value, (low, high) in bands if low <= value <= high]
        if isinstance(answer, str):
            unsure = [name for name in unsure if name == answer]
        probability = dict(zip(self.target.names, map(float, p), strict=True))
        if isinstance(self.target, OneOf) and self.target.sureness(p[None])[0] < self.card.get("sure", 0.0):
            answer, unsure = UNSURE, [answer]
        more = self._centre(seen, found, row) | self._places(found, row) | self._distance(seen, answer)
        return Answer(key, answer, probability, unsure, seconds, **more)

    def _distance(self, seen: Seen, answer: list[str] | str) -> dict[str, Any]:
        """What an answer that is a lattice says of how far its nearest neighbours are, where the geometry is known."""
        rods = self.card.get("rods", {}).get(answer) if isinstance(answer, str) else None
        told = None if rods is None else nearest_m(seen.whole, rods)
        if told is None:
            return {}
        distance, error = (float(f"{1e9 * value:.4g}") for value in told)
        return {"reasons": {"nearest_neighbours_nm": distance, "nearest_neighbours_error_nm": error}}

    def _places(self, found: Found, row: int) -> dict[str, Any]:
        """What an answer says of where things lie: the tiles (row, column, probability) that are likely to hold one."""
        known = self.card.get("places")
        if known is None or "tiles" not in found:
            return {}
        probability = sigmoid(known["scale"] * found["tiles"][row] + known["shift"])
        y, x = np.nonzero(probability >= known["threshold"])
        places = [(int(i), int(j), float(probability[i, j])) for i, j in zip(y, x, strict=True)]
        return {"places": places, "reasons": {"spots": round(float(found["number"][row]), 1)}}

    def _centre(self, seen: Seen, found: Found, row: int) -> dict[str, Any]:
        """What an answer says of a centre that the file does not give: where it is in the file's pixels, and how surely."""
        known = self.card.get("centre")
        if known is None or "told_centre" not in found or seen.item.geometry.centre_px is not None:
            return {}
        y, x, spread = map(float, found["told_centre"][row])
        scale = seen.side / self.size
        place = ((y + 0.5) * scale - 0.5, (x + 0.5) * scale - 0.5)
        return {"centre_px": place, "centre_error_px": known["scale"] * spread ** known["power"] * scale}

    def _run(self, frames: Asked | Iterable[Asked], batch: int) -> Iterator[tuple[list[Seen], Found, float]]:
        """(frames and what is wrong with them, the graph's outputs of the good ones, seconds a frame) of each batch."""
        coming = iter(_each(frames))
        with self._compiling("_single" if _is_one(frames) else "_graph") as graph:
            for group in _groups((_seen(f, self.fitted) for f in coming), batch, self._inputs):
                start = time.perf_counter()
                good = [seen.item for seen in group if seen.trouble is None]
                found = _infer(graph(), good, self._inputs) if good else {}
                yield group, found, (time.perf_counter() - start) / max(1, len(good))

    @contextmanager
    def _compiling(self, name: str) -> Iterator[Callable[[], Any]]:
        """Gives a function that gives the graph of that name, which is compiled while the first frames are read."""
        if name in vars(self):
            yield lambda: getattr(self, name)
            return
        with ThreadPoolExecutor(1) as pool:
            yield pool.submit(getattr, self, name).result

    @cached_property
    def _graph(self) -> Any:
        return self._compiled(None)

    @cached_property
    def _single(self) -> Any:
        # What a loop beside a camera asks, frame by frame.
        return self._compiled(1)

    @cached_property
    def _inputs(self) -> Inputs:
        return Inputs(TILE_PX if self.fitted is None else 1)

    def _compiled(self, frames: int | None) -> Any:
        try:
            return compiled(self.onnx, self.card["precision"], frames, self.threads)
        except RuntimeError as error:
            raise BadBundle(f"{self.folder / MODEL}: OpenVINO cannot run the graph: {_first_line(error)}") from None


def load(name: str | Path, threads: int = 0) -> Bundle:
    """The bundle of a task that ships with beamsight, or of a folder with model.onnx, weights.safetensors and card.json.

    It answers with that many `threads`, 0 for as many as there are processors.

    Raises UnknownTask with the close names, BadBundle where a file is missing, altered or of a kind that is not loaded.
    """
    folder = _find(name)
    card = _read_card(folder / CARD)
    graph = _read_checked(folder, MODEL, card)
    check_onnx(graph, str(folder / MODEL))
    weights = _read_checked(folder, WEIGHTS, card)
    check_safetensors(weights[: MAX_HEADER_BYTES + 8], len(weights), str(folder / WEIGHTS))
    return Bundle(folder, card, graph, threads)


def shipped() -> dict[str, Path]:
    """The bundles that ship with beamsight, by task name."""
    return {p.parent.name.replace("_", "-"): p.parent for p in sorted(SHIPPED.glob(f"*/{CARD}"))}


def _find(name: str | Path) -> Path:
    known = shipped()
    if str(name) in known:
        return known[str(name)]
    path = Path(name)
    if path.is_dir():
        return path
    if path.is_file():
        return _folder_of(path)
    close = get_close_matches(str(name), known, n=3, cutoff=0.4) or list(known)
    hint = f"did you mean {' or '.join(close)}?" if close else "no model ships with this copy."
    raise UnknownTask(f"no task or model folder is called {str(name)!r}; {hint} `beamsight tasks` lists them")


def _folder_of(path: Path) -> Path:
    if path.name in (MODEL, WEIGHTS, CARD):
        return path.parent
    with path.open("rb") as file:
        refuse_pickle(file.read(16), str(path))
    raise BadBundle(f"{path}: a model is a folder with {MODEL}, {WEIGHTS} and {CARD}; this is one file")


def _read_card(path: Path) -> dict[str, Any]:
    try:
        card = json.loads(_read(path))
    except (ValueError, RecursionError):
        raise BadBundle(f"{path}: not the JSON that a card is; fetch or export the model again") from None
    missing = [k for k in _NEEDED if k not in card] if isinstance(card, dict) else ["everything"]
    if missing:
        raise BadBundle(f"{path}: the card lacks {', '.join(missing)}; fetch or export the model again")
    try:
        _check_card(card)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise BadBundle(f"{path}: the card contradicts itself ({error}); fetch or export the model again") from None
    return dict(card)


def _check_card(card: dict[str, Any]) -> None:
    width = _target(card).width
    lists = {"threshold": card["threshold"], "doubtful": card["doubtful"]} | {
        k: card["calibration"][k] for k in ("scale", "shift")
    }
    for key, values in lists.items():
        shape = (width, 2) if key == "doubtful" else (width,)
        if np.asarray(values, float).shape != shape:
            raise ValueError(f"{key} is not {shape} numbers")
    if not 1 <= int(card["size"]) <= 16384 or card["precision"] not in ("f32", "bf16"):
        raise ValueError(f"size {card['size']} and precision {card['precision']} are not ones that exist")
    if card.get("normal") and len(card["normal"]["scale"]) != len(STATE):
        raise ValueError("what it holds of normal runs are other numbers than those that are watched")
    if not all(isinstance(card["sha256"][name], str) for name in (MODEL, WEIGHTS)):
        raise ValueError("sha256 names no checksums")


def _target(card: dict[str, Any]) -> Target:
    names, between = (tuple(map(str, card["target"].get(key, ()))) for key in ("names", "between"))
    kinds: dict[str, Target] = {"tags": Tags(names), "one_of": OneOf(names, between)}
    return kinds[card["target"]["kind"]]


def _read_checked(folder: Path, name: str, card: dict[str, Any]) -> bytes:
    data = _read(folder / name)
    refuse_pickle(data[:16], str(folder / name))
    found = hashlib.sha256(data).hexdigest()
    if found != card["sha256"][name]:
        raise BadBundle(
            f"{folder / name}: its SHA-256 is {found[:12]}..., the card says {card['sha256'][name][:12]}...; "
            "the file was altered or damaged, fetch or export the model again"
        )
    return data


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise BadBundle(f"{path}: {path.stat().st_size} bytes; a model file holds at most {MAX_FILE_BYTES}")
        return path.read_bytes()
    except OSError as error:
        raise BadBundle(f"{path}: {error.strerror}; a model is a folder with {MODEL}, {WEIGHTS} and {CARD}") from None


def _limits(card: dict[str, Any], threshold: float | Sequence[float] | None) -> list[float]:
    own = [float(t) for t in card["threshold"]]
    return own if threshold is None else [float(t) for t in np.broadcast_to(np.asarray(threshold, float), len(own))]


def _is_one(frames: Asked | Iterable[Asked]) -> bool:
    return isinstance(frames, Frame) or hasattr(frames, "reason") or (isinstance(frames, np.ndarray) and frames.ndim == 2)


def _each(frames: Asked | Iterable[Asked]) -> Iterator[Frame | Refusal]:
    items = cast("Iterable[Asked]", [frames] if _is_one(frames) else frames)
    for number, item in enumerate(items):
        yield _frame(item, f"array/{number:08d}") if isinstance(item, np.ndarray) else item


def _frame(array: NDArray[Any], key: str) -> Frame:
    if array.ndim != 2 or not (np.issubdtype(array.dtype, np.number) or array.dtype == bool) or np.iscomplexobj(array):
        raise BadFrame(f"{key}: an array of shape {array.shape} and type {array.dtype} is no image; give [H W] or [N H W] counts")
    counts = array.astype(np.uint16) if array.dtype == bool else array
    return Frame(counts.astype(np.float32), trusted(counts), Geometry((array.shape[0], array.shape[1])), key)


def _seen(item: Frame | Refusal, size: int | None) -> Seen:
    """The item fitted to `size` px; with None as it is."""
    if not isinstance(item, Frame):
        return Seen(item, item.reason, 0)
    side = max(item.image.shape)
    frame = item if size is None or item.image.shape == (size, size) else fit(item, size)
    if not frame.mask.any():
        return Seen(frame, "no pixel can be trusted: all are masked, negative or not finite", side)
    return Seen(frame, None, side, item)


def _groups(coming: Iterator[Seen], batch: int, inputs: Inputs) -> Iterator[list[Seen]]:
    """Frames that follow one another and can be answered together: of one shape, at most `batch` and MAX_PIXELS."""
    group: list[Seen] = []
    shape: tuple[int, ...] | None = None
    for seen in coming:
        here = inputs.shape(seen.item) if seen.trouble is None else shape
        if group and shape not in (None, here):
            yield group
            group = []
        group.append(seen)
        shape = here
        if len(group) >= batch or (shape is not None and (len(group) + 1) * shape[0] * shape[1] > MAX_PIXELS):
            yield group
            group, shape = [], None
    if group:
        yield group


def _infer(graph: Any, frames: Sequence[Frame], inputs: Inputs) -> Found:
    with inputs.lock:
        given = inputs.filled(frames)
        try:
            result = graph({name: given[name] for name in (i.any_name for i in graph.inputs)})
            return {name: np.asarray(result[name]) for name in (o.any_name for o in graph.outputs)}
        except (RuntimeError, KeyError) as error:
            shape = given["counts"].shape
            raise BadBundle(f"the model's graph does not take counts and mask {shape}: {_first_line(error)}") from None


def _first_line(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return (lines[-1] if lines else type(error).__name__)[:200]

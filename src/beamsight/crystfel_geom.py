"""CrystFEL's geometry files (.geom): panels, where they lie, and where in a data file the rest is told.

Written from the manual page crystfel_geometry(5). What has no meaning here (groups, gain, peak lists) is passed over.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from beamsight.addresses import MODULE
from beamsight.errors import CannotRead
from beamsight.layout import FRAME, Axes

_NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
_QUANTITY = re.compile(rf"({_NUMBER}|/\S+)\s*([A-Za-z]*)$")
_TERM = re.compile(rf"\s*([+-]?)\s*({_NUMBER})?\s*([xyz])", re.I)
_MASK = re.compile(r"mask(\d?)(?:_(data|file|goodbits|badbits|good|bad))?$")
# Units of each kind: the factor to SI, and without a unit that of a number and that of a place in a file.
_UNITS = {
    "clen": ({"m": 1.0, "mm": 1e-3}, 1.0, 1e-3),
    "detector_shift_x": ({"m": 1.0, "mm": 1e-3}, 1.0, 1.0),
    "detector_shift_y": ({"m": 1.0, "mm": 1e-3}, 1.0, 1.0),
    "photon_energy": ({"eV": 1.0, "keV": 1e3}, 1.0, 1.0),
    "wavelength": ({"m": 1.0, "A": 1e-10}, None, None),
    "electron_voltage": ({"V": 1.0, "kV": 1e3}, 1.0, 1.0),
}
BEAMS = ("photon_energy", "wavelength", "electron_voltage")


@dataclass(frozen=True)
class Entry:
    """The text after `name =` in a `line` of the file, counted from 1."""

    name: str
    text: str
    line: int


@dataclass(frozen=True)
class Quantity:
    """A number in SI (energies in eV): `value` times `factor`, or what stands at `place` in the data file times it."""

    value: float | None
    place: str | None
    factor: float


@dataclass(frozen=True)
class GeomPanel:
    """Rows `y0` to `y1`, columns `x0` to `x1` (ends not included) of the module `module` of the data, and where they lie.

    `corner_px` (y, x) is the outer corner of the first pixel from the beam, in pixels of this panel; `slow_px` and `fast_px`
    (y, x) lead to the next row and column, y upwards; `res` pixels a metre; `coffset_m` is added to the distance. `edge_px`
    pixels at its edges, all where `ignored`, and values below, above or equal to the three `flags` are not trusted.
    """

    name: str
    line: int
    y0: int
    y1: int
    x0: int
    x1: int
    module: tuple[int, ...]
    corner_px: tuple[float, float]
    slow_px: tuple[float, float]
    fast_px: tuple[float, float]
    res: float
    coffset_m: float
    clen: Quantity | None
    ignored: bool
    edge_px: int
    flags: tuple[float | None, float | None, float | None]


@dataclass(frozen=True)
class BadRegion:
    """Pixels that are not trusted: in a panel (in all where None) rows and columns `low` to `high` (y, x), both included; or with
    `in_space` wherever they lie, in pixels from the beam."""

    panel: str | None
    low: tuple[float, float]
    high: tuple[float, float]
    in_space: bool


@dataclass(frozen=True)
class MaskPlace:
    """A mask at `data`, in another `file` or in that of the frames: all bits of `good` must be set in it, none of `bad`."""

    data: str
    file: str | None
    good: int
    bad: int


@dataclass(frozen=True, eq=False)
class Geom:
    """A .geom file. `axes` say what the leading axes of the data are (see `layout`); `beam` the name and value of what tells the
    wavelength; `shift` (y, x) moves all panels."""

    path: str
    panels: tuple[GeomPanel, ...]
    data: str | None
    axes: Axes
    masks: tuple[MaskPlace, ...]
    bad: tuple[BadRegion, ...]
    beam: tuple[str, Quantity] | None
    clen: Quantity | None
    shift: tuple[Quantity | None, Quantity | None]


Entries = dict[str, Entry]


def load_geom(path: str) -> Geom:
    """The geometry in a .geom file. Raises CannotRead, which names the line, where it is none."""
    try:
        text = Path(path).read_text(encoding="utf-8", errors="replace")
    except (OSError, ValueError) as error:
        raise CannotRead(f"{path}: {str(getattr(error, 'strerror', None) or error).lower()}") from None
    try:
        return _geom(path, text)
    except _Wrong as wrong:
        raise CannotRead(f"{path}: {wrong}") from None


class _Wrong(Exception):
    """What is wrong with the file, without its name."""


def _geom(path: str, text: str) -> Geom:
    whole, panels, bad = _sorted(text)
    if not panels:
        raise _Wrong("no .geom file of CrystFEL: it names no panel (lines such as p0/min_fs = 0)")
    dims = {name: _dims(name, entries) for name, entries in panels.items()}
    axes = _axes(dims)
    at = [n for n, a in enumerate(axes) if a == MODULE]
    beams = [whole[n] for n in BEAMS if n in whole]
    if len(beams) > 1:
        raise _Wrong(f"lines {beams[0].line} and {beams[1].line} both tell the wavelength; keep one")
    return Geom(
        path=path,
        panels=tuple(_panel(name, e, tuple(int(dims[name][n]) for n in at)) for name, e in panels.items()),
        data=_shared(panels, "data"),
        axes=axes,
        masks=_masks(panels),
        bad=tuple(_bad(name, entries, panels) for name, entries in bad.items()),
        beam=(beams[0].name, _quantity(beams[0])) if beams else None,
        clen=_quantity(whole["clen"]) if "clen" in whole else None,
        shift=(_shift(whole, "detector_shift_y"), _shift(whole, "detector_shift_x")),
    )


def _shift(whole: Entries, name: str) -> Quantity | None:
    return _quantity(whole[name]) if name in whole else None


def _sorted(text: str) -> tuple[Entries, dict[str, Entries], dict[str, Entries]]:
    """The entries of the whole, of each panel (what stood for the whole when it was first named, and its own), of bad regions."""
    whole: Entries = {}
    panels: dict[str, Entries] = {}
    bad: dict[str, Entries] = {}
    for line, written in enumerate(text.splitlines(), 1):
        statement = written.split(";")[0].strip()
        if not statement or statement.startswith(("group", "rigid_group")):
            continue
        left, equals, right = (part.strip() for part in statement.partition("="))
        if not equals or not left or not right:
            raise _Wrong(f"line {line}: {statement[:60]!r} is no `name = value`")
        owner, slash, name = (part.strip() for part in left.rpartition("/"))
        entry = Entry(name, right, line)
        if not slash:
            whole[name] = entry
        elif owner.startswith("bad"):
            bad.setdefault(owner, {})[name] = entry
        else:
            panels.setdefault(owner, dict(whole))[name] = entry
    return whole, panels, bad


def _panel(name: str, entries: Entries, module: tuple[int, ...]) -> GeomPanel:
    low, high = ([_integer(_of(name, entries, f"{end}_{axis}")) for axis in ("ss", "fs")] for end in ("min", "max"))
    if min(low) < 0 or high[0] < low[0] or high[1] < low[1]:
        raise _Wrong(f"panel {name}: rows {low[0]} to {high[0]}, columns {low[1]} to {high[1]} are no part of an image")
    res = _number(_of(name, entries, "res"))
    if res <= 0:
        raise _Wrong(f"line {entries['res'].line}: res = {res:g} pixels a metre must be above 0")
    flags = [_number(entries[n]) if n in entries else None for n in ("flag_lessthan", "flag_morethan", "flag_equal")]
    return GeomPanel(
        name, min(e.line for n, e in entries.items() if n.startswith(("min_", "max_"))), low[0], high[0] + 1, low[1], high[1] + 1,
        module,
        corner_px=(_number(_of(name, entries, "corner_y")), _number(_of(name, entries, "corner_x"))),
        slow_px=_vector(_of(name, entries, "ss")),
        fast_px=_vector(_of(name, entries, "fs")),
        res=res,
        coffset_m=_number(entries["coffset"]) if "coffset" in entries else 0.0,
        clen=_quantity(entries["clen"]) if "clen" in entries else None,
        ignored="no_index" in entries and entries["no_index"].text.lower() in ("1", "true"),
        edge_px=_integer(entries["mask_edge_pixels"]) if "mask_edge_pixels" in entries else 0,
        flags=(flags[0], flags[1], flags[2]),
    )  # fmt: skip


def _of(owner: str, entries: Entries, name: str) -> Entry:
    if name not in entries:
        first = min((e.line for e in entries.values()), default=0)
        raise _Wrong(f"panel {owner} has no {name} (it is described from line {first} on)")
    return entries[name]


def _wrong(entry: Entry, what: str) -> _Wrong:
    return _Wrong(f"line {entry.line}: {entry.name} = {entry.text[:60]}: {what}")


def _number(entry: Entry) -> float:
    if not re.fullmatch(_NUMBER, entry.text):
        raise _wrong(entry, "no number")
    return float(entry.text)


def _integer(entry: Entry) -> int:
    number = _number(entry)
    if number != int(number):
        raise _wrong(entry, "no whole number")
    return int(number)


def _bits(entry: Entry) -> int:
    try:
        return int(entry.text, 0)
    except ValueError:
        raise _wrong(entry, "no whole number such as 0xffff") from None


def _vector(entry: Entry) -> tuple[float, float]:
    """(y, x) of a vector written as `+0.1x -0.9y`; its part along the beam is left out."""
    parts, at = {"x": 0.0, "y": 0.0, "z": 0.0}, 0
    for match in _TERM.finditer(entry.text):
        if match.start() != at:
            break
        parts[match[3].lower()] += float(f"{match[1]}{(match[2] or '1').lstrip('+')}")
        at = match.end()
    if at != len(entry.text) or not entry.text:
        raise _wrong(entry, "no direction such as +0.01x -0.99y")
    return parts["y"], parts["x"]


def _quantity(entry: Entry) -> Quantity:
    units, of_number, of_place = _UNITS[entry.name]
    match = _QUANTITY.fullmatch(entry.text)
    place = entry.text.startswith("/")
    factor = (units.get(match[2]) if match[2] else of_place if place else of_number) if match else None
    if match is None or factor is None:
        raise _wrong(entry, f"neither a number nor a data set, with a unit of {', '.join(units)}")
    return Quantity(None, match[1], factor) if place else Quantity(float(match[1]), None, factor)


def _dims(name: str, entries: Entries) -> list[str]:
    """What each axis of the data is for a panel: %, ss, fs or a number."""
    given = {int(m[1]): e for e in entries.values() if (m := re.fullmatch(r"dim(\d+)", e.name))}
    if not given:
        return ["ss", "fs"]
    wrong = next((e for e in given.values() if e.text not in ("%", "ss", "fs") and not e.text.isdecimal()), None)
    if wrong is not None:
        raise _wrong(wrong, "an axis is %, ss, fs or a number")
    dims = [given[n].text if n in given else "?" for n in range(max(given) + 1)]
    if "?" in dims or dims[-2:] != ["ss", "fs"] or dims.count("ss") + dims.count("fs") != 2:
        told = ", ".join(f"dim{n} = {d}" for n, d in enumerate(dims))
        raise _Wrong(f"panel {name}: {told}; each axis must be told, and the last two be ss and fs")
    return dims


def _axes(dims: dict[str, list[str]]) -> Axes:
    first, *others = dims.items()
    for name, other in others:
        if len(other) != len(first[1]) or any((a == "%") != (b == "%") for a, b in zip(first[1], other, strict=True)):
            raise _Wrong(f"panels {first[0]} and {name} are of data of different kinds: dim0, dim1, ... are not alike")
    found: list[str | int] = []
    for values in zip(*(d[:-2] for d in dims.values()), strict=True):
        found.append(FRAME if values[0] == "%" else MODULE if len(set(values)) > 1 else int(values[0]))
    return tuple(found)


def _shared(panels: dict[str, Entries], name: str) -> str | None:
    texts = {e[name].text: e[name].line for e in panels.values() if name in e}
    if len(texts) > 1:
        raise _Wrong(f"lines {' and '.join(map(str, sorted(texts.values())[:2]))}: {name} differs from panel to panel; give one")
    found = next(iter(texts), None)
    # A place that differs from frame to frame is looked for as if nothing had been said.
    return None if found is not None and "%" in found and name == "data" else found


def _masks(panels: dict[str, Entries]) -> tuple[MaskPlace, ...]:
    names = {m[1] or "0" for e in panels.values() for n in e if (m := _MASK.match(n))}
    masks = []
    for number in sorted(names):
        data = _either(panels, number, "data", "")
        bits = [_either(panels, number, *pair) for pair in (("goodbits", "_good"), ("badbits", "_bad"))]
        if data is None:
            continue
        good, bad = (0 if b is None else _bits(Entry(f"mask{number}", b[0], b[1])) for b in bits)
        file = _either(panels, number, "file", "_file")
        masks.append(MaskPlace(data[0], None if file is None else file[0], good, bad))
    return tuple(masks)


def _either(panels: dict[str, Entries], number: str, new: str, old: str) -> tuple[str, int] | None:
    """The text and line of `maskN_new`, or of `mask` + `old`, which is the older way to write it for mask 0."""
    names = [f"mask{number}_{new}"] + ([f"mask{old}"] if number == "0" else [])
    for name in names:
        text = _shared(panels, name)
        if text is not None:
            return text, next(e[name].line for e in panels.values() if name in e)
    return None


def _bad(name: str, entries: Entries, panels: dict[str, Entries]) -> BadRegion:
    in_space = "min_x" in entries or "max_x" in entries
    axes = ("y", "x") if in_space else ("ss", "fs")
    missing = next((f"{end}_{a}" for end in ("min", "max") for a in axes if f"{end}_{a}" not in entries), None)
    if missing is not None:
        line = min(e.line for e in entries.values())
        raise _Wrong(f"line {line}: the bad region {name} has no {missing}; it needs min_ and max_ of fs and ss, or of x and y")
    low, high = ([_number(entries[f"{end}_{a}"]) for a in axes] for end in ("min", "max"))
    panel = entries.get("panel")
    if panel is not None and panel.text not in panels:
        raise _wrong(panel, "no panel of that name is described")
    return BadRegion(None if panel is None or in_space else panel.text, (low[0], low[1]), (high[0], high[1]), in_space)

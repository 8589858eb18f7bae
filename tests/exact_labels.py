"""The rule of labels in its slow form: every pixel, float64, no polar grid.

A part is rendered alone and put through the same detector, so that c is what it adds behind stop and shadows; what it could be
mistaken for is fitted by singular vectors over all usable pixels. `exact` names the tags that it can say.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch

from beamsight.detector import STOPS, Detector, expose
from beamsight.physics import azimuth
from beamsight.task import columns
from beamsight.tasks.scattering_tags.render import render
from beamsight.tasks.scattering_tags.scene import FOLDED, ISOTROPIC, ORDERS, SPOTS, SPOTTED, SYSTEMS, TEXTURED, Pattern, place

SEEN, UNSEEN, CONTRAST, NO_CONTRAST = 10.0, 3.0, 0.05, 0.01
TURNED, NOT_TURNED = 0.25, 0.15
LONG, LONG_RAD = (3.0, 6.0), (0.15, 0.3)
Image = np.ndarray


def grade(d: float, contrast: float) -> float:
    if d >= SEEN and contrast >= CONTRAST:
        return 1.0
    return 0.0 if d < UNSEEN or contrast < NO_CONTRAST else np.nan


def either(*grades: float) -> float:
    return 1.0 if 1.0 in grades else 0.0 if all(g == 0 for g in grades) else np.nan


def both(*grades: float) -> float:
    return 0.0 if 0.0 in grades else 1.0 if all(g == 1 for g in grades) else np.nan


def margin(value: float, absent_below: float, present_from: float) -> float:
    return 1.0 if value >= present_from else 0.0 if value < absent_below else np.nan


@dataclass
class View:
    """One exposed frame: usable pixels only, flat arrays; `r` px and `chi` rad about the beam, `q` 1/m; `passed` the share of
    light that stop, shadows and the frame's edge let through, of a part as of what it could be mistaken for."""

    scene: Pattern
    detector: Detector
    seed: int
    shape: tuple[int, int]
    usable: Image
    mean: Image
    weight: Image
    passed: Image
    r: Image
    chi: Image
    q: Image

    def light(self, *scenes: Pattern) -> Image:
        """[K H W] expected photons of scenes behind stop, shadows and spread of this detector, without the instrument's own."""
        bare = replace(self.detector, background_ph=0.0)
        return photons_of(list(scenes), bare, self.seed, self.shape).photons.double().numpy()

    def alone(self, **amplitudes: Any) -> Pattern:
        """The scene with no light but that of the named amplitudes."""
        dark = {f.name: getattr(self.scene, f.name) * 0 for f in fields(self.scene) if f.name.endswith("_ph")}
        return replace(self.scene, **(dark | amplitudes))


def photons_of(scenes: list[Pattern], detector: Detector, seed: int, shape: tuple[int, int]) -> Any:
    centres = torch.tensor([place(s, shape).centre_px for s in scenes])
    return expose(render(columns(scenes), shape), columns([detector] * len(scenes)), centres, torch.full((len(scenes),), seed))


def view(scene: Pattern, detector: Detector, seed: int, shape: tuple[int, int]) -> View:
    e = photons_of([scene], detector, seed, shape)
    usable = np.broadcast_to(e.usable.numpy(), (1, *shape))[0]
    mean = e.photons[0].double().numpy()[usable]
    geometry = place(scene, shape)
    y, x = geometry._offsets_px()
    y = y * (1 + scene.stretch)
    weight = float(e.area) / (mean + float(e.variance) + 1e-6)
    # The geometry is that of the pixel's middle; half a pixel about the beam stands for the pixel that holds it.
    r = np.maximum(np.hypot(y, x), 0.5)
    q = 4 * np.pi / scene.wavelength_m * np.sin(np.arctan(r * geometry.pixel_m / scene.distance_m) / 2)
    level = replace(_nothing(), flat_ph=1 / detector.exposure, centre_y=scene.centre_y, centre_x=scene.centre_x)
    even = photons_of([level], replace(detector, background_ph=0.0), seed, shape)
    passed = even.photons[0].double().numpy()[usable]
    return View(scene, detector, seed, shape, usable, mean, weight, passed, r[usable], np.arctan2(y, x)[usable], q[usable])


class Fit:
    """Weighted least squares over columns [M P], once for many parts."""

    def __init__(self, v: View, basis: Image) -> None:
        self.v, self.root = v, np.sqrt(v.weight)
        x = basis * v.passed * self.root
        x = x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-300)
        u, s, _ = np.linalg.svd(x.T, full_matrices=False)
        self.u = u[:, s > 1e-7 * s[0]]

    def __call__(self, part: Image) -> tuple[float, float]:
        c = part * self.root
        return seen(self.v, (c - self.u @ (self.u.T @ c)) / self.root)


def seen(v: View, left: Image) -> tuple[float, float]:
    """d' and contrast of what a fit left."""
    power = left**2 * v.weight
    total = power.sum()
    contrast = (power * np.abs(left) / np.maximum(v.mean, 1e-6)).sum() / max(total, 1e-300)
    return float(np.sqrt(total)), float(contrast)


def powers(v: View) -> Image:
    return np.stack([(v.q / v.q.min()) ** -p for p in range(5)])


def hats(v: View) -> Image:
    place = np.log(v.q.max() / v.q) / np.log(2.5)
    return np.stack([np.clip(1 - np.abs(place - k), 0, None) for k in range(8)])


def around(v: View, part: Image, profile: Image, fold: int) -> tuple[float, float, float]:
    """d', contrast and contrast in the part's own light of what no function of radius times harmonics below `fold` explains: a
    fit in every ring of a pixel's width; inside it the function of radius follows `profile`, the part at its mean over the
    azimuth."""
    left, ring = part.copy(), np.floor(v.r).astype(int)
    order = np.argsort(ring, kind="stable")
    for pixels in np.split(order, np.flatnonzero(np.diff(ring[order])) + 1):
        root = np.sqrt(v.weight[pixels])
        waves = [np.ones(len(pixels))] + [f(k * v.chi[pixels]) for k in range(1, max(fold, 1)) for f in (np.cos, np.sin)]
        x = np.stack(waves, 1) * (profile[pixels] * root)[:, None]
        if x.any():
            left[pixels] -= (x @ np.linalg.lstsq(x, part[pixels] * root, rcond=1e-9)[0]) / root
    power = left**2 * v.weight
    return *seen(v, left), float((power * np.abs(left) / np.maximum(profile, 1e-12)).sum() / max(power.sum(), 1e-300))


def grade_turned(d: float, contrast: float, own: float) -> float:
    """As `grade`, and more than what instruments do to an isotropic part."""
    return both(grade(d, contrast), margin(own, NOT_TURNED, TURNED))


def ring_tags(v: View) -> dict[str, float]:
    scene = v.scene
    ring_basis, decays = Fit(v, np.concatenate([powers(v), hats(v)])), Fit(v, powers(v))
    found: dict[str, list[float]] = {
        name: [] for name in ("ring", "halo", "isotropic ring", "oriented ring", "textured", "oriented halo", "2", "4", "6")
    }
    for n in range(SYSTEMS):
        if not np.any(scene.ring_ph[n] > 0):
            continue
        orders = [_kept(v, n, k) for k in np.flatnonzero(scene.ring_ph[n] > 0)]
        even = replace(_kept(v, n), ring_kind=np.full(SYSTEMS, ISOTROPIC))
        whole, profile, *single = (image[v.usable] for image in v.light(_kept(v, n), even, *orders))
        kind, fold = scene.ring_kind[n], scene.ring_fold[n]
        measured = around(v, whole, profile, 1) if kind != ISOTROPIC else (0.0, 0.0, 0.0)
        shows, turned = grade(*measured[:2]), grade_turned(*measured)
        folded = grade_turned(*around(v, whole, profile, int(fold))) if kind == FOLDED else 0.0
        width = 2.355 * scene.ring_sd[n, 0] / scene.ring_q[n, 0]
        wide = margin(width, 0.301, 0.40)
        lobe = lobe_rad(scene, n) if kind == FOLDED else 2 * np.pi
        arc = np.nan if either(margin(lobe / width, *LONG), margin(lobe, *LONG_RAD)) == 0 else 1.0
        lit = both(either(shows, *(grade(*ring_basis(c)) for c in single)), 1 - wide)
        ring = both(lit, arc)
        halo = both(either(shows, grade(*decays(whole))), wide)
        irregular = kind in (TEXTURED, SPOTTED)
        turned_ring = both(ring, turned)
        found["ring"].append(ring)
        found["halo"].append(halo)
        found["isotropic ring"].append(both(ring, 1 - turned))
        found["oriented ring"].append(np.nan if irregular and turned_ring != 0 else turned_ring)
        found["textured"].append(turned_ring if irregular else 0.0)
        found["oriented halo"].append(both(halo, turned))
        for m in (2, 4, 6):
            found[str(m)].append(both(either(lit, halo), folded) if fold == m else 0.0)
    grades = {name: either(*values) for name, values in found.items()}
    twofold = np.nan if grades["2"] == 0 and grades["textured"] != 0 else grades["2"]
    kept = {name: grades[name] for name in ("ring", "halo", "isotropic ring", "oriented ring")}
    oriented = oriented_low(v)
    kept = {} if scene.form_ph > 0 else kept
    return kept | {
        "2-fold": either(twofold, oriented),
        "4-fold": grades["4"],
        "6-fold": grades["6"],
        "oriented diffuse or halo": either(grades["oriented halo"], oriented),
    }


def lobe_rad(scene: Pattern, system: int) -> float:
    """Full width of a lobe at half height."""
    table = scene.azimuth[system]
    return float((table > table.max() / 2).mean() * 2 * np.pi / scene.ring_fold[system])


def _kept(v: View, system: int, order: int | None = None) -> Pattern:
    """One ring system alone, or one order of it."""
    ring_ph = np.zeros_like(v.scene.ring_ph)
    place = (system, slice(None) if order is None else order)
    ring_ph[place] = v.scene.ring_ph[place]
    return v.alone(ring_ph=ring_ph)


def oriented_low(v: View) -> float:
    if v.scene.low_ph == 0 or v.scene.low_ratio == 1:
        return 0.0
    only = v.alone(low_ph=v.scene.low_ph)
    part, even = v.light(only, replace(only, low_ratio=1.0))
    return grade_turned(*around(v, part[v.usable], even[v.usable], 1))


def diffuse_tags(v: View) -> dict[str, float]:
    s = v.scene
    correlated = s.sphere_fraction > 0
    low, form, high, beam = v.light(
        v.alone(low_ph=s.low_ph), v.alone(form_ph=s.form_ph), v.alone(high_ph=s.high_ph), v.alone(beam_ph=s.beam_ph)
    )
    still = Fit(v, np.stack([np.ones_like(v.q), beam[v.usable] / np.maximum(v.passed, 1e-30)]))
    rises = mean_around(v, low[v.usable]) + (0 if correlated else form[v.usable])
    hidden = grade(*still(form[v.usable])) if correlated else 0.0
    return {
        "diffuse low-q": either(grade(*still(rises)), 0.0 if hidden == 0 else np.nan),
        "diffuse high-q": either(grade(*Fit(v, powers(v))(high[v.usable])), bent(v)),
    }


def bent(v: View) -> float:
    """Doubtful where the background bends as scattering might."""
    y, x = place(v.scene, v.shape)._offsets_px()
    y = y * (1 + v.scene.stretch)
    bend = v.scene.flat_ph * v.detector.exposure * v.scene.curve * ((y * y + x * x) / max(v.shape) ** 2)[v.usable] * v.passed
    return 0.0 if grade(*Fit(v, powers(v))(bend)) == 0 else np.nan


def mean_around(v: View, part: Image) -> Image:
    """An oriented part at its mean over the azimuth, in rings of a pixel's width."""
    if v.scene.low_ratio == 1:
        return part
    ring = np.floor(v.r).astype(int)
    return (np.bincount(ring, part * v.weight) / np.maximum(np.bincount(ring, v.weight), 1e-300))[ring]


def form_tag(v: View) -> float:
    """Fringes that are seen against decays, humps and the particles' own light if it only fell; a first minimum on the frame,
    three pixels a fringe, and a rise after it."""
    s = v.scene
    if s.form_ph == 0:
        return 0.0
    free = replace(v.alone(form_ph=s.form_ph), sphere_fraction=0.0)
    pixel_q = 2 * np.pi / s.wavelength_m / s.distance_m * s.side_m / max(v.shape)
    resolved = 4.493 / s.form_radius_m < v.q.max() and np.pi / s.form_radius_m >= 3 * pixel_q
    part = v.light(free)[0][v.usable]
    y, x = place(s, v.shape)._offsets_px()
    outwards = np.argsort(np.hypot(y * (1 + s.stretch), x), axis=None)
    curve = render(columns([free]), v.shape)[0].double().numpy().ravel()[outwards]
    rise = curve - np.minimum.accumulate(curve)
    share = rise.max() / max(curve[rise.argmax()], 1e-30)
    falling = np.empty_like(curve)
    falling[outwards] = np.minimum.accumulate(curve)
    smooth = np.concatenate([powers(v), hats(v), falling.reshape(v.shape)[v.usable][None]])
    return both(grade(*Fit(v, smooth)(part)), float(resolved), margin(share, 0.02, 0.08))


def level_tags(v: View) -> dict[str, float]:
    s, on = v.scene, v.usable
    own = v.alone(flat_ph=s.flat_ph, beam_ph=s.beam_ph)
    instrument, flat = v.light(own, v.alone(flat_ph=s.flat_ph))
    whole = v.light(s)[0]
    dark = v.mean - whole[on]
    sample, back = np.clip(whole - instrument, 0, None), flat[on] + dark
    s99 = float(np.quantile(sample[on], 0.99)) if on.any() else 0.0
    power = np.zeros(v.shape)
    power[on] = sample[on] ** 2 * v.weight
    blocks = np.sqrt(power.reshape(v.shape[0] // 8, 8, v.shape[1] // 8, 8).sum((1, 3)))
    q95 = float(np.quantile(blocks, 0.95))
    mean_back = float(back.mean()) if on.any() else 0.0
    share = mean_back / (mean_back + max(s99, 1e-6))
    counted = v.detector.unit == 1
    weak = 1.0 if s99 < 10 or q95 < UNSEEN else 0.0 if s99 >= 20 and q95 >= 5 else np.nan
    high = 1.0 if share > 0.5 and mean_back >= 10 else 0.0 if share < 0.35 or mean_back < 5 else np.nan
    return {
        "weak scattering": weak if counted or q95 < UNSEEN else np.nan,
        "strong scattering": margin(s99, 500, 1000) if counted else np.nan,
        "high background": high if counted else np.nan,
    }


def stop_tags(v: View) -> dict[str, float]:
    """The light that is missing behind the stop, where the detector reads: against the same frame without one. Of two mean
    images, where one may be dark, d' is the distance of the square roots, which are equally uncertain everywhere."""
    d = v.detector
    grades = {f"{name} beamstop": 0.0 for name in STOPS[1:]}
    if d.stop_kind == 0:
        return grades
    with_stop, without = (photons_of([v.scene], x, v.seed, v.shape) for x in (d, replace(d, stop_kind=0)))
    shade = with_stop.transmission[0].double().numpy()
    reads = read_out(d, v.shape)
    a, b = (e.photons[0].double().numpy() + float(e.variance) for e in (with_stop, without))
    area = float(with_stop.area)
    d_prime = np.sqrt((4 * (np.sqrt(b) - np.sqrt(a)) ** 2 * area)[reads & (shade < 0.5)].sum())
    dark = bool((shade[reads] <= 0.3).any())
    stop = 1.0 if d_prime >= SEEN and dark else 0.0 if d_prime < UNSEEN else np.nan
    if stop != 0 and (beam_may_be_off(v) or (d.stop_kind == 1 and rod_like(d, v.shape))):
        return dict.fromkeys(grades, np.nan)
    return grades | {f"{STOPS[d.stop_kind]} beamstop": stop}


def beam_may_be_off(v: View) -> bool:
    """Without the beam on the frame nobody tells a disc's arm from a rod."""
    y, x = place(v.scene, v.shape).centre_px
    reach = v.detector.aspect_y * v.shape[0] - 1, v.detector.aspect_x * v.shape[1] - 1
    return min(y, reach[0] - y, x, reach[1] - x) <= 2


def rod_like(d: Detector, shape: tuple[int, int]) -> bool:
    """An arm to whose sides the disc stands out by less than two pixels."""
    return d.stop_arm > 0 and (d.stop_size - d.stop_arm) * max(shape) < 2


def read_out(d: Detector, shape: tuple[int, int]) -> Image:
    """Pixels that the detector covers and that lie in no gap."""
    covering = ("aspect_y", "aspect_x", "module_y", "module_x", "gap", "gap_shift_y", "gap_shift_x")
    e = photons_of([_nothing()], Detector(**{name: getattr(d, name) for name in covering}), 0, shape)
    return np.broadcast_to(e.usable.numpy(), (1, *shape))[0]


def _nothing() -> Pattern:
    none = np.zeros(SPOTS)
    return Pattern(
        1e-10, 1.0, 0.1, 0.5, 0.5,
        ring_ph=np.zeros((SYSTEMS, ORDERS)), ring_q=np.ones((SYSTEMS, ORDERS)), ring_sd=np.ones((SYSTEMS, ORDERS)),
        ring_kind=np.zeros(SYSTEMS, int), azimuth=np.ones((SYSTEMS, azimuth.STEPS)), twist=np.zeros(SYSTEMS, int), spot_ph=none,
    )  # fmt: skip


def exact(scene: Pattern, detector: Detector, seed: int, shape: tuple[int, int]) -> dict[str, float]:
    """{tag: 1, 0 or NaN} of the tags that ring systems, diffuse scattering, particles, levels and stops make; none where less
    than a tenth of the pixels is usable, and no rings where particles may make them too."""
    v = view(scene, detector, seed, shape)
    if v.usable.mean() <= 0.1:
        return {}
    return ring_tags(v) | diffuse_tags(v) | {"form factor": form_tag(v)} | level_tags(v) | stop_tags(v)

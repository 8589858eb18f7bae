"""A geometry written as CrystFEL reads it, for frames that are stored as one image each."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from collections.abc import Iterator

from beamsight.frame import Geometry, Panel


def geom_text(geometry: Geometry, data: str, mask: str, photon_energy: str, distance: str) -> str | None:
    """A .geom file for images [N H W] at `data` with their `mask` (bit 1 = bad), in a file that holds the photon energy (eV) and
    the distance (m) of each at those places; None where pixel or beam are unknown.

    Panels lie as they do here, y upwards. An image without panels is one that, as in CrystFEL's own examples, has rows along y
    and columns along x. Panels that stood at other distances are moved to that of the first, where they have the same angles.
    """
    panels = geometry.panels or _whole(geometry)
    if geometry.pixel_m is None or not panels or any(p.corner_px is None for p in panels):
        return None
    head = [
        "; Written by beamsight: one image a frame, its modules below one another.",
        "adu_per_photon = 1 ; not known here: set it to what a photon gives",
        f"photon_energy = {photon_energy} eV",
        f"clen = {distance} m",
        f"res = {1 / geometry.pixel_m:.9g} ; pixels a metre",
        f"data = {data}",
        f"mask = {mask}",
        "mask_good = 0x0",
        "mask_bad = 0x1",
        *("dim0 = %", "dim1 = ss", "dim2 = fs"),
    ]
    return "\n".join([*head, *(line for n, p in enumerate(panels) for line in _described(f"p{n}", p))]) + "\n"


def _whole(geometry: Geometry) -> tuple[Panel, ...]:
    if geometry.centre_px is None:
        return ()
    y, x = geometry.centre_px
    return (Panel(0, geometry.shape[0], 0, geometry.shape[1], (-y, -x)),)


def _described(name: str, panel: Panel) -> Iterator[str]:
    fast, slow = panel.fast_px, panel.slow_px
    # Files count from the outer corner of the first pixel, we from its middle.
    y, x = ((panel.corner_px or (0.0, 0.0))[k] - slow[k] / 2 - fast[k] / 2 for k in (0, 1))
    yield ""
    for key, value in (("min_fs", panel.x0), ("max_fs", panel.x1 - 1), ("min_ss", panel.y0), ("max_ss", panel.y1 - 1)):
        yield f"{name}/{key} = {value}"
    yield f"{name}/fs = {fast[1]:+.9f}x {fast[0]:+.9f}y"
    yield f"{name}/ss = {slow[1]:+.9f}x {slow[0]:+.9f}y"
    yield f"{name}/corner_x = {x:.6f}"
    yield f"{name}/corner_y = {y:.6f}"

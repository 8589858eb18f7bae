"""The numbers of one scattering image: a film, a powder, a solution, a fibre or a surface, and where the detector stood."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from beamsight.frame import Geometry

SYSTEMS, ORDERS, SPOTS = 3, 10, 96

ISOTROPIC, FOLDED, TEXTURED, SPOTTED = range(4)
POWER_LAW, ORNSTEIN_ZERNIKE, DEBYE_BUECHE, GUINIER = range(4)
SPHERE, CORE_SHELL, TABLED = range(3)
NO_PEAKS, ISOLATED, IN_LINE, NET = range(4)


@dataclass(frozen=True)
class Pattern:
    """One scattering pattern as drawn numbers.

    Names in `_ph` are photons a detector pixel where the part is strongest; `_m` lengths, `q_` in 1/m; other lengths and places
    are shares of the frame's side, angles rad. Arrays: `ring_*` [3 systems, 10 orders], `azimuth` [3 360], `spot_*` [96].
    """

    wavelength_m: float
    distance_m: float
    side_m: float
    centre_y: float
    centre_x: float
    # by how much a tilted or wrongly calibrated detector stretches the pattern upright
    stretch: float = 0.0
    # background: flat, gently curved, and what slits and windows scatter about the beam
    flat_ph: float = 0.0
    slope_y: float = 0.0
    slope_x: float = 0.0
    curve: float = 0.0
    beam_ph: float = 0.0
    beam_size: float = 0.004
    flare_ph: float = 0.0
    flare_angle: float = 0.0
    # diffuse scattering; `low_ratio` is the axis ratio of its contours
    low_ph: float = 0.0
    low_kind: int = 0
    low_length_m: float = 1e-8
    low_exponent: float = 3.0
    low_ratio: float = 1.0
    low_angle: float = 0.0
    high_ph: float = 0.0
    high_length_m: float = 1e-9
    # three systems of rings or halos; `twist` turns the azimuthal table from order to order, as grains do
    ring_ph: Any = 0.0
    ring_q: Any = 1e9
    ring_sd: Any = 1e8
    ring_kind: Any = 0
    ring_fold: Any = 0
    ring_particles: Any = 0.0
    azimuth: Any = 1.0
    twist: Any = 0.0
    # particles and their hard-sphere correlation (fraction 0 = none)
    form_ph: float = 0.0
    form_kind: int = 0
    form_radius_m: float = 1e-8
    form_spread: float = 0.1
    form_core: float = 0.7
    form_contrast: float = 0.5
    form_shape: float = 0.0
    sphere_fraction: float = 0.0
    sphere_radius_m: float = 1e-8
    # Bragg spots, each an upright Gaussian
    spot_layout: int = 0
    spot_twofold: float = 0.0
    spot_orders: int = 0
    spot_ph: Any = 0.0
    spot_y: Any = 0.0
    spot_x: Any = 0.0
    spot_sd_y: Any = 0.01
    spot_sd_x: Any = 0.01
    # a fibre's layer lines
    layer_ph: float = 0.0
    layer_angle: float = 0.0
    layer_step: float = 0.05
    layer_count: int = 0
    layer_sd: float = 0.003
    layer_reach: float = 0.05
    layer_lobe: float = 0.0
    layer_decay: float = 1.0
    # a surface at grazing incidence: up is towards smaller y
    graze: int = 0
    horizon: float = 0.0
    tilt: float = 0.0
    below: float = 0.0
    yoneda_ph: float = 0.0
    yoneda_height: float = 0.02
    yoneda_width: float = 0.005
    cloud_ph: float = 0.0
    cloud_y: float = 0.2
    cloud_x: float = 0.1
    rod_ph: float = 0.0
    rod_width: float = 0.004
    rod_length: float = 0.3
    rod_fringe: float = 0.0
    rod_step: float = 0.1
    rod_comb_ph: float = 0.0


def place(scene: Pattern, shape: tuple[int, int]) -> Geometry:
    """The geometry of a pattern on a frame of `shape` px."""
    side = max(shape)
    centre = (scene.centre_y * side - 0.5, scene.centre_x * side - 0.5)
    return Geometry(shape, scene.side_m / side, scene.wavelength_m, scene.distance_m, centre)

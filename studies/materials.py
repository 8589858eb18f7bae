"""What BornAgain's films are made of, and how deep the beam gets into them. NumPy alone."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from collections.abc import Mapping
from math import exp, pi, sin, sqrt, tan
from typing import Any

from surfaces import SURFACES

# Electrons / nm3 from mass density and composition, and absorption over dispersion, roughly, between 6 and 16 keV.
PARTICLES = {"gold": (4661.0, 0.10), "magnetite": (1482.0, 0.05), "silica": (661.0, 0.005), "polymer": (340.0, 0.002)}
SUBSTRATES = {"silicon": (699.0, 0.015), "glass": (661.0, 0.01)}
ELECTRON_NM = 2.8179403e-6
HARDLY = 0.05  # of what all layers together show: less is not seen
TOP = 0.7 - 1 / tan(1.2)  # edge of a frustum of 1.2 rad, 0.7 at the bottom and half as high as the sphere about it is wide
# Volumes in cubes of the diameter of the sphere about a particle.
VOLUME = {"sphere": pi / 6, "cylinder": pi / sqrt(128), "box": 3**-1.5, "frustum": (0.49 + 0.7 * TOP + TOP**2) / 6}


def refraction(electrons_per_nm3: float, wavelength_nm: float) -> float:
    """delta = r_e lambda^2 rho / 2 pi of n = 1 - delta + i beta."""
    return ELECTRON_NM * wavelength_nm**2 * electrons_per_nm3 / (2 * pi)


def uppermost_alone(film: Mapping[str, Any]) -> bool:
    """Whether only the first layer of a film of `bornagain_films.Film` is lit: its mean index, with which BornAgain's waves are
    made, lets so little through to the second that along a rod the sum over layers varies by less than HARDLY.

    What reaches the second is exp(-Im kz h) of the amplitude; the sum varies by twice as much."""
    surface, length = SURFACES[film["name"]], film["wavelength_nm"]
    (ax, ay), (bx, by), height = surface.first, surface.second, surface.step[2]
    share = VOLUME[film["shape"]] * (film["diameter_nm"] / film["spacing_nm"]) ** 3 / (abs(ax * by - ay * bx) * height)
    parts = [(share, PARTICLES[film["particle"]]), ((1 - share) if film["embedded"] else 0.0, PARTICLES["polymer"])]
    delta = sum(of * refraction(electrons, length) for of, (electrons, _) in parts)
    beta = sum(of * refraction(electrons, length) * absorbed for of, (electrons, absorbed) in parts)
    decay_nm = 2 * pi / length * ((sin(film["incidence_rad"]) ** 2 - 2 * delta + 2j * beta) ** 0.5).imag
    return 2 * exp(-decay_nm * height * film["spacing_nm"] * (1 + film["strain"])) < HARDLY

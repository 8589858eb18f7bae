"""The films of `bornagain_films.py` in BornAgain's terms: layers, particles, crystals of them, and the simulation."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from collections.abc import Callable
from math import pi, sqrt
from typing import Any

import bornagain as ba
import numpy as np
from numpy.random import Generator

from bornagain_detector import Floats, Grid
from materials import PARTICLES, SUBSTRATES, refraction
from surfaces import SURFACES, Surface, azimuths, rods

GREY = (0.5, 0.5, 0.5)
COLUMNS = {"powder": 2, "finite": 4}  # of each azimuth


def simulated(film: Any, grid: Grid, rng: Generator) -> Floats:
    """Intensity [rows columns] of a film, exit angles and azimuths growing; `film` is a `Film`."""
    detector = ba.SphericalDetector(grid.columns, grid.phi_min, grid.phi_max, grid.rows, grid.alpha_min, grid.alpha_max)
    detector.setResolutionFunction(ba.ResolutionFunction2DGaussian(grid.blur_rad, grid.blur_rad))
    beam = ba.Beam(1e12, film.wavelength_nm, film.incidence_rad)
    simulation = ba.ScatteringSimulation(beam, _sample(film, grid, rng), detector)
    return np.asarray(simulation.simulate().intensities(), float).reshape(grid.rows, grid.columns)


def _sample(film: Any, grid: Grid, rng: Generator) -> Any:
    particle, substrate = _material(*PARTICLES[film.particle], film), _material(*SUBSTRATES[film.substrate], film)
    rough = ba.Roughness(ba.SelfAffineFractalModel(film.roughness_nm, 0.6, 30.0), ba.ErfTransient())
    sample, vacuum = ba.Sample(), ba.Layer(ba.Vacuum())
    holding = vacuum
    if film.embedded:
        thick = (film.layers * film.spacing_nm + film.diameter_nm) * 1.05
        holding = ba.Layer(_material(*PARTICLES["polymer"], film), thick)
    _deposited(holding, film, grid, particle, rng)
    sample.addLayer(vacuum)
    if film.embedded:
        sample.addLayer(holding)
    sample.addLayer(ba.Layer(substrate, rough))
    return sample


def _material(electrons_per_nm3: float, absorption: float, film: Any) -> Any:
    """n = 1 - δ + i β."""
    delta = refraction(electrons_per_nm3, film.wavelength_nm)
    return ba.RefractiveMaterial("some", GREY, delta, delta * absorption)


def _deposited(layer: Any, film: Any, grid: Grid, material: Any, rng: Generator) -> None:
    """Puts the film into a layer."""

    def one(diameter: float) -> Any:
        return ba.Particle(material, _shape(film.shape, diameter))

    density = 1 / film.spacing_nm**2
    if film.kind == "empty":
        return
    if film.kind == "disordered":
        layer.addDeposit2D(1.0, ba.Dense2D(0.6 * density, one(film.diameter_nm)))
    elif film.kind == "grating":
        line = ba.Particle(material, ba.Box(400 * film.spacing_nm, film.diameter_nm, film.diameter_nm))
        lines = ba.Crystal1D(line, 2 * film.spacing_nm, pi / 2, 1 / (900 * film.spacing_nm))
        lines.setDecayFunction(ba.Profile1DCauchy(film.domain * film.spacing_nm))
        layer.addDeposit2D(1.0, lines)
    elif film.kind == "finite":
        layer.addDeposit2D(1.0, _crystal(film, one, rng))
    else:
        _powder(layer, film, grid, one, rng)


def _shape(kind: str, diameter: float) -> Any:
    """A body within a sphere of that diameter, nm."""
    r = diameter / 2
    return {
        "sphere": lambda: ba.Sphere(r),
        "cylinder": lambda: ba.Cylinder(r / sqrt(2), r * sqrt(2)),
        "box": lambda: ba.Box(*[diameter / sqrt(3)] * 3),
        "frustum": lambda: ba.Pyramid4(0.7 * diameter, 0.5 * diameter, 1.2),
    }[kind]()


def _column(film: Any, surface: Surface, one: Callable[[float], Any], angle: float, rng: Generator) -> Any:
    """One particle of each layer above the other, turned by an angle: a few columns at random, each particle with a size and a
    displacement of its own, so that what is diffuse keeps no order from layer to layer."""
    columns, off = ba.Mixture(), film.displaced * film.spacing_nm
    for _ in range(COLUMNS[film.kind]):
        column = ba.Compound()
        for n in range(film.layers):
            x, y, z = film.spacing_nm * surface.layer(n) * (1, 1, 1 + film.strain) + rng.normal(0, off, 3)
            column.addComponent(one(film.diameter_nm * (1 + film.spread * rng.normal())), ba.R3(x, y, z + 4 * off))
        column.rotate(ba.RotationZ(angle))
        columns.addParticle(column, 1.0)
    return columns


def _cell(film: Any, surface: Surface, angle: float) -> Any:
    """The cell of a layer, turned by an angle."""
    first, second = np.array(surface.first), np.array(surface.second)
    between = np.arctan2(second[1], second[0]) - np.arctan2(first[1], first[0])
    lengths = film.spacing_nm * np.hypot(*first), film.spacing_nm * np.hypot(*second)
    return ba.BasicLattice2D(*lengths, between, angle + np.arctan2(first[1], first[0]))


def _powder(layer: Any, film: Any, grid: Grid, one: Callable[[float], Any], rng: Generator) -> None:
    """Domains of every azimuth side by side. BornAgain turns a lattice for its mean over azimuths, but not what stands on it,
    so that each azimuth is a crystal of its own here. A rod is as wide as the domains and the columns make it."""
    surface, k = SURFACES[film.name], 2 * pi / film.wavelength_nm
    seen = k * np.sin(grid.phi_max) * film.spacing_nm
    width = max(2 / film.domain, grid.half_width * k * film.spacing_nm)
    for angle, share in azimuths(surface, max(seen, np.hypot(*rods(surface, 20.0).T).min() * 1.1), width).items():
        column, cell = _column(film, surface, one, angle, rng), _cell(film, surface, angle)
        decay = ba.Profile2DCauchy(film.spacing_nm / width, film.spacing_nm / width, 0.0)
        if film.paracrystal:
            size = film.spacing_nm / width
            crystal = ba.Paracrystal2D(column, cell, size, 2 * size, 2 * size)
            apart = ba.Profile2DGauss(*[film.paracrystal * film.spacing_nm] * 2, 0.0)
            crystal.setProbabilityDistributions(apart, apart)
        else:
            crystal = ba.Crystal2D(column, cell)
            crystal.setDecayFunction(decay)
        layer.addDeposit2D(share, crystal)


def _crystal(film: Any, one: Callable[[float], Any], rng: Generator) -> Any:
    """A finite crystal, its azimuth's direction along the beam: rows of columns, or BornAgain's crystal within a box."""
    surface, angle = SURFACES[film.name], -film.azimuth_rad
    if not film.meso:
        column, cell = _column(film, surface, one, angle, rng), _cell(film, surface, angle)
        return ba.FiniteCrystal2D(column, cell, *film.cells)
    d, stretch = film.spacing_nm, np.array([1, 1, 1 + film.strain])
    repeat = 2 if surface.alternate else 1
    spans = [d * np.array((*v, 0.0)) for v in (surface.first, surface.second)]
    spans.append(d * stretch * surface.layer(repeat))
    basis = ba.Compound()
    for n in range(repeat):
        basis.addComponent(one(film.diameter_nm), ba.R3(*(d * stretch * surface.layer(n))))
    lattice = ba.Lattice3D(*(ba.R3(*v) for v in spans))
    height = film.layers * d * surface.step[2]
    box = ba.Box(film.cells[0] * d, film.cells[1] * d, height)
    meso = ba.Mesocrystal(ba.Crystal(basis, lattice, film.displaced * d), box)
    meso.rotate(ba.RotationZ(angle))
    return ba.Dilute2D(1e-6, meso)

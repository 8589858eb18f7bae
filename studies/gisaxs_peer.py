"""BornAgain's patterns by request of `gisaxs_agreement.py`, which starts this in an environment with BornAgain.

Each line of standard input is a structure as JSON, lengths in nm, angles in radians; each line of standard output the seconds
that its simulation took and its pattern, rows from the highest exit angle down. Nothing of beamsight is imported here.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import json
import sys
import time
from typing import Any

import bornagain as ba
import numpy as np

GREY = (0.5, 0.5, 0.5)


def material(name: str, index: list[float]) -> Any:
    """Of refractive index 1 - delta + i beta."""
    return ba.RefractiveMaterial(name, GREY, *index)


def body(asked: dict[str, Any]) -> Any:
    """The particle's outline."""
    if asked["shape"] == "sphere":
        return ba.Sphere(asked["radius"])
    return ba.Cylinder(asked["radius"], asked["height"])


def compound(asked: dict[str, Any], turn: float) -> Any:
    """The particles of one cell and of all layers above it, turned about the normal."""
    together = ba.Compound()
    particle = ba.Particle(material("particle", asked["particle"]), body(asked))
    cos, sin = np.cos(turn), np.sin(turn)
    for x, y, z in asked["sites"]:
        together.addComponent(particle, ba.R3(cos * x - sin * y, sin * x + cos * y, z))
    return together


def structure(asked: dict[str, Any], turn: float) -> Any:
    """The two-dimensional crystal: finite where `cells` says how many, else with order that decays over `domain`."""
    (ax, ay), (bx, by) = asked["plane"]
    angle = np.arctan2(by, bx) - np.arctan2(ay, ax)
    plane = ba.BasicLattice2D(np.hypot(ax, ay), np.hypot(bx, by), angle, np.arctan2(ay, ax) + turn)
    if asked["cells"]:
        return ba.FiniteCrystal2D(compound(asked, turn), plane, *asked["cells"])
    crystal = ba.Crystal2D(compound(asked, turn), plane)
    crystal.setDecayFunction(ba.Profile2DCauchy(asked["domain"], asked["domain"], 0))
    return crystal


def sample(asked: dict[str, Any], turn: float) -> Any:
    """Air, the film where there is one, the substrate; particles stand on the substrate."""
    layers = [ba.Layer(ba.Vacuum())]
    if asked["film"]:
        layers.append(ba.Layer(material("film", asked["film"][:2]), asked["film"][2]))
    layers[-1].deposit2D(structure(asked, turn))
    made = ba.Sample()
    for each in [*layers, ba.Layer(material("substrate", asked["substrate"]))]:
        made.addLayer(each)
    return made


def pattern(asked: dict[str, Any], turn: float) -> Any:
    """[H, W] of one orientation."""
    detector = ba.SphericalDetector(asked["width"], *asked["phi"], asked["rows"], *asked["alpha"])
    beam = ba.Beam(1e9, asked["wavelength"], asked["incidence"])
    simulation = ba.ScatteringSimulation(beam, sample(asked, turn), detector)
    options = simulation.options()
    options.setNumberOfThreads(1)
    # The film that particles are in is given, not made from them.
    options.setUseAvgMaterials(False)
    return np.asarray(simulation.simulate().intensities())[::-1]


def main() -> None:
    """Answers line by line until standard input ends."""
    for line in sys.stdin:
        asked = json.loads(line)
        start = time.perf_counter()
        total = sum(pattern(asked, turn) for turn in asked["turns"])
        seconds = time.perf_counter() - start
        print(json.dumps({"seconds": seconds, "pattern": total.tolist()}), flush=True)


if __name__ == "__main__":
    main()

"""The truth of a frame: what an expert could see on it."""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import torch

from beamsight.detector import Exposed
from beamsight.physics.visibility import either
from beamsight.tasks.scattering_tags.levels import level_tags, stop_tags
from beamsight.tasks.scattering_tags.local import layer_tags, spot_tags, surface_tags
from beamsight.tasks.scattering_tags.parts import Films
from beamsight.tasks.scattering_tags.polar import polar
from beamsight.tasks.scattering_tags.radial import diffuse_tags, particle_tags
from beamsight.tasks.scattering_tags.rings import arc_tags, ring_tags
from beamsight.tasks.scattering_tags.systems import systems

NAMES = (
    "ring",
    "halo",
    "higher orders",
    "many rings",
    "structure factor",
    "form factor",
    "diffuse low-q",
    "diffuse high-q",
    "isotropic ring",
    "oriented ring",
    "2-fold",
    "4-fold",
    "6-fold",
    "oriented diffuse or halo",
    "spotted ring",
    "textured ring",
    "peaks",
    "peaks in line",
    "specular rod",
    "Yoneda or horizon",
    "weak scattering",
    "strong scattering",
    "high background",
    "beam off image",
    "circular beamstop",
    "linear beamstop",
    "wedge beamstop",
    "saturation",
)

LEAST_SHARE = 0.1  # of a frame's pixels that read light without clipping: with fewer, nobody would tag it


def label(films: Films, exposed: Exposed) -> torch.Tensor:
    """[B 28] in the order of NAMES: 1 present, 0 absent, NaN doubtful. A tag that several parts can make is present where
    one makes it."""
    films = exposed_films(films, exposed.exposure[:, 0, 0])
    grid = polar(films, exposed)
    rings = systems(films, grid)
    sources = [
        ring_tags(films, rings),
        arc_tags(films, rings),
        particle_tags(films, grid),
        diffuse_tags(films, grid),
        spot_tags(films, exposed),
        layer_tags(films, exposed),
        surface_tags(films, exposed),
        level_tags(films, exposed),
        stop_tags(exposed),
    ]
    grades = torch.stack([either(*[source[name] for source in sources if name in source]) for name in NAMES], 1)
    return torch.where(_readable(exposed)[:, None] | (torch.tensor([name == "saturation" for name in NAMES])), grades, torch.nan)


def _readable(exposed: Exposed) -> torch.Tensor:
    """Whether enough of each frame [B] is left to say anything but that it is saturated."""
    return exposed.usable.expand_as(exposed.photons).float().mean((1, 2)) > LEAST_SHARE


def exposed_films(films: Films, exposure: torch.Tensor) -> Films:
    """The films with every number of photons times `exposure` [B]."""
    photons = {name: value for name, value in vars(films).items() if name.endswith("_ph")}
    scaled = {name: v * exposure.reshape(-1, *[1] * (v.ndim - 1)) for name, v in photons.items()}
    return cast("Films", replace(cast("Any", films), **scaled))

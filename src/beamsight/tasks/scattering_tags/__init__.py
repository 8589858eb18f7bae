"""Which features does a scattering pattern have?

Twenty-six tags (28 outputs) of small- and wide-angle patterns of X-rays and neutrons, in transmission and at grazing incidence.
"""

# SPDX-License-Identifier: BSD-3-Clause

from beamsight.recipe import Recipe
from beamsight.targets import Tags
from beamsight.task import Task
from beamsight.tasks.scattering_tags.draw import draw
from beamsight.tasks.scattering_tags.instrument import detector
from beamsight.tasks.scattering_tags.label import NAMES, label
from beamsight.tasks.scattering_tags.render import render
from beamsight.tasks.scattering_tags.scene import place

TASK = Task(
    name="scattering-tags",
    question="Which features does a scattering pattern have?",
    target=Tags(NAMES),
    shape=(256, 256),
    draw=draw,
    place=place,
    render=render,
    detector=detector,
    label=label,
    views=("image", "coefficients", "rings", "joint"),
    recipe=Recipe(
        view="rings",
        steps=12000,
        batch=32,
        learning_rate=2.5e-3,
        warmup=300,
        validate_every=1000,
        patience=0,
        mirror=True,
        rotate=True,
    ),
    sweeps={
        "exposure": (1.0, 0.3, 0.1, 0.03, 0.01),
        "spread_px": (0.0, 1.0, 2.0, 4.0),
        "read_noise_counts": (0.0, 1.0, 5.0, 20.0),
        "salt_pepper": (0.0, 0.005, 0.025, 0.05),
        "dead": (0.0, 0.001, 0.01, 0.05),
        "background_ph": (0.0, 1.0, 10.0, 100.0),
    },
    references=(
        "N. Meister et al. (2017): training on noisy synthetic scattering images",
        "R. Lashley et al.: improving classification accuracy of X-ray scattering images",
    ),
)

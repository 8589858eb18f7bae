"""Does it work on real images? Tags that hold found, tags that do not hold claimed, image by image, at the shipped thresholds.

    python studies/real_images.py [--bundle FOLDER] [--quick]

Twelve measured X-ray and neutron images, tagged by eye before any model saw them; nothing is tuned on them. They are looked for
in the folder that BEAMSIGHT_DATA names (default ../shared/data), under scattering/.
"""

# SPDX-License-Identifier: BSD-3-Clause

from __future__ import annotations

import argparse
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from beamsight.bundle import Bundle, load
from beamsight.sources import read_frames
from rows import ROOT, Row, fill, keep, show

IMAGES = Path(os.environ.get("BEAMSIGHT_DATA", ROOT.parent / "shared" / "data")) / "scattering"
OUT = ROOT / "docs" / "studies"
STOPS = {"circular beamstop", "linear beamstop", "wedge beamstop"}

# What a scientist saw on each image, on a log display. A beamstop was judged only where its name or its absence is given.
TRUTH: dict[str, set[str]] = {
    "07": {"ring", "higher orders", "many rings", "isotropic ring", "circular beamstop"},
    "12": {"ring", "higher orders", "diffuse low-q", "isotropic ring"},
    "13": {"ring", "higher orders", "diffuse low-q", "oriented ring", "2-fold", "oriented diffuse or halo"},
    "15": {
        "higher orders",
        "diffuse low-q",
        "2-fold",
        "oriented diffuse or halo",
        "peaks",
        "peaks in line",
        "weak scattering",
        "circular beamstop",
    },
    "17": {"halo", "higher orders", "2-fold", "peaks", "peaks in line", "circular beamstop"},
    "18": {"ring", "diffuse low-q", "oriented ring", "2-fold", "oriented diffuse or halo"},
    "20": {"ring", "higher orders", "structure factor", "isotropic ring"},
    "22": {"diffuse low-q"},
    "25": {"ring", "higher orders", "many rings", "diffuse low-q", "isotropic ring"},
    "27": {"ring", "halo", "diffuse low-q", "isotropic ring", "oriented ring", "2-fold", "peaks"},
    "28": {"diffuse low-q", "strong scattering"},
    "30": {"peaks", "weak scattering"},
}
STOPS_JUDGED = {"07", "15", "17", "18"}


@dataclass(frozen=True)
class Verdict:
    """One image: tags rightly `found`, `missed`, wrongly `claimed`; and stops that were `claimed_unjudged`."""

    name: str
    found: set[str]
    missed: set[str]
    claimed: set[str]
    unjudged: set[str]
    probability: dict[str, float]


def verdicts(bundle: Bundle, threshold: float | None = None) -> list[Verdict]:
    """The verdict on each of the twelve images; `threshold` in place of the shipped ones. Raises FileNotFoundError without
    them."""
    files = sorted(IMAGES.glob("*.tif"))
    if not files:
        raise FileNotFoundError(f"no images in {IMAGES}; say with BEAMSIGHT_DATA where they are")
    frames = list(read_frames([str(f) for f in files], size=bundle.size))
    answers = list(bundle.predict(frames, threshold=threshold))
    return [
        _verdict(path.name[:2], path.stem, set(a.answer or ()), a.probability or {})
        for path, a in zip(files, answers, strict=True)
    ]


def _verdict(number: str, name: str, said: set[str], probability: dict[str, float]) -> Verdict:
    truth = TRUTH[number]
    unjudged = set() if number in STOPS_JUDGED else said & STOPS
    return Verdict(name, said & truth, truth - said, said - truth - unjudged, unjudged, probability)


def recall_precision(results: list[Verdict]) -> tuple[float, float]:
    """Over all images together; precision counts every claim that the eye did not confirm, unjudged stops apart."""
    found, missed, claimed = (sum(len(getattr(v, name)) for v in results) for name in ("found", "missed", "claimed"))
    return found / (found + missed), found / max(found + claimed, 1)


def usual_tags() -> tuple[float, float]:
    """Recall and precision of claiming, for each image, the tags that half of the other eleven have: what needs no look at it."""
    found = claimed = 0
    for number, truth in TRUTH.items():
        others = [t for n, t in TRUTH.items() if n != number]
        said = {tag for tag in set().union(*others) if np.mean([tag in t for t in others]) >= 0.5}
        found, claimed = found + len(said & truth), claimed + len(said - truth)
    return found / sum(map(len, TRUTH.values())), found / max(found + claimed, 1)


def report(results: list[Verdict]) -> str:
    """The images as a Markdown table."""
    lines = [
        "| image | found | missed (probability) | wrongly claimed (probability) | stops claimed, not judged |",
        "|---|---|---|---|---|",
    ]
    for v in results:
        missed, claimed = (", ".join(f"{t} ({v.probability[t]:.2f})" for t in sorted(tags)) for tags in (v.missed, v.claimed))
        lines.append(f"| {v.name} | {', '.join(sorted(v.found))} | {missed} | {claimed} | {', '.join(sorted(v.unjudged))} |")
    return "\n".join(lines)


def rows(results: list[Verdict], alexnet: list[Verdict] | None) -> list[Row]:
    """The figures that were asked for."""
    recall, precision = recall_precision(results)
    peers = recall_precision(alexnet) if alexnet else (None, None)
    strict = sum(len(v.unjudged) for v in results)
    found, claimed = sum(len(v.found) for v in results), sum(len(v.claimed) for v in results)
    usual = usual_tags()
    return [
        Row("recall on twelve real images", recall, "", 0.9, "higher", "never tried", "AlexNet, same simulation", peers[0]),
        Row(
            "precision on twelve real images",
            precision,
            "",
            0.9,
            "higher",
            "never tried",
            "AlexNet, same simulation",
            peers[1],
        ),
        Row("precision, every unjudged stop counted as wrong", found / max(found + claimed + strict, 1), ""),
        Row("recall of the usual tags (those that half of the other images have)", usual[0], ""),
        Row("precision of the usual tags", usual[1], ""),
    ]


def main() -> None:
    """Print the verdicts and keep the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bundle", default="scattering-tags")
    parser.add_argument("--alexnet", help="a model folder to set beside it")
    parser.add_argument("--quick", action="store_true", help="print only; the study is short as it is")
    options = parser.parse_args()
    results = verdicts(load(options.bundle))
    print(report(results))
    figures = rows(results, verdicts(load(options.alexnet)) if options.alexnet else None)
    show(figures, "Real images")
    if not options.quick:
        keep(figures, OUT / "real_images.json")
        fill(OUT / "real_images.md", "images", report(results))


if __name__ == "__main__":
    main()

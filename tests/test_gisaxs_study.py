"""The study of lattices: what is counted, and the sets that nobody learns from."""

# SPDX-License-Identifier: BSD-3-Clause

import importlib
import json
import pickle
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from beamsight.answer import Answer
from beamsight.frame import Geometry


@pytest.fixture(scope="module")
def scores() -> ModuleType:
    return importlib.import_module("gisaxs_scores")


@pytest.fixture(scope="module")
def sets() -> ModuleType:
    return importlib.import_module("gisaxs_sets")


@pytest.fixture(scope="module")
def study() -> ModuleType:
    return importlib.import_module("gisaxs_lattices")


def said(scores: ModuleType, truth: str, answer: str, sure: float, alike: tuple[str, ...] = (), best: str = "") -> object:
    return scores.Said(f"{truth} called {answer}", truth, answer, {best or answer: sure, "BCC110": 0.01}, alike, "powder")


def test_answers_are_counted(scores: ModuleType) -> None:
    every = [
        said(scores, "FCC111", "FCC111", 0.99),
        said(scores, "FCC111", "HCP", 0.95),
        said(scores, "HCP", "FCC111", 0.95, ("FCC111",)),
        said(scores, "HCP", "unsure", 0.5, best="HCP"),
        said(scores, "none", "BCC100", 0.97),
        said(scores, "none", "none", 0.97),
        said(scores, "none", "unsure", 0.4, best="BCC100"),
    ]
    assert scores.right(scores.told(every)) == pytest.approx(200 / 3)  # the one alike to another is left out, unsure ones count
    assert scores.confidently_wrong(every[:4]) == 25  # believed, and neither right nor alike
    assert scores.confidently_wrong(every) == pytest.approx(200 / 7)
    assert scores.refused(every) == pytest.approx(200 / 3)
    assert scores.share([]) is None
    confusion = scores.confusion(every)
    assert list(confusion) == ["FCC111", "HCP", "none"]
    assert confusion["FCC111"]["HCP"] == 1
    assert confusion["HCP"]["unsure"] == 1
    assert sum(sum(row.values()) for row in confusion.values()) == len(every)
    assert scores.worst(every, 10) == [1, 4, 6]


def test_the_runner_up_and_what_probabilities_promise_are_counted(scores: ModuleType) -> None:
    unsure = {"FCC111": 0.5, "HCP": 0.4, "none": 0.1}
    every = [scores.Said("a", "HCP", "unsure", unsure), scores.Said("b", "none", "unsure", unsure, ("FCC111",))]
    assert scores.first_two(every) == 100
    assert scores.first_two([replace(one, alike=()) for one in every]) == 50
    assert scores.overconfidence(every) == pytest.approx(0)
    assert scores.overconfidence(every[:1]) == pytest.approx(50)
    assert scores.overconfidence([]) is scores.first_two([]) is None


def test_a_refused_file_is_no_lattice(scores: ModuleType, sets: ModuleType) -> None:
    frame = sets._plain(np.ones((4, 5)), "a")
    one = scores.said_of(sets.Asked(frame, "none", (), "measured", "a"), Answer("a", error="no image"))
    assert scores.refused([one]) == 100
    assert not one.confident
    assert one.believed == 0
    assert not one.right


def test_tables_have_a_row_a_truth(scores: ModuleType) -> None:
    every = [said(scores, "FCC111", "FCC111", 0.9), said(scores, "HCP", "FCC111", 0.9, ("FCC111",))]
    table = scores.confusion_table(every).splitlines()
    assert len(table) == 4
    assert len({line.count("|") for line in table}) == 1
    assert table[2].startswith("| FCC111 | 1 |")
    assert "100.0 %" in table[2]
    kinds = scores.kind_table(every).splitlines()
    assert len(kinds) == 3
    assert kinds[2].startswith("| powder | 1 | 100.0 %")
    assert len(scores.answer_table(every).splitlines()) == 4


def test_rows_hold_the_bounds_that_were_asked(study: ModuleType, scores: ModuleType) -> None:
    accuracy = {(name, model): [98.0, 99.5] for name in study.BOUNDS for model in (study.PAPER, study.OURS)}
    rows = {row.name: row for row in study.dataset_rows(accuracy)}
    assert rows["dataset 1, ours"].value == 98.75
    assert rows["dataset 1, ours"].kept is False
    assert rows["dataset 2, ours"].kept
    assert rows["dataset 2, HOG + linear"].value is None
    assert rows["dataset 1 with Poisson noise, shipped"].kept is None
    none = study.other_rows({})
    assert {row.asked for row in none if row.value is None} == {85.0, 90.0, 2.0, None}
    wrong = [said(scores, "FCC111", "HCP", 0.95), *[said(scores, "HCP", "HCP", 0.95)] * 99]
    by_name = {row.name: row for row in study.other_rows({"bornagain": wrong})}
    assert by_name["BornAgain, believed and wrong"].value == 1
    assert by_name["BornAgain, right"].value == 99
    assert "98.75 (98.0-99.5)" in study.seed_table(accuracy)


def test_files_are_named_for_lattices(sets: ModuleType) -> None:
    assert sets.named("bcc_100_Xs105_Ys25_Zs87_Na17_Nb17_Nc12__1.png") == "BCC100"
    assert sets.named("hcp_none_Xs105_Ys105_Zs25_Na18_Nb18_Nc17__1.png") == "HCP"
    with pytest.raises(ValueError, match="graphene"):
        sets.named("graphene_1.png")


def test_published_patterns_are_fifty_of_each_lattice(sets: ModuleType) -> None:
    if missing := sets.absent(sets.DATA / "gisaxs"):
        pytest.skip(missing)
    found = list(sets.hipgisaxs())
    names = [one.name for one in found]
    assert {name: names.count(name) for name in set(names)} == {
        "BCC100": 25, "BCC110": 25, "Cubic100": 50, "FCC100": 50, "HCP": 50,
    }  # fmt: skip
    assert {one.frame.image.shape for one in found} == {(100, 100)}
    assert len({one.frame.key for one in found}) == 200


def test_every_measured_image_is_judged(sets: ModuleType) -> None:
    if missing := sets.absent(sets.DATA / "scattering"):
        pytest.skip(missing)
    assert {path.stem for path in (sets.DATA / "scattering").glob("*.tif")} == set(sets.MEASURED)
    assert len(list(sets.measured())) == len(sets.MEASURED)


def film(folder: Path, name: str, kind: str, known: bool) -> None:
    shown = {"name": name, "kind": kind, "alike": ["HCP"], "paracrystal": 0.02, "meso": True}
    of = {"shape": "sphere", "diameter_nm": 12.0, "particle": "silica", "embedded": False}
    told = {
        "film": shown | {"wavelength_nm": 0.1, "spacing_nm": 14.5, "incidence_rad": 0.005, "strain": 0.0} | of,
        "picture": {"known": known}, "centre_px": [90.5, 20.0], "distance_m": 2.0, "pixel_m": 1e-4,
    }  # fmt: skip
    stem = folder / f"{name}-{kind}-0001"
    np.savez(stem.with_suffix(".npz"), image=np.ones((100, 120), np.float32), mask=np.eye(100, 120) == 0)
    stem.with_suffix(".json").write_text(json.dumps(told))


def test_films_are_read_with_what_is_known_of_them(sets: ModuleType, tmp_path: Path) -> None:
    film(tmp_path, "FCC111", "powder", True)
    film(tmp_path, "FCC111", "finite", False)
    film(tmp_path, "none", "grating", False)
    crystal, powder, grating = sets.films(tmp_path)
    assert [one.kind for one in (crystal, powder, grating)] == ["crystal in a box", "powder, paracrystal", "grating"]
    assert powder.frame.geometry.wavelength_m == pytest.approx(1e-10)
    assert replace(powder.frame.geometry, wavelength_m=None) == Geometry((100, 120), 1e-4, None, 2.0, (90.5, 20.0))
    assert crystal.frame.geometry == Geometry((100, 120))
    assert crystal.alike == ("HCP",)
    assert powder.spacing_nm == 14.5
    assert not powder.frame.mask[5, 5]
    # Number 1 is the second of its kind.
    assert [one.name for one in sets.films(tmp_path, (1, 2, 1))] == ["FCC111"]


def test_turned_frames_are_the_same_frames_in_other_positions(sets: ModuleType) -> None:
    image = np.arange(12.0).reshape(3, 4)
    frame = replace(sets._plain(image, "a"), mask=image > 0, geometry=Geometry((3, 4), 1e-4, 1e-10, 2.0, (1.0, 2.0)))
    asked = sets.Asked(frame, "HCP", (), "powder", "a")
    for n, one in enumerate(sets.turned([asked] * 4)):
        assert np.array_equal(np.rot90(one.frame.image, -(n % 3 + 1)), image), n
        assert np.array_equal(one.frame.mask, one.frame.image > 0)
        assert one.frame.geometry.shape == one.frame.image.shape
        assert one.frame.geometry.centre_px is None  # what the file told of it is no longer so
        assert replace(one, frame=frame) == asked


def test_films_lit_in_their_first_layer_are_told_by_it(sets: ModuleType) -> None:
    film = {
        "name": "HCP", "kind": "powder", "shape": "sphere", "diameter_nm": 20.0, "spacing_nm": 20.0, "particle": "gold",
        "embedded": False, "incidence_rad": 0.0015, "wavelength_nm": 0.16, "strain": 0.0, "alike": [],
    }  # fmt: skip
    assert sets.alike_of(film) == ("FCC111",)
    assert sets.alike_of(film | {"name": "FCC100"}) == ("BCC100", "Cubic100")
    assert sets.alike_of(film | {"name": "Cubic110"}) == ()
    assert len(sets.alike_of(film | {"name": "Cubic110", "kind": "finite"})) == 6
    # Steep enough, or of what hardly bends light: all layers are lit.
    assert sets.alike_of(film | {"incidence_rad": 0.0075}) == ()
    assert sets.alike_of(film | {"particle": "silica"}) == ()
    assert sets.alike_of(film | {"name": "none", "kind": "grating"}) == ()


def test_pictures_keep_the_order_of_photons_and_nothing_of_their_unit() -> None:
    frames = importlib.import_module("gisaxs_frames")
    photons = np.random.default_rng(0).exponential(300, (3, 20, 20)).astype(np.float32)
    shown = frames.picture(photons)
    assert shown.max((1, 2)).tolist() == [1, 1, 1]
    assert np.allclose(shown * 255, np.round(shown * 255), atol=1e-4)
    order = photons[0].ravel().argsort()
    assert (np.diff(shown[0].ravel()[order]) >= 0).all()
    assert np.array_equal(frames.picture(photons)[1], frames.picture(photons[1]))


def test_gradients_of_a_turned_picture_are_others_and_of_a_brighter_one_the_same() -> None:
    learners = importlib.import_module("gisaxs_learners")
    y, x = np.indices((100, 100))
    stripes = np.sin(x / 3.0)
    plain, brighter, turned = learners.gradients([stripes, 7 * stripes + 2, np.sin(y / 3.0)])
    assert plain.shape == (11 * 11 * 2 * 2 * 9,)
    assert np.allclose(plain, brighter, atol=1e-3)
    assert not np.allclose(plain, turned, atol=0.1)


def test_a_linear_classifier_learns_what_a_line_parts() -> None:
    frames, learners = (importlib.import_module(f"gisaxs_{name}") for name in ("frames", "learners"))
    rng, (y, x) = np.random.default_rng(0), np.indices((100, 100))
    images = np.stack([np.exp(3 + 2 * np.sin((x if n % 2 else y) / rng.uniform(2, 5))) for n in range(16)]).astype(np.float32)
    names = tuple("HCP" if n % 2 else "BCC100" for n in range(16))
    name = learners.linear(frames.Dataset(images[:10], images[:10], names[:10], 0.0), seed=0)
    shown = [frames.frame_of(frames.picture(image), "a", "HCP") for image in images[10:]]
    assert name(shown) == list(names[10:])


def test_frames_to_learn_from_are_handed_on_by_their_files(tmp_path: Path) -> None:
    frames = importlib.import_module("gisaxs_frames")
    photons = np.random.default_rng(0).exponential(9, (40, 50, 50)).astype(np.float32)
    for kind in ("clean", "noisy"):
        np.save(tmp_path / f"{kind}.npy", photons)
    (tmp_path / "names.json").write_text(json.dumps({"names": ["HCP"] * 40, "share": 0.1}))
    held = frames.Photons((frames.Dataset(photons, photons, ("HCP",) * 40, 0.1),))
    handed = [pickle.dumps(learnt) for learnt in (frames.Photons((frames.of_folder(tmp_path),)), held)]
    assert len(handed[0]) < photons.nbytes / 50 < len(handed[1])
    for one in handed:
        there = pickle.loads(one)  # noqa: S301, what was written above
        assert (len(there), there.data[0].share) == (320, 0.1)
        assert np.array_equal(there[9].image, held[9].image)  # the photons are counted alike, too


def test_scenes_of_several_datasets_are_learnt_in_turn() -> None:
    frames = importlib.import_module("gisaxs_frames")
    levels = [np.full((n, 8, 8), 10.0 * k, np.float32) + np.arange(n)[:, None, None] for k, n in ((1, 3), (2, 2))]
    learnt = frames.Photons(tuple(frames.Dataset(x, x, ("HCP", "FCC111", "HCP")[: len(x)], 0.0) for x in levels))
    # Two of each, as many as the smaller one has, eight frames each; those of even numbers without noise.
    clean = [(learnt[number].image[0, 0], learnt[number].truth) for number in range(0, len(learnt), 2)]
    assert clean[::4] == [(10, "HCP"), (20, "HCP"), (11, "FCC111"), (21, "FCC111")]
    assert clean == [one for one in clean[::4] for _ in range(4)]
    assert len({learnt[number].image.tobytes() for number in range(1, 8, 2)}) == 4


def test_the_detector_of_films_puts_the_beam_where_it_says() -> None:
    detector = importlib.import_module("bornagain_detector")
    for turns in range(4):
        picture = detector.Picture((120, 160), 2e-4, 4e-3, 8e-3, 1e4, 0.0, 0.5, False, turns, False, False, True)
        grid = detector.grid_of(picture, mirrored=False)
        alpha, phi = grid.angles()
        # A spot at 5 mrad above the horizon and 6 mrad beside the plane of incidence.
        mean = np.exp(-((alpha[:, None] - 5e-3) ** 2 + (phi[None] - 6e-3) ** 2) / (2 * 4e-4**2))
        image, mask, told = detector.exposed(mean, grid, picture, 3e-3, np.random.default_rng(0))
        place = np.array([(image * axis).sum() / image.sum() for axis in np.indices(image.shape)])
        from_beam = place - told["centre_px"]
        # Turned by 90° against the clock: what was up lies left, what was right lies up.
        up_right = [(-40.0, 30.0), (-30.0, -40.0), (40.0, -30.0), (30.0, 40.0)][turns]
        assert from_beam == pytest.approx(up_right, abs=0.3)
        assert mask.all()
        assert image.shape == ((160, 120) if turns % 2 else (120, 160))


def test_half_a_powder_is_seen_on_both_sides() -> None:
    detector = importlib.import_module("bornagain_detector")
    picture = detector.Picture((100, 200), 1e-4, 0.0, 1e-2, 1e5, 0.0, 0.5, False, 0, False, False, True)
    grid = detector.grid_of(picture, mirrored=True)
    alpha, phi = grid.angles()
    assert phi.min() > 0
    image, _, _ = detector.exposed(np.exp(-phi[None] / 3e-3 - alpha[:, None]), grid, picture, 2e-3, np.random.default_rng(0))
    left, right = image[:, :100][:, ::-1].sum(0), image[:, 100:].sum(0)
    assert np.allclose(left, right, rtol=0.02)
    assert (np.diff(right[:80]) < 0).all()


def test_told_distances_are_counted() -> None:
    study = importlib.import_module("gisaxs_distances")
    every = [study.Told(10.0, 10.1, 0.1), study.Told(10.0, 12.0, 0.2), study.Told(10.0)]
    told, near, within = (row.value for row in study.rows({"films": every}))
    assert (told, near, within) == (pytest.approx(200 / 3), 50, 50)
    assert "| films | 3 | 66.7 %" in study.table({"films": every})
    assert study.rows({"films": []})[1].value is None

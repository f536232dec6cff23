"""The synthetic breasts: outlines, orientation, and lesions at places that agree between views."""

import numpy as np
import pytest

from pipeline.cohorts.phantom import archive_shots
from pipeline.cohorts.phantom_anatomy import draw_shapes, muscle_columns, project, skin_columns
from pipeline.cohorts.phantom_images import Shot, draw_frame, place_in_frame
from pipeline.cohorts.phantom_look import LOOKS
from pipeline.cohorts.phantom_population import Site

ROWS, COLUMNS = 600, 460


def _sites(rng: np.random.Generator, count: int) -> list[Site]:
    places = rng.uniform((0.3, -0.55, -0.55), (0.8, 0.55, 0.5), (count, 3))
    return [Site(float(d), float(x), float(y)) for d, x, y in places]


def _replace_findings(shot: Shot, **changes: object) -> Shot:
    findings = tuple(f._replace(**changes) for f in shot.breast.findings)
    return shot._replace(breast=shot.breast._replace(findings=findings))


@pytest.mark.parametrize("seed", range(20))
def test_outlines_fit_the_frame(seed: int) -> None:
    shapes = draw_shapes(ROWS, COLUMNS, np.random.default_rng(seed))
    row = np.arange(ROWS, dtype=np.float64)
    for view, shape in shapes.items():
        skin, muscle = skin_columns(shape, row), muscle_columns(shape, row)
        assert skin.max() < COLUMNS * 0.95 and skin[-1] == 0
        assert 0.2 * ROWS * COLUMNS < skin.sum() < 0.8 * ROWS * COLUMNS
        assert (muscle <= 0.8 * skin + 1e-9).all()
        assert (skin[0] > 0) == (view != "CC")
        assert (muscle[0] > 0.1 * COLUMNS) == (view == "MLO")
        assert abs(int(skin.argmax()) - shape.centre) < 5


@pytest.mark.parametrize("seed", range(10))
def test_lesions_lie_inside_both_views_at_one_depth(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shapes = draw_shapes(ROWS, COLUMNS, rng)
    for site in _sites(rng, 50):
        places = {view: project(site, shapes, view) for view in ("CC", "MLO")}
        for view, (row, column) in places.items():
            assert 0.2 * column < column < 0.86 * skin_columns(shapes[view], np.array([row]))[0]
        muscle = muscle_columns(shapes["MLO"], np.array([places["MLO"][0]]))[0]
        if muscle < 0.5 * places["CC"][1]:
            assert places["MLO"][1] == pytest.approx(places["CC"][1])


def test_lateral_place_moves_the_lesion_in_cc_and_vertical_place_only_in_mlo() -> None:
    shapes = draw_shapes(ROWS, COLUMNS, np.random.default_rng(3))
    low, high = Site(0.5, 0.1, 0.4), Site(0.5, 0.1, -0.4)
    assert project(low, shapes, "CC")[0] == project(high, shapes, "CC")[0]
    assert project(low, shapes, "MLO")[0] > project(high, shapes, "MLO")[0] + 0.1 * ROWS


@pytest.mark.parametrize("adapter", list(LOOKS))
def test_left_breasts_have_the_chest_wall_on_the_left(adapter: str) -> None:
    for shot in archive_shots(adapter, 4, 2):  # type: ignore[arg-type]
        frame = draw_frame(shot)[60:-60].astype(float)
        left, right = frame[:, 20:60].mean(), frame[:, -60:-20].mean()
        assert (left > right + 200) == (shot.breast.laterality == "L")


@pytest.mark.parametrize("view", ["CC", "MLO"])
def test_a_mass_brightens_the_place_the_map_names_and_only_there(view: str) -> None:
    shots = [s for s in archive_shots("table", 12, 3) if s.view == view and not s.patient.implant]
    for shot in shots[::4]:
        lesion = _replace_findings(shot, decoy=False, contrast=1.0, views=("CC", "MLO"), suspicious=False)
        empty = _replace_findings(shot, contrast=0.0)
        change = draw_frame(lesion).astype(float) - draw_frame(empty).astype(float)
        rows, columns = np.nonzero(change > 120)
        assert len(rows) > 200
        places = np.array([place_in_frame(shot, i) for i in range(len(shot.breast.findings))])
        nearest = np.hypot(rows - places[:, :1], columns - places[:, 1:]).min(0)
        assert nearest.max() < 60


def test_denser_breasts_are_brighter_inside() -> None:
    shot = next(s for s in archive_shots("vindr", 3, 4) if s.view == "CC")
    means = [
        draw_frame(shot._replace(patient=shot.patient._replace(tissue=tissue))).astype(float).mean()
        for tissue in (-1.8, -0.6, 0.6, 1.8)
    ]
    assert means == sorted(means)


def test_both_exams_show_the_same_breast() -> None:
    shots = [s for s in archive_shots("table", 30, 6) if len(s.patient.exams) == 2]
    first, second = (next(s for s in shots if s.exam.number == n and s.view == "CC") for n in (0, 1))
    for index in range(2):
        assert place_in_frame(first, index) == place_in_frame(second, index) or second.breast.cancer

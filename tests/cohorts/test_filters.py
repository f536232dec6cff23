"""Exclusions, sealing and the union over views on a cohort written by hand."""

from pathlib import Path

import pandas as pd
import pytest

from pipeline.cohorts.filters import filter_cohort
from pipeline.cohorts.flow import apply_in_order
from pipeline.errors import InputError
from pipeline.sections import Filter
from pipeline.tables import (
    ANNOTATIONS,
    CATALOG,
    COHORT,
    CROPS,
    EXAM_LABELS,
    FLOW,
    IMAGE_LABELS,
    SEALED,
    read_table,
    write_table,
)

SETTINGS = Filter(validation_fraction=0.25, test_fraction=0.4, exclude_implants=True, age_band_years=10)
# Images of patient `odd`: image_id -> (laterality, view, implant, status at ingest or None for no row).
ODD = {
    "kept": ("L", "CC", None, "ingested"),
    "kept-too": ("L", "CC", False, "ingested"),
    "unmet": ("L", "CC", False, None),
    "rejected": ("L", "CC", False, "rejected"),
    "tomo": ("L", "CC", False, "excluded"),
    "spot": ("L", "CC", False, "excluded"),
    "no-side": (None, "CC", False, "ingested"),
    "no-view": ("L", None, False, "ingested"),
    "lateral": ("L", "ML", False, "ingested"),
    "implant": ("R", "CC", True, "ingested"),
}
REASONS = {"tomo": "tomosynthesis", "spot": "spot_compression: code R-102D7", "rejected": "no_pixels: cut short"}


def row(patient: str, image: str, side: str | None = "L", view: str | None = "CC", **values) -> dict[str, object]:
    exam = f"{patient}-1"
    keys = {"cohort": "c", "patient_id": patient, "exam_id": exam, "exam_day": 0, "image_id": image, "path": "x"}
    place = {"breast_id": f"{exam}-{side}" if side else None, "laterality": side, "view": view, "size_bytes": 1}
    labels = {"mass": False, "malignant": True, "density": "B", "birads": 2, "years_followed": 3.5}
    return {**dict.fromkeys(CATALOG.names), **keys, **place, **labels, **values}


def run(
    folder: Path,
    rows: list[dict[str, object]],
    status: dict[str, str | None],
    settings: Filter = SETTINGS,
    tags: dict[str, tuple[str | None, str | None]] | None = None,
) -> None:
    """Writes catalog and crops, and filters them into folder/{cohort,sealed,annotations}.

    tags: side and view that ingest read from the file, by image.
    """
    images = pd.DataFrame(rows, columns=CATALOG.names).astype({"birads": "Int8", "implant": "boolean"})
    write_table(images, folder / "catalog" / "images.parquet", CATALOG)
    met = [{"image_id": name, "status": status.get(name, "ingested")} for name in images["image_id"]]
    met = [{**outcome, "reason": REASONS.get(outcome["image_id"])} for outcome in met]
    for outcome in met:
        outcome["laterality"], outcome["view"] = (tags or {}).get(outcome["image_id"], (None, None))
    crops = pd.DataFrame([outcome for outcome in met if outcome["status"]], columns=CROPS.names)
    for part in range(2):
        write_table(crops.iloc[part::2], folder / "crops" / f"part-{part:03d}.parquet", CROPS)
    outs = (folder / name for name in ("cohort", "sealed", "annotations"))
    filter_cohort(folder / "catalog", folder / "crops", *outs, settings, seed=1)


def read_all(folder: Path) -> dict[str, pd.DataFrame]:
    names = {
        "images": ("cohort/images", COHORT),
        "flow": ("cohort/flow", FLOW),
        "sealed": ("sealed/labels", SEALED),
        "development": ("annotations/development", ANNOTATIONS),
        "test": ("annotations/test", ANNOTATIONS),
    }
    return {name: read_table(folder / f"{file}.parquet", schema) for name, (file, schema) in names.items()}


def many(patients: int) -> list[dict[str, object]]:
    return [
        row(f"p{number}", f"p{number}-{side}{view}", side, view, mass=number % 2 == 0, years_to_cancer=number / 10)
        for number in range(patients)
        for side in "LR"
        for view in ("CC", "MLO")
    ]


def test_tags_tell_side_and_view_where_the_tables_do_not(tmp_path: Path) -> None:
    rows = [row("p", "silent", None, None), row("p", "told", "L", "CC"), row("p", "half", "R", None)]
    tags = {"silent": ("R", "MLO"), "told": ("R", "MLO"), "half": (None, "CC")}
    run(tmp_path, rows, {}, tags=tags)
    images = read_all(tmp_path)["images"].set_index("image_id")
    found = {name: tuple(images.loc[name, ["laterality", "view", "breast_id"]]) for name in tags}
    assert found == {"silent": ("R", "MLO", "p-1-R"), "told": ("L", "CC", "p-1-L"), "half": ("R", "CC", "p-1-R")}


def test_extra_annotations_are_joined_per_breast(tmp_path: Path) -> None:
    rows = [
        row("p", "a", extra='{"site": "2"}'),
        row("p", "b", view="MLO", extra='{"site": "3", "subtype": "luminal"}'),
        row("p", "c", "R"),
    ]
    run(tmp_path, rows, {})
    found = read_all(tmp_path)
    breasts = pd.concat([found["development"], found["test"]]).set_index("breast_id")["extra"]
    assert breasts["p-1-L"] == '{"site": "2", "subtype": "luminal"}'
    assert pd.isna(breasts["p-1-R"])


def test_each_exclusion_takes_its_image_and_the_flow_counts_it(tmp_path: Path) -> None:
    rows = [row("odd", name, side, view, implant=implant) for name, (side, view, implant, _) in ODD.items()]
    run(
        tmp_path, [*rows, row("other", "unread")], {**{name: odd[3] for name, odd in ODD.items()}, "unread": "rejected"}
    )
    found = read_all(tmp_path)
    assert found["images"]["image_id"].tolist() == ["kept", "kept-too"]
    assert found["flow"].to_dict("list") == {
        "step": [
            "catalogued",
            "met by ingest",
            "readable",
            "not spot_compression",
            "not tomosynthesis",
            "side known",
            "view CC or MLO",
            "no implant",
        ],
        "images": [11, 10, 8, 7, 6, 5, 3, 2],
        "breasts": [3, 3, 2, 2, 2, 2, 2, 1],
        "exams": [2, 2, 1, 1, 1, 1, 1, 1],
        "patients": [2, 2, 1, 1, 1, 1, 1, 1],
    }


def test_implants_stay_where_they_are_not_excluded(tmp_path: Path) -> None:
    rows = [row("odd", name, side, view, implant=implant) for name, (side, view, implant, _) in ODD.items()]
    run(tmp_path, rows, {}, SETTINGS.model_copy(update={"exclude_implants": False}))
    found = read_all(tmp_path)
    assert "implant" in found["images"]["image_id"].tolist()
    assert len(found["flow"]) == 5


def test_flow_ends_with_what_is_left() -> None:
    rows = pd.DataFrame([row(f"p{number}", f"i{number}") for number in range(10)])
    steps = [("even", rows.index % 2 == 0), ("small", rows.index < 5)]
    left, flow = apply_in_order(rows, [(name, pd.Series(keep, rows.index)) for name, keep in steps])
    assert left["image_id"].tolist() == ["i0", "i2", "i4"]
    assert flow["images"].tolist() == flow["patients"].tolist() == [10, 5, 3]


def test_test_labels_are_sealed_and_nowhere_else(tmp_path: Path) -> None:
    run(tmp_path, many(30), {})
    found = read_all(tmp_path)
    images, sealed, labels = found["images"], found["sealed"], [*IMAGE_LABELS, *EXAM_LABELS]
    is_test = images["split"] == "test"
    assert is_test.any() and not is_test.all()
    assert images.loc[is_test, labels].isna().all().all()
    known = [name for name in labels if name != "calcification"]
    assert images.loc[~is_test, known].notna().all().all()
    assert sealed["image_id"].tolist() == images.loc[is_test, "image_id"].tolist()
    assert sealed[known].notna().all().all()
    assert set(sealed["split"]) == {"test"}
    unsealed = pd.DataFrame(many(30)).set_index("image_id")
    assert (sealed["mass"].to_numpy(bool) == unsealed.loc[sealed["image_id"], "mass"].to_numpy(bool)).all()


def test_annotations_hold_every_breast_once_on_its_side_of_the_seal(tmp_path: Path) -> None:
    run(tmp_path, many(30), {})
    found = read_all(tmp_path)
    split_of = found["images"].drop_duplicates("breast_id").set_index("breast_id")["split"]
    assert set(found["development"]["split"]) == {"train", "validation"}
    assert set(found["test"]["split"]) == {"test"}
    both = pd.concat([found["development"], found["test"]])
    assert sorted(both["breast_id"]) == sorted(split_of.index)
    assert (both["split"].to_numpy() == split_of.loc[both["breast_id"]].to_numpy()).all()


def test_breasts_merge_their_views(tmp_path: Path) -> None:
    views = [
        row("p", "a", "L", "CC", mass=True, calcification=None, birads=3, density=None, age_years=49.9, vendor=None),
        row("p", "b", "L", "MLO", mass=None, calcification=None, birads=0, density="A", age_years=49.9, vendor="Acme"),
        row("p", "c", "R", "CC", mass=False, calcification=False, birads=5, density="C", implant=False),
        row("p", "d", "R", "CC", mass=False, calcification=None, birads=None, density="D", implant=None),
    ]
    run(tmp_path, views, {}, SETTINGS.model_copy(update={"test_fraction": 0.0}))
    left, right = read_all(tmp_path)["development"].to_dict("records")
    assert (left["breast_id"], right["breast_id"]) == ("p-1-L", "p-1-R")
    assert (left["views"], right["views"]) == ("CC+MLO", "CC")
    assert left["mass"] is True  # seen once is seen
    assert right["mass"] is False  # all views say no
    assert pd.isna(left["calcification"]) and pd.isna(right["calcification"])  # unknown is not negative
    assert (left["birads"], right["birads"]) == (0, 5)  # 0 (recall) concerns more than 3
    assert (left["density"], right["density"]) == ("A", "D")
    assert left["age_band"] == "40-49" and pd.isna(right["age_band"])
    assert left["vendor"] == "Acme" and pd.isna(right["vendor"])
    assert pd.isna(left["implant"]) and pd.isna(right["implant"])


def test_race_goes_to_the_sealed_labels_and_no_other_output(tmp_path: Path) -> None:
    rows = [row(f"p{number}", f"i{number}", race="Asian" if number % 2 else None) for number in range(12)]
    run(tmp_path, rows, {})
    sealed = read_all(tmp_path)["sealed"].set_index("image_id")["race"]
    assert 0 < sealed.notna().sum() < len(sealed)
    assert all((race == "Asian") if int(image[1:]) % 2 else pd.isna(race) for image, race in sealed.items())
    outs = [file for name in ("cohort", "annotations") for file in (tmp_path / name).glob("*.parquet")]
    assert len(outs) == 4
    assert not any((pd.read_parquet(file).astype(str) == "Asian").any(axis=None) for file in outs)


def test_byte_stable(tmp_path: Path) -> None:
    for name in ("a", "b"):
        run(tmp_path / name, many(12), {})
    files = [file.relative_to(tmp_path / "a") for file in sorted((tmp_path / "a").rglob("*.parquet"))]
    assert len(files) == 8
    assert all((tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes() for file in files)


def test_adding_patients_changes_no_row_of_the_others(tmp_path: Path) -> None:
    run(tmp_path / "a", many(20), {})
    run(tmp_path / "b", many(26), {})
    few, more = (read_all(tmp_path / name)["images"].set_index("image_id") for name in ("a", "b"))
    pd.testing.assert_frame_equal(more.loc[few.index], few)


def test_nothing_left_names_the_step(tmp_path: Path) -> None:
    rows = [row("p", "a", "L", "ML"), row("p", "b", None, "CC")]
    with pytest.raises(InputError, match="step 'view CC or MLO' left none of 1"):
        run(tmp_path, rows, {})


def test_crops_must_exist(tmp_path: Path) -> None:
    write_table(pd.DataFrame([row("p", "a")]), tmp_path / "catalog" / "images.parquet", CATALOG)
    outs = (tmp_path / name for name in ("cohort", "sealed", "annotations"))
    with pytest.raises(ValueError, match="no part-"):
        filter_cohort(tmp_path / "catalog", tmp_path, *outs, SETTINGS, seed=1)

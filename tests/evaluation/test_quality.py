"""The quality page: suspicious images first, every count, nothing that identifies, the same bytes every time."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from ruamel.yaml import YAML

from pipeline.dicom.crop import THUMBNAIL_PX
from pipeline.dicom.store import CODEC, encode_crop
from pipeline.evaluation.quality import check_quality
from pipeline.evaluation.quality_plots import MOST_CLASSES, QUANTITIES, bin_quantity, count_table
from pipeline.evaluation.quality_rows import choose, with_suspicion
from pipeline.tables import COHORT, CROPS, FLOW, PROBLEMS, write_table
from tests.code_deps import ROOT

IMAGES = 30
PROBLEM_ROWS = [
    ["row_without_file", "rows <of> the tables", 2, ["a", "b"]],
    ["row_without_file", "another table", 3, ["c"]],
    ["unknown_value", "column density", 4, ["d"]],
]


def crop_row(number: int, **values: object) -> dict[str, object]:
    """One ingested image; the first two of thirty deserve a look."""
    crop = np.zeros((60, 40), np.uint16)
    crop[10:50, :30] = 20_000 + number
    thumbnail = cv2.imencode(".png", np.full((THUMBNAIL_PX, 64), 90, np.uint8))[1].tobytes()
    return {
        **dict.fromkeys(CROPS.names),
        "image_id": f"i{number:02d}", "patient_id": f"p{number // 2}", "status": "ingested", "crop": encode_crop(crop),
        "codec": CODEC, "height_px": 60, "width_px": 40, "frame_height_px": 960, "frame_width_px": 640,
        "box_top_px": 100, "box_left_px": 0, "box_height_px": 600, "box_width_px": 400, "chest_wall": "left",
        "laterality": "L", "view": "CC", "breast_low": 0.0, "breast_high": 21_000.0, "spacing_mm": 0.07,
        "thumbnail": thumbnail, "voi": "none", "manufacturer": "ge", "photometric": "MONOCHROME2",
        **values,
    }  # fmt: skip


def cohort_row(number: int) -> dict[str, object]:
    """One kept image; a third is in the training split, with a density."""
    split, density = ("test", None) if number % 3 else ("train", "B")
    keys = {"cohort": "c", "patient_id": f"p{number // 2}", "exam_id": "e", "exam_day": 0, "breast_id": "e-L"}
    place = {"image_id": f"i{number:02d}", "laterality": "L", "view": "CC"}
    return dict.fromkeys(COHORT.names) | keys | place | {"split": split, "density": density}


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    rows = [crop_row(n) for n in range(IMAGES)]
    rows[0] |= {"flag": "box_large;laterality_differs"}
    rows[1] |= {"chest_wall": "right"}
    rows.append({**dict.fromkeys(CROPS.names), "image_id": "x", "patient_id": "p", "status": "rejected",
                 "reason": "not_dicom: the file does not begin with a DICOM preamble"})  # fmt: skip
    write_table(pd.DataFrame(rows), tmp_path / "crops" / "part-000.parquet", CROPS)
    images = pd.DataFrame([cohort_row(n) for n in range(IMAGES)])
    write_table(images, tmp_path / "cohort" / "images.parquet", COHORT)
    flow = pd.DataFrame([["catalogued", 31, 16, 16, 16], ["readable", 30, 15, 15, 15]], columns=FLOW.names)
    write_table(flow, tmp_path / "cohort" / "flow.parquet", FLOW)
    problems = pd.DataFrame(PROBLEM_ROWS, columns=PROBLEMS.names)
    write_table(problems, tmp_path / "problems.parquet", PROBLEMS)
    return tmp_path


def run(folders: Path, out: str) -> Path:
    read = (folders / "problems.parquet", folders / "crops", folders / "cohort")
    plots = folders / f"{out}_plots"
    check_quality("mine", *read, folders / out, plots / "histograms", plots / "counts", 1)
    return folders / out


def test_counts_are_those_of_the_tables(folders: Path) -> None:
    counts = json.loads((run(folders, "one") / "quality.json").read_text())
    assert counts["status"] == {"ingested": 30, "rejected": 1}
    assert counts["reason"] == {"not_dicom": 1}
    assert counts["flag"] == {"box_large": 1, "laterality_differs": 1, "unusual_side": 1}
    assert counts["density"] == {"B": 10}, "labels of the test split are not counted"
    assert counts["view"] == {"L CC": 30}


def test_flow_tells_what_never_was_catalogued_and_why_files_were_rejected(folders: Path) -> None:
    page = (run(folders, "one") / "quality.html").read_text()
    flow = page[page.index('<figure class="consort">') :].partition("</figure>")[0]
    assert "<b>Not catalogued</b><ul><li>rows without a file: 5</li></ul>" in flow
    lost = "<span>1 image ·</span> <span>1 exam ·</span> <span>1 patient</span>"
    assert f"<b>Rejected: not readable</b><p>{lost}</p><ul><li>not dicom: 1</li></ul>" in flow
    assert "<b>Train</b><p><span>10 images ·</span>" in flow and "<b>Test</b><p><span>20 images ·</span>" in flow
    assert "4 records have a problem but stay in" in flow


def read_plots(folders: Path, out: str) -> dict[str, pd.DataFrame]:
    run(folders, out)
    plots = folders / f"{out}_plots"
    found = {f"{file.parent.name}/{file.stem}": file for file in plots.rglob("*.csv")}
    return {name: pd.read_csv(file, dtype={"value": str} if "counts" in name else None) for name, file in found.items()}


def test_plots_hold_every_quantity_and_every_count_of_the_page(folders: Path) -> None:
    plots = read_plots(folders, "plots")
    counts = json.loads((run(folders, "one") / "quality.json").read_text())
    assert set(plots) == {f"histograms/{name}" for name in QUANTITIES} | {f"counts/{name}" for name in counts}
    for name, found in counts.items():
        assert dict(plots[f"counts/{name}"].itertuples(index=False, name=None)) == {"unknown": 0} | found, name
    # 600 x 400 of 960 x 640 px; 600 px of 0.07 mm; 21 000 and 0 of 65 535
    for name, middle in {"box_share": 0.375, "box_height_mm": 45.0, "grey_high": 0.33, "grey_low": 0.01}.items():
        (filled,) = plots[f"histograms/{name}"].query("images > 0").to_dict("records")
        assert filled == {"value": middle, "share_percent": 100.0, "images": IMAGES}, name


def test_dvc_draws_columns_that_the_plots_have(folders: Path) -> None:
    plots = read_plots(folders, "plots")
    entries = [entry for entry in YAML(typ="safe").load(ROOT / "dvc.yaml")["plots"] if isinstance(entry, dict)]
    drawn = {Path(path).name: axes for entry in entries for path, axes in entry.items() if "quality_plots" in path}
    assert set(drawn) == {"histograms", "counts"}
    for name, table in plots.items():
        axes = drawn[name.partition("/")[0]]
        assert {axes["x"], axes["y"]} <= set(table.columns), name


def test_plots_of_two_runs_are_the_same_bytes(folders: Path) -> None:
    read_plots(folders, "first")
    read_plots(folders, "second")
    files = sorted((folders / "first_plots").rglob("*.csv"))
    assert len(files) > len(QUANTITIES)
    for file in files:
        assert (
            file.read_bytes() == (folders / "second_plots" / file.relative_to(folders / "first_plots")).read_bytes()
        ), file.name


def test_a_quantity_that_no_image_has_is_not_plotted(folders: Path) -> None:
    rows = pd.DataFrame([crop_row(n, spacing_mm=None) for n in range(3)])
    write_table(rows, folders / "crops" / "part-000.parquet", CROPS)
    plots = read_plots(folders, "plots")
    assert "histograms/box_height_mm" not in plots and "histograms/box_share" in plots
    assert plots["counts/spacing_mm"].to_dict("list") == {"value": ["unknown"], "images": [3]}
    assert (run(folders, "page") / "distributions.png").exists()


def test_bins_are_those_of_the_quantity_whatever_the_values() -> None:
    rows = pd.DataFrame({"box_height_px": [0.0, 10.0, 9.99, 299.0, 5000.0, None], "spacing_mm": 1.0})
    bins = bin_quantity(rows, QUANTITIES["box_height_mm"])
    assert bins["value"].tolist() == [5.0 + 10 * n for n in range(30)]
    assert bins["images"].tolist() == [2, 1, *[0] * 26, 0, 2], "the last holds all beyond"
    assert bins["share_percent"].tolist() == [40.0, 20.0, *[0.0] * 27, 40.0], "of those where it is known"
    border = bin_quantity(pd.DataFrame({"box_share": [0.35]}), QUANTITIES["box_share"])
    assert border.set_index("value")["images"].loc[0.375] == 1


def test_rare_classes_are_counted_together() -> None:
    classes = {f"machine {n:02d}": 100 - n for n in range(MOST_CLASSES + 2)}
    table = count_table(classes)
    assert table["value"].tolist() == sorted([f"machine {n:02d}" for n in range(MOST_CLASSES)] + ["other", "unknown"])
    assert table["images"].sum() == sum(classes.values())
    assert table.set_index("value")["images"].loc[["other", "unknown"]].tolist() == [85 + 84, 0]


def test_a_class_named_other_is_counted_with_the_rare_ones() -> None:
    classes = {f"machine {n:02d}": 100 - n for n in range(MOST_CLASSES)} | {"other": 500}
    table = count_table(classes).set_index("value")["images"]
    assert table.sum() == sum(classes.values())
    assert table["other"] == 500 + 100 - (MOST_CLASSES - 1)


def test_a_cohort_without_any_trouble(tmp_path: Path, folders: Path) -> None:
    clean = pd.DataFrame([crop_row(n) for n in range(3)])
    write_table(clean, folders / "crops" / "part-000.parquet", CROPS)
    write_table(pd.DataFrame(columns=PROBLEMS.names), folders / "problems.parquet", PROBLEMS)
    counts = json.loads((run(folders, "clean") / "quality.json").read_text())
    assert counts["reason"] == counts["flag"] == {} and counts["status"] == {"ingested": 3}
    assert "Nothing: every row has a file" in (folders / "clean" / "quality.html").read_text()


def test_suspicious_images_come_first(folders: Path) -> None:
    page = (run(folders, "one") / "quality.html").read_text()
    places = [page.index(f"i{n:02d}</p>") for n in (0, 1, 2)]
    assert places[0] < places[1] < places[2]
    assert page.count('class="look suspicious"') == 2 and page.count('class="look"') == 28
    assert "laterality_differs" in page and "row_without_file" in page and "rows &lt;of&gt; the tables" in page
    assert page.count("data:image/png;base64,") == 2 * IMAGES + 1, "frames, crops and the histograms"
    assert "http://" not in page and "https://" not in page, "self-contained"


def test_two_runs_give_the_same_bytes(folders: Path) -> None:
    one, two = run(folders, "one"), run(folders, "two")
    for file in one.iterdir():
        assert file.read_bytes() == (two / file.name).read_bytes(), file.name
    assert {file.name for file in one.iterdir()} == {"quality.html", "quality.json", "distributions.png"}


def test_flagged_images_take_at_most_two_thirds_of_the_sheet() -> None:
    rows = pd.DataFrame([crop_row(n, flag="clipped" if n < 25 else None) for n in range(IMAGES)])
    shown = choose(with_suspicion(rows), 12, seed=1)
    assert len(shown) == 12 and (shown["flags"].map(len) > 0).sum() == 8
    assert len(choose(with_suspicion(rows.assign(flag=None)), 12, seed=1)) == 12


def test_a_mirrored_image_is_told_only_where_the_others_agree() -> None:
    rows = pd.DataFrame([crop_row(n, chest_wall="left" if n % 2 else "right") for n in range(IMAGES)])
    assert not with_suspicion(rows)["flags"].map(len).any()

"""The quality page: suspicious images first, every count, nothing that identifies, the same bytes every time."""

import json
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest

from pipeline.dicom.crop import THUMBNAIL_PX
from pipeline.dicom.store import CODEC, encode_crop
from pipeline.evaluation.quality import check_quality, choose, with_suspicion
from pipeline.tables import COHORT, CROPS, FLOW, PROBLEMS, write_table

IMAGES = 30


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
    problems = pd.DataFrame([["row_without_file", "rows <of> the tables", 2, ["a", "b"]]], columns=PROBLEMS.names)
    write_table(problems, tmp_path / "problems.parquet", PROBLEMS)
    return tmp_path


def run(folders: Path, out: str) -> Path:
    check_quality("mine", folders / "problems.parquet", folders / "crops", folders / "cohort", folders / out, 1)
    return folders / out


def test_counts_are_those_of_the_tables(folders: Path) -> None:
    counts = json.loads((run(folders, "one") / "quality.json").read_text())
    assert counts["status"] == {"ingested": 30, "rejected": 1}
    assert counts["reason"] == {"not_dicom": 1}
    assert counts["flag"] == {"box_large": 1, "laterality_differs": 1, "unusual_side": 1}
    assert counts["density"] == {"B": 10}, "labels of the test split are not counted"
    assert counts["view"] == {"L CC": 30}


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
    assert page.count("data:image/png;base64,") == 2 * IMAGES + 2
    assert "http://" not in page and "https://" not in page, "self-contained"


def test_two_runs_give_the_same_bytes(folders: Path) -> None:
    one, two = run(folders, "one"), run(folders, "two")
    for file in one.iterdir():
        assert file.read_bytes() == (two / file.name).read_bytes(), file.name
    assert {file.name for file in one.iterdir()} == {"quality.html", "quality.json", "flow.png", "distributions.png"}


def test_flagged_images_take_at_most_two_thirds_of_the_sheet() -> None:
    rows = pd.DataFrame([crop_row(n, flag="clipped" if n < 25 else None) for n in range(IMAGES)])
    shown = choose(with_suspicion(rows), 12, seed=1)
    assert len(shown) == 12 and (shown["flags"].map(len) > 0).sum() == 8
    assert len(choose(with_suspicion(rows.assign(flag=None)), 12, seed=1)) == 12


def test_a_mirrored_image_is_told_only_where_the_others_agree() -> None:
    rows = pd.DataFrame([crop_row(n, chest_wall="left" if n % 2 else "right") for n in range(IMAGES)])
    assert not with_suspicion(rows)["flags"].map(len).any()

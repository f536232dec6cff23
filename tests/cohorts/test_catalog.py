from pathlib import Path

import pandas as pd
import pytest

from pipeline.cohorts.catalog import catalog
from pipeline.errors import InputError
from pipeline.sections import Archive
from pipeline.tables import CATALOG, read_table

RSNA = Archive(adapter="rsna", root="unused", patients=None, columns={})
HEADER = "patient_id,image_id,laterality,view,age,cancer,BIRADS,implant,density,machine_id\n"


def write_archive(root: Path, images: list[str], present: int) -> Path:
    """RSNA's layout with empty files for the first `present` images."""
    (root / "train_images" / "7").mkdir(parents=True)
    rows = [f"7,{image},{'LR'[index % 2]},CC,50,0,,,,1" for index, image in enumerate(images)]
    (root / "train.csv").write_text(HEADER + "\n".join(rows) + "\n")
    for image in images[:present]:
        (root / "train_images" / "7" / f"{image}.dcm").write_bytes(b"x" * int(image))
    return root


def test_catalog_is_sorted_typed_and_byte_stable(tmp_path: Path) -> None:
    root = write_archive(tmp_path / "raw", ["30", "12", "21"], 3)
    for out in ("a", "b"):
        catalog("demo", RSNA, root, tmp_path / out)
    rows = read_table(tmp_path / "a" / "images.parquet", CATALOG)
    assert rows["image_id"].tolist() == ["12", "21", "30"]
    assert rows["size_bytes"].tolist() == [12, 21, 30]
    assert rows["path"].tolist() == [f"train_images/7/{name}.dcm" for name in ("12", "21", "30")]
    assert set(rows["cohort"]) == {"demo"}
    assert rows["mass"].isna().all()
    assert rows["malignant"].tolist() == [False] * 3
    assert (tmp_path / "a" / "images.parquet").read_bytes() == (tmp_path / "b" / "images.parquet").read_bytes()
    assert str(tmp_path).encode() not in (tmp_path / "a" / "images.parquet").read_bytes()


def test_files_that_are_missing_are_left_out_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = write_archive(tmp_path / "raw", ["1", "2", "3", "4", "5", "6"], 2)
    catalog("demo", RSNA, root, tmp_path / "out")
    assert pd.read_parquet(tmp_path / "out" / "images.parquet")["image_id"].tolist() == ["1", "2"]
    told = capsys.readouterr().err
    assert "4 of 6 files are missing" in told
    assert told.count(".dcm") == 3


def test_no_file_at_all_is_an_error(tmp_path: Path) -> None:
    root = write_archive(tmp_path / "raw", ["1", "2"], 0)
    with pytest.raises(InputError, match=r"none of the 2 files .* train_images/7/1\.dcm.*check that the root"):
        catalog("demo", RSNA, root, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_an_image_named_twice_is_an_error(tmp_path: Path) -> None:
    root = write_archive(tmp_path / "raw", ["1", "2", "1"], 3)
    with pytest.raises(InputError, match="image 1: expected one row per image, found 2"):
        catalog("demo", RSNA, root, tmp_path / "out")


@pytest.mark.parametrize("exists", [True, False])
def test_an_empty_root_is_an_error(tmp_path: Path, exists: bool) -> None:
    if exists:
        (tmp_path / "raw").mkdir()
    with pytest.raises(InputError, match=r"archives\.demo\.root: expected a folder with the dataset, found nothing"):
        catalog("demo", RSNA, tmp_path / "raw", tmp_path / "out")

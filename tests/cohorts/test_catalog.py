"""The canonical tables of an archive: what is in them, what is wrong with the archive, and what never leaves it."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipeline.cohorts.catalog import catalog
from pipeline.cohorts.problems import CURES
from pipeline.dicom.pseudonyms import VARIABLE, readable_path, site_key
from pipeline.errors import InputError
from pipeline.sections import Archive, ProblemKind
from pipeline.tables import CATALOG, FINDINGS, PROBLEMS, read_table

TABLES = {"images.parquet": CATALOG, "findings.parquet": FINDINGS, "problems.parquet": PROBLEMS}
KEY, OTHER_KEY = "ab" * 32, "cd" * 32


def archive(adapter: str, fatal: list[str] | None = None, identifiers: str = "published") -> Archive:
    """A profile's entry."""
    return Archive(
        adapter=adapter, root="unused", patients=None, columns={}, extra=[], identifiers=identifiers, fatal=fatal or []
    )  # fmt: skip


def write_rsna(root: Path, images: list[str], present: int, age: str = "50") -> Path:
    """RSNA's layout with files of as many bytes as their name says for the first `present` images."""
    (root / "train_images" / "7").mkdir(parents=True)
    header = (
        "patient_id,image_id,laterality,view,age,cancer,BIRADS,implant,density,machine_id,site_id,biopsy,invasive\n"
    )
    rows = [f"7,{image},{'LR'[index % 2]},CC,{age},0,,,,1,1,0,0" for index, image in enumerate(images)]
    (root / "train.csv").write_text(header + "\n".join(rows) + "\n")
    for image in images[:present]:
        (root / "train_images" / "7" / f"{image}.dcm").write_bytes(b"x" * int(image))
    return root


def write_vindr(root: Path, breasts: list[list[str]], marked: list[list[str]] | None = None) -> Path:
    """VinDr-Mammo's layout: study, image, split of every image; image and categories of every finding."""
    header = "study_id,image_id,laterality,view_position,breast_birads,breast_density,split\n"
    lines = [f"{study},{image},L,CC,BI-RADS 2,DENSITY B,{split}" for study, image, split in breasts]
    for study, image, _ in breasts:
        file = root / "images" / study / f"{image}.dicom"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"12")
    (root / "breast-level_annotations.csv").write_text(header + "\n".join(lines) + "\n")
    header = "image_id,finding_categories,finding_birads,xmin,ymin,xmax,ymax\n"
    lines = [f"{image},['{kind}'],BI-RADS 4,1,2,11,22" for image, kind in marked or [[breasts[0][1], "Mass"]]]
    (root / "finding_annotations.csv").write_text(header + "\n".join(lines) + "\n")
    (root / "metadata.csv").write_text(f"SOP Instance UID,Patient's Age,Manufacturer\n{breasts[0][1]},050Y,Acme\n")
    return root


def write_table_archive(root: Path, followed: list[str], patient: str = "p", folder: str = "images") -> Path:
    """The plain table: one exam, an image for each value of years_followed."""
    columns = "patient_id,exam_id,exam_date_days,image_path,laterality,view,age,density,birads,mass,calcification,"
    columns += "cancer,implant,vendor,years_to_cancer,years_followed,race\n"
    names = [f"{folder}/{patient}-{number}.dcm" for number in range(len(followed))]
    rows = [f"{patient},1,0,{name},L,CC,,,,,,,,,,{years}," for name, years in zip(names, followed, strict=True)]
    (root / folder).mkdir(parents=True)
    (root / "images.csv").write_text(columns + "\n".join(rows) + "\n")
    for name in names:
        (root / name).write_bytes(b"1")
    return root


def problems_of(out: Path) -> list[list[object]]:
    """Kind, number of records and examples of every problem."""
    rows = read_table(out / "problems.parquet", PROBLEMS)
    return [[row["kind"], row["records"], list(row["examples"])] for _, row in rows.iterrows()]


def test_catalog_is_sorted_typed_and_byte_stable(tmp_path: Path) -> None:
    root = write_rsna(tmp_path / "raw", ["30", "12", "21"], 3)
    for out in ("a", "b"):
        catalog("demo", archive("rsna"), root, tmp_path / out)
    rows = read_table(tmp_path / "a" / "images.parquet", CATALOG)
    assert rows["image_id"].tolist() == ["12", "21", "30"]
    assert rows["size_bytes"].tolist() == [12, 21, 30]
    assert rows["path"].tolist() == [f"train_images/7/{name}.dcm" for name in ("12", "21", "30")]
    assert set(rows["cohort"]) == {"demo"}
    assert rows["mass"].isna().all()
    assert rows["malignant"].tolist() == [False] * 3
    for name, schema in TABLES.items():
        assert len(read_table(tmp_path / "a" / name, schema)) == (3 if schema is CATALOG else 0)
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        assert str(tmp_path).encode() not in (tmp_path / "a" / name).read_bytes()


def test_findings_of_images_without_a_file_are_left_out(tmp_path: Path) -> None:
    root = write_vindr(
        tmp_path / "raw", [["s1", "b", "test"], ["s1", "a", "test"], ["s1", "c", "test"]],
        [["c", "Mass"], ["b", "Mass"], ["a", "Skin Thickening"], ["a", "Mass"]],
    )  # fmt: skip
    (root / "images" / "s1" / "c.dicom").unlink()
    catalog("demo", archive("vindr"), root, tmp_path / "out")
    findings = read_table(tmp_path / "out" / "findings.parquet", FINDINGS)
    assert findings[["image_id", "kind"]].to_numpy().tolist() == [
        ["a", "Mass"], ["a", "Skin Thickening"], ["b", "Mass"],
    ]  # fmt: skip
    assert findings[["top_px", "left_px", "height_px", "width_px"]].to_numpy().tolist() == [[2, 1, 20, 10]] * 3


def missing_files(root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    write_rsna(root, ["1", "2", "3"], 1)
    return "rsna"


def strange_files(root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    write_rsna(root, ["1", "2"], 2)
    (root / "train_images" / "8").mkdir()
    (root / "train_images" / "8" / "9.DCM").write_bytes(b"1")
    (root / "mask.png").write_bytes(b"1")
    (root / "LICENSE.txt").write_bytes(b"1")  # no image: nobody's loss
    return "rsna"


def repeated_images(root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    write_rsna(root, ["1", "2", "1", "1"], 2)
    return "rsna"


def torn_patient(root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    write_vindr(root, [["s1", "a", "training"], ["s1", "b", "test"], ["s2", "c", "training"]])
    return "vindr"


def strange_value(root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    write_rsna(root, ["1", "2"], 2, age="old")
    return "rsna"


def contradicting_rows(root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    write_table_archive(root, ["4.5", "5.5", "6.5"])
    return "table"


def findings_of_no_image(root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    write_vindr(root, [["s1", "a", "test"]], [["a", "Mass"], ["lost", "Mass"]])
    return "vindr"


def locked_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Simulated, since root may read any folder."""
    write_rsna(root, ["1", "2"], 2)
    (root / "locked").mkdir()
    scandir = os.scandir

    def refuse(path: str) -> object:
        if Path(path).name == "locked":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    return "rsna"


# kind -> the archive that has it and nothing else, the number of records, the examples, the images left
TROUBLES: dict[str, tuple[Callable[..., str], int, list[str], list[str]]] = {
    "row_without_file": (missing_files, 2, ["2", "3"], ["1"]),
    "file_without_row": (strange_files, 2, ["mask.png", "train_images/8/9.DCM"], ["1", "2"]),
    "duplicate_image": (repeated_images, 2, ["1", "1"], ["1", "2"]),
    "patient_in_two_splits": (torn_patient, 1, ["s1"], ["a", "b", "c"]),
    "unknown_value": (strange_value, 2, ["line 2: 'old'", "line 3: 'old'"], ["1", "2"]),
    "contradiction": (
        contradicting_rows, 2, ["line 3: '5.5'", "line 4: '6.5'"], ["images-p-0", "images-p-1", "images-p-2"],
    ),
    "row_without_image": (findings_of_no_image, 1, ["line 3: a cell of 4 characters"], ["a"]),
    "unreadable_folder": (locked_folder, 1, ["PermissionError"], ["1", "2"]),
}  # fmt: skip


def test_every_kind_of_problem_is_tried() -> None:
    assert set(TROUBLES) == set(CURES) == set(get_args(ProblemKind))


@pytest.mark.parametrize("kind", TROUBLES)
def test_a_problem_is_counted_with_examples_and_what_to_do(tmp_path: Path, kind, monkeypatch, capsys) -> None:
    trouble, records, examples, left = TROUBLES[kind]
    adapter = trouble(tmp_path / "raw", monkeypatch)
    others = [other for other in TROUBLES if other != kind]
    catalog("demo", archive(adapter, fatal=others), tmp_path / "raw", tmp_path / "out")
    assert problems_of(tmp_path / "out") == [[kind, records, examples]]
    assert read_table(tmp_path / "out" / "images.parquet", CATALOG)["image_id"].tolist() == left
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"demo: {kind}: " in told
    assert f"{records} found ({', '.join(examples)}); {CURES[kind]}" in told


@pytest.mark.parametrize("kind", TROUBLES)
def test_a_problem_stops_the_run_where_the_profile_calls_it_fatal(tmp_path: Path, kind, monkeypatch) -> None:
    adapter = TROUBLES[kind][0](tmp_path / "raw", monkeypatch)
    with pytest.raises(InputError, match=rf"demo: .*\(archives\.demo\.fatal\) was found:\n  {kind}: .*; "):
        catalog("demo", archive(adapter, fatal=[kind]), tmp_path / "raw", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_all_fatal_problems_are_named_at_once(tmp_path: Path) -> None:
    root = write_rsna(tmp_path / "raw", ["1", "2", "3", "1"], 2, age="old")
    (root / "mask.png").write_bytes(b"1")
    fatal = ["duplicate_image", "unknown_value", "row_without_file"]
    with pytest.raises(InputError) as raised:
        catalog("demo", archive("rsna", fatal=fatal), root, tmp_path / "out")
    named = [line.strip().partition(":")[0] for line in str(raised.value).splitlines()[1:]]
    assert sorted(named) == sorted(fatal)
    assert "mask.png" not in str(raised.value)


def test_no_more_than_five_examples_are_told(tmp_path: Path, capsys) -> None:
    root = write_rsna(tmp_path / "raw", [str(number) for number in range(1, 10)], 2)
    catalog("demo", archive("rsna"), root, tmp_path / "out")
    assert problems_of(tmp_path / "out") == [["row_without_file", 7, ["3", "4", "5", "6", "7"]]]
    assert "7 found (3, 4, 5, 6, 7, ...)" in capsys.readouterr().err


def test_no_file_at_all_is_an_error(tmp_path: Path) -> None:
    root = write_rsna(tmp_path / "raw", ["1", "2"], 0)
    with pytest.raises(InputError, match=r"none of the 2 files .* train_images/7/1\.dcm.*check that the root"):
        catalog("demo", archive("rsna"), root, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("exists", [True, False])
def test_an_empty_root_is_an_error(tmp_path: Path, exists: bool) -> None:
    if exists:
        (tmp_path / "raw").mkdir()
    with pytest.raises(InputError, match=r"archives\.demo\.root: expected a folder with the dataset, found nothing"):
        catalog("demo", archive("rsna"), tmp_path / "raw", tmp_path / "out")


def test_a_folder_where_a_file_should_be_is_no_file(tmp_path: Path) -> None:
    root = write_rsna(tmp_path / "raw", ["1", "2"], 1)
    (root / "train_images" / "7" / "2.dcm").mkdir()
    catalog("demo", archive("rsna"), root, tmp_path / "out")
    assert problems_of(tmp_path / "out") == [["row_without_file", 1, ["2"]]]


def test_files_behind_links_are_found_and_loops_end(tmp_path: Path) -> None:
    disk = write_rsna(tmp_path / "disk", ["1", "2"], 2)
    root = tmp_path / "raw"
    root.mkdir()
    os.symlink(disk / "train.csv", root / "train.csv")
    os.symlink(disk / "train_images", root / "train_images")
    os.symlink(disk / "train_images", disk / "train_images" / "7" / "up")
    (disk / "train_images" / "7" / "stranger.dcm").write_bytes(b"1")
    catalog("demo", archive("rsna"), root, tmp_path / "out")
    assert read_table(tmp_path / "out" / "images.parquet", CATALOG)["size_bytes"].tolist() == [1, 2]
    assert problems_of(tmp_path / "out") == [["file_without_row", 1, ["train_images/7/stranger.dcm"]]]


def test_a_patient_in_two_splits_goes_to_test_whole(tmp_path: Path) -> None:
    splits = [["s1", "a", "training"], ["s1", "b", "test"], ["s1", "c", ""], ["s2", "d", "training"]]
    splits += [["s3", "e", "test"], ["s4", "f", "training"], ["s4", "g", ""], ["s5", "h", ""]]
    catalog("demo", archive("vindr"), write_vindr(tmp_path / "raw", splits), tmp_path / "out")
    rows = read_table(tmp_path / "out" / "images.parquet", CATALOG).set_index("image_id")["source_split"]
    assert rows.loc[["a", "b", "c"]].tolist() == ["test"] * 3
    assert rows.loc[["f", "g"]].tolist() == ["test"] * 2  # one image without a split: which is it
    assert rows.loc[["d", "e"]].tolist() == ["train", "test"]
    assert pd.isna(rows["h"])
    assert problems_of(tmp_path / "out") == [["patient_in_two_splits", 2, ["s1", "s4"]]]


# Ids and folders as a hospital writes them: short names without digits are the hardest to keep.
SECRETS = ("Roe", "Jane", "MRN", "4711", "Lost", "Strange", "Visit", "Left", "1958")


EXPECTED_TROUBLE = {
    "vindr": {
        "file_without_row", "row_without_image", "duplicate_image", "patient_in_two_splits", "row_without_file",
    },
    "table": {"file_without_row", "unknown_value", "contradiction", "duplicate_image", "row_without_file"},
}  # fmt: skip


def write_secrets(root: Path, adapter: str) -> Path:
    """An archive with every kind of problem that names a record, each with an id or a path to hide."""
    if adapter == "vindr":
        write_vindr(
            root,
            [["Roe", "Left", "training"], ["Roe", "Jane", "test"], ["MRN4711", "Visit", "test"]],
            [["Left", "Mass"], ["Lost", "Mass"]],
        )
        (root / "images" / "MRN4711" / "Visit.dicom").unlink()
        with (root / "metadata.csv").open("a") as stream:
            stream.write("Left,050Y,Acme\n")
    else:
        write_table_archive(root, ["4.5", "5.5"], patient="Jane-Roe", folder="MRN4711-1958")
        with (root / "images.csv").open("a") as stream:
            stream.write("Jane-Roe,Visit,9,MRN4711-1958/Jane-Roe-1.dcm,L,CC,,,,,,,,,,\n")  # a duplicate
            stream.write("Jane-Roe,Visit,9,MRN4711-1958/Lost.dcm,L,CC,old,,,,,,,,,\n")
    (root / "Strange1958").mkdir()
    (root / "Strange1958" / "Roe.png").write_bytes(b"1")
    return root


def assert_nothing_is_told(out: Path, told: str) -> None:
    """No secret is in a byte of the outputs, in a cell of them once decoded, or in the messages."""
    files = [path for path in out.rglob("*") if path.is_file()]
    assert {path.name for path in files} == set(TABLES)
    decoded = [repr(pq.read_table(path).to_pylist()) for path in files]
    for text in (told, *decoded, *(path.read_bytes().decode("latin-1") for path in files)):
        assert [secret for secret in SECRETS if secret in text] == []


@pytest.mark.parametrize("adapter", ["vindr", "table"])
def test_keyed_identifiers_leave_no_id_and_no_path(tmp_path: Path, adapter, monkeypatch, capfd) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    root = write_secrets(tmp_path / "raw", adapter)
    catalog("demo", archive(adapter, identifiers="keyed"), root, tmp_path / "out")
    told = capfd.readouterr()
    kinds = {kind for kind, _, _ in problems_of(tmp_path / "out")}
    assert kinds == EXPECTED_TROUBLE[adapter]
    assert all(kind in told.err for kind in kinds)
    assert_nothing_is_told(tmp_path / "out", told.out + told.err)
    with pytest.raises(InputError) as raised:
        catalog("demo", archive(adapter, fatal=list(TROUBLES), identifiers="keyed"), root, tmp_path / "none")
    assert_nothing_is_told(tmp_path / "out", str(raised.value))
    for file in [*root.rglob("*.dcm"), *root.rglob("*.dicom")]:
        file.unlink()
    with pytest.raises(InputError, match=r"none of the \d files") as raised:
        catalog("demo", archive(adapter, identifiers="keyed"), root, tmp_path / "none")
    assert_nothing_is_told(tmp_path / "out", str(raised.value))


@pytest.mark.parametrize("identifiers", ["published", "keyed"])
def test_published_identifiers_stay_and_findings_follow_their_images(tmp_path: Path, identifiers, monkeypatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    root = write_vindr(
        tmp_path / "raw", [["s1", "a", "test"], ["s1", "b", "test"], ["s2", "c", "test"]],
        [["a", "Mass"], ["a", "Skin Thickening"], ["c", "Nipple Retraction"]],
    )  # fmt: skip
    catalog("demo", archive("vindr", identifiers=identifiers), root, tmp_path / "out")
    images = read_table(tmp_path / "out" / "images.parquet", CATALOG)
    findings = read_table(tmp_path / "out" / "findings.parquet", FINDINGS)
    kept = identifiers == "published"
    assert (set(images["image_id"]) == {"a", "b", "c"}) is kept
    assert (set(images["patient_id"]) == set(images["exam_id"]) == {"s1", "s2"}) is kept
    key = site_key()
    images["file"] = [readable_path(path, key) for path in images["path"]]
    assert sorted(images["file"]) == ["images/s1/a.dicom", "images/s1/b.dicom", "images/s2/c.dicom"]
    told = findings.merge(images, on="image_id", suffixes=("", "_image"))[["file", "kind"]]
    assert sorted(map(tuple, told.to_numpy())) == [
        ("images/s1/a.dicom", "Mass"), ("images/s1/a.dicom", "Skin Thickening"),
        ("images/s2/c.dicom", "Nipple Retraction"),
    ]  # fmt: skip
    assert images.groupby("patient_id")["file"].count().sort_values().tolist() == [1, 2]
    assert (images["breast_id"] == images["exam_id"] + "-L").all()
    assert images["image_id"].is_monotonic_increasing  # sorted by what is written, not by what it was


def test_the_outputs_name_strange_files_that_the_key_makes_readable(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setenv(VARIABLE, KEY)
    root = write_secrets(tmp_path / "raw", "table")
    catalog("demo", archive("table", identifiers="keyed"), root, tmp_path / "out")
    (path,) = next(examples for kind, _, examples in problems_of(tmp_path / "out") if kind == "file_without_row")
    assert readable_path(path, site_key()) == "Strange1958/Roe.png"
    monkeypatch.setenv(VARIABLE, OTHER_KEY)
    with pytest.raises(InputError, match="encrypted with another key"):
        readable_path(path, site_key())


def test_the_same_key_gives_the_same_catalog_and_another_key_another(tmp_path: Path, monkeypatch) -> None:
    root = write_rsna(tmp_path / "raw", ["1", "2"], 2)
    for out, key in (("a", KEY), ("b", KEY), ("c", OTHER_KEY)):
        monkeypatch.setenv(VARIABLE, key)
        catalog("demo", archive("rsna", identifiers="keyed"), root, tmp_path / out)
    first, second, third = ((tmp_path / out / "images.parquet").read_bytes() for out in "abc")
    assert first == second != third
    ids = [set(read_table(tmp_path / out / "images.parquet", CATALOG)["image_id"]) for out in "ac"]
    assert ids[0].isdisjoint(ids[1])

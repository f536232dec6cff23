"""The split manifest: one line per patient, and no test patient learned from, in this archive or in another."""

import hashlib
from pathlib import Path

import pandas as pd
import pytest

from pipeline.cohorts.manifest import write_manifests
from pipeline.errors import InputError
from pipeline.sections import Archive
from pipeline.tables import COHORT, write_table

SPLITS = {"p1": "train", "p2": "train", "p3": "validation", "p4": "test"}


def archive(adapter: str = "table", identifiers: str = "published") -> Archive:
    return Archive.model_validate(
        {
            "adapter": adapter, "root": "/archive", "patients": None, "columns": {}, "extra": [],
            "identifiers": identifiers, "fatal": [],
        }
    )  # fmt: skip


def write_cohort(folder: Path, name: str, splits: list[tuple[str, str]]) -> None:
    """Two images of every (patient, split)."""
    rows = [
        {"cohort": name, "patient_id": patient, "exam_id": f"{patient}-e", "breast_id": f"{patient}-e-L",
         "image_id": f"{patient}-{split}-{view}", "laterality": "L", "view": view, "exam_day": 0, "split": split}
        for patient, split in splits for view in ("CC", "MLO")
    ]  # fmt: skip
    write_table(pd.DataFrame(rows).reindex(columns=COHORT.names), folder / name / "images.parquet", COHORT)


def test_a_manifest_has_a_line_per_patient_and_no_pseudonym(tmp_path: Path) -> None:
    write_cohort(tmp_path, "own", list(SPLITS.items()))
    write_manifests(tmp_path, ["own"], {"own": archive()}, tmp_path / "splits")
    head, *lines = (tmp_path / "splits/own.csv").read_text().splitlines()
    hashes = {hashlib.sha256(patient.encode()).hexdigest()[:16]: split for patient, split in SPLITS.items()}
    assert head == "patient,split" and lines == sorted(f"{name},{split}" for name, split in hashes.items())


def test_the_manifest_does_not_depend_on_the_order_of_images(tmp_path: Path) -> None:
    for name, splits in (("a", list(SPLITS.items())), ("b", list(SPLITS.items())[::-1])):
        write_cohort(tmp_path, name, splits)
        write_manifests(tmp_path, [name], {name: archive()}, tmp_path / "splits")
    assert (tmp_path / "splits/a.csv").read_bytes() == (tmp_path / "splits/b.csv").read_bytes()


def test_a_patient_in_two_splits_is_refused(tmp_path: Path) -> None:
    write_cohort(tmp_path, "own", [*SPLITS.items(), ("p4", "train")])
    with pytest.raises(InputError, match=r"own: 1 patients are in two splits \(first: p4\)"):
        write_manifests(tmp_path, ["own"], {"own": archive()}, tmp_path / "splits")
    assert not (tmp_path / "splits").exists()


@pytest.mark.parametrize("learned", ["train", "validation"])
@pytest.mark.parametrize(
    ("one", "other"),
    [(archive(identifiers="keyed"), archive("embed", "keyed")), (archive("embed"), archive("embed"))],
    ids=["one key", "one dataset"],
)
def test_a_test_patient_learned_from_in_another_archive_is_refused(
    tmp_path: Path, one: Archive, other: Archive, learned: str
) -> None:
    write_cohort(tmp_path, "pretraining", [("p4", learned), ("p9", "train")])
    write_cohort(tmp_path, "scored", list(SPLITS.items()))
    archives = {"pretraining": one, "scored": other}
    with pytest.raises(InputError, match=r"1 test patients of scored are learned from in pretraining \(first: p4\)"):
        write_manifests(tmp_path, ["scored", "pretraining"], archives, tmp_path / "splits")


@pytest.mark.parametrize(
    ("one", "other"),
    [(archive("embed"), archive("rsna")), (archive(identifiers="keyed"), archive())],
    ids=["two datasets", "one is keyed"],
)
def test_equal_numbers_of_two_datasets_are_two_patients(tmp_path: Path, one: Archive, other: Archive) -> None:
    write_cohort(tmp_path, "pretraining", [("p4", "train"), ("p9", "train")])
    write_cohort(tmp_path, "scored", list(SPLITS.items()))
    archives = {"pretraining": one, "scored": other}
    write_manifests(tmp_path, ["scored", "pretraining"], archives, tmp_path / "splits")
    assert sorted(file.name for file in (tmp_path / "splits").iterdir()) == ["pretraining.csv", "scored.csv"]


def test_a_shared_test_patient_is_no_leak(tmp_path: Path) -> None:
    for name in ("one", "other"):
        write_cohort(tmp_path, name, list(SPLITS.items()))
    archives = {"one": archive(identifiers="keyed"), "other": archive(identifiers="keyed")}
    write_manifests(tmp_path, list(archives), archives, tmp_path / "splits")
    assert (tmp_path / "splits/one.csv").read_bytes() == (tmp_path / "splits/other.csv").read_bytes()

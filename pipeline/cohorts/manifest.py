"""Who is in which split, as a file under version control; and that no test patient was learned from, in any archive."""

import hashlib
from collections.abc import Mapping, Sequence
from itertools import permutations
from pathlib import Path

import pandas as pd

from pipeline.cohorts.splits import patient_splits
from pipeline.errors import InputError
from pipeline.sections import Archive
from pipeline.tables import COHORT, read_table

DIGITS = 16  # of the SHA-256 of a pseudonym: 64 bits tell any patients apart


def write_manifests(cohorts: Path, names: Sequence[str], archives: Mapping[str, Archive], out: Path) -> None:
    """Writes out/<cohort>.csv: one line per patient (hash of the pseudonym) and split, sorted.

    Args:
        cohorts: Folder with one folder of images.parquet (tables.COHORT) per cohort.
        names: The cohorts.
        archives: How each archive names its patients.
        out: Folder to write to; its files belong into version control.

    Raises:
        InputError: a patient is in two splits, or in the test split of one archive and learned from in another whose
            patients are named alike.
    """
    images = {name: read_table(cohorts / name / "images.parquet", COHORT) for name in names}
    splits = {name: patient_splits(rows, f"splits: {name}") for name, rows in images.items()}
    for one, other in permutations(names, 2):
        if named_alike(archives[one], archives[other]):
            refuse_overlap(one, splits[one], other, splits[other])
    out.mkdir(parents=True, exist_ok=True)
    for name, patients in splits.items():
        lines = sorted(f"{hash_patient(str(patient))},{split}" for patient, split in patients.items())
        (out / f"{name}.csv").write_text("\n".join(["patient,split", *lines]) + "\n")


def named_alike(one: Archive, other: Archive) -> bool:
    """Whether equal ids of two archives mean one patient: both keyed by the site, or of one published dataset."""
    if "keyed" in (one.identifiers, other.identifiers):
        return one.identifiers == other.identifiers
    return one.adapter == other.adapter


def refuse_overlap(one: str, learned: pd.Series, other: str, scored: pd.Series) -> None:
    """Stops if a test patient of one cohort is in the training or validation split of another.

    Args:
        one: Cohort that is learned from.
        learned: Its splits by patient.
        other: Cohort that is scored.
        scored: Its splits by patient.

    Raises:
        InputError: there is such a patient.
    """
    both = sorted(set(learned.index[learned != "test"]) & set(scored.index[scored == "test"]))
    if both:
        raise InputError(
            f"splits: {len(both)} test patients of {other} are learned from in {one} (first: {both[0]}); expected none:"
            f" give the archive's table a column of splits that agrees, or leave them out of {one}"
        )


def hash_patient(patient_id: str) -> str:
    """What stands for a patient in a manifest."""
    return hashlib.sha256(patient_id.encode()).hexdigest()[:DIGITS]

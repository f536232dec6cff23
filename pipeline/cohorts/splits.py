"""Splits by patient: a keyed hash of the patient's id decides, so that adding patients moves nobody."""

import hashlib
from typing import Any

import pandas as pd

from pipeline.errors import InputError


def patient_share(patient_id: str, seed: int, purpose: str) -> float:
    """A number in [0, 1) that is uniform over patients and fixed for a patient, seed and purpose.

    Args:
        patient_id: Pseudonym of the patient.
        seed: Another seed deals the patients out anew.
        purpose: Draws for different purposes are independent of each other.

    >>> patient_share("p1", 1, "test") == patient_share("p1", 1, "test") != patient_share("p1", 2, "test")
    True
    """
    digest = hashlib.blake2b(patient_id.encode(), key=f"{seed}:{purpose}".encode(), digest_size=8).digest()
    # 53 bits: every value is a float64 below 1.
    return (int.from_bytes(digest, "big") >> 11) / 2**53


def split_patients(
    patient_id: pd.Series, source_split: pd.Series, test_fraction: float, validation_fraction: float, seed: int
) -> pd.Series:
    """Assigns each row the split of its patient.

    Args:
        patient_id: One pseudonym per row.
        source_split: The dataset's own split per row: train, test, or null where it has none.
        test_fraction: Expected share of the patients in the test split, where the dataset has no split of its own.
        validation_fraction: Expected share of the patients outside the test split who go to validation.
        seed: Seed of the hash.

    Returns:
        train, validation or test per row, with the index of patient_id.

    Raises:
        ValueError: a patient lies in two source splits, or a source split is neither train nor test.
    """
    sources = pd.DataFrame({"patient": patient_id, "source": source_split}).drop_duplicates().set_index("patient")
    wrong = sources[sources.index.duplicated(keep=False) | ~sources["source"].fillna("train").isin(["train", "test"])]
    if not wrong.empty:
        raise ValueError(f"source_split: expected train, test or null, one per patient; found {wrong.head(3)}")
    splits = {
        patient: _split(str(patient), source, test_fraction, validation_fraction, seed)
        for patient, source in sources["source"].items()
    }
    return patient_id.map(splits).astype(pd.StringDtype())


def patient_splits(images: pd.DataFrame, place: str) -> pd.Series:
    """The split of every patient, by patient_id.

    Args:
        images: Columns patient_id and split.
        place: Where they are from, for the message.

    Raises:
        InputError: a patient is in two splits.
    """
    patients = images[["patient_id", "split"]].drop_duplicates().set_index("patient_id")["split"]
    if twice := sorted(set(patients.index[patients.index.duplicated()])):
        raise InputError(f"{place}: {len(twice)} patients are in two splits (first: {twice[0]}); rerun filter")
    return patients


def _split(patient: str, source: Any, test_fraction: float, validation_fraction: float, seed: int) -> str:
    """The split of one patient."""
    drawn = "test" if patient_share(patient, seed, "test") < test_fraction else "train"
    if (drawn if pd.isna(source) else source) == "test":
        return "test"
    return "validation" if patient_share(patient, seed, "validation") < validation_fraction else "train"

"""Fractions are drawn by patient, stratified and nested, and follow the generator."""

import math

import numpy as np
import pandas as pd
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.downstream.fractions import nested_patients

FRACTIONS = [0.1, 0.5, 1.0]


def graded(grades_by_patient: list[list[int]]) -> pd.DataFrame:
    rows = [(f"p{number:03d}", grade) for number, grades in enumerate(grades_by_patient) for grade in grades]
    return pd.DataFrame(rows, columns=["patient_id", "grade"])


PATIENTS = st.lists(st.lists(st.integers(0, 3), min_size=1, max_size=4), min_size=1, max_size=60)


@settings(max_examples=60, deadline=None)
@given(PATIENTS, st.integers(0, 2**31))
def test_fractions_are_nested_stratified_and_complete(patients: list[list[int]], seed: int) -> None:
    images = graded(patients)
    drawn = nested_patients(images, FRACTIONS, np.random.default_rng(seed))
    assert drawn[0.1] <= drawn[0.5] <= drawn[1.0] == set(images["patient_id"])
    highest = images.groupby("patient_id")["grade"].max()
    for fraction in FRACTIONS:
        for grade in set(highest):
            stratum = set(highest.index[highest == grade])
            exact = len(stratum) * round(fraction * 10) / 10
            assert len(drawn[fraction] & stratum) == math.ceil(exact)


def test_whole_patients_are_drawn() -> None:
    drawn = nested_patients(graded([[0, 1], [0, 0], [1, 1], [0, 1]]), [0.5], np.random.default_rng(0))
    assert len(drawn[0.5]) == 3  # two of the three with a positive, one of one without


def test_seeds_decide() -> None:
    images = graded([[number % 2] for number in range(100)])
    first, again, other = (nested_patients(images, [0.1], np.random.default_rng([1, s])) for s in (0, 0, 1))
    assert first == again
    assert first != other


def test_order_of_rows_does_not_matter() -> None:
    images = graded([[number % 2] for number in range(40)])
    shuffled = images.sample(frac=1, random_state=3)
    assert nested_patients(images, [0.1], np.random.default_rng(0)) == nested_patients(
        shuffled, [0.1], np.random.default_rng(0)
    )

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.cohorts.splits import patient_share, split_patients

PATIENTS = st.lists(st.text("abc123-", min_size=1, max_size=6), min_size=1, max_size=40)
SEEDS = st.integers(0, 2**31 - 1)
SHARES = st.floats(0, 1, exclude_max=True)


def split(patients: list[str], sources: list[str | None] | None = None, **changes) -> pd.Series:
    settings = {"test_fraction": 0.4, "validation_fraction": 0.15, "seed": 1, **changes}
    source = pd.Series(sources or [None] * len(patients), dtype="string")
    return split_patients(pd.Series(patients, dtype="string"), source, **settings)


@given(PATIENTS, SEEDS, SHARES, SHARES)
def test_no_patient_lies_in_two_splits(patients: list[str], seed: int, test: float, validation: float) -> None:
    found = split(patients, test_fraction=test, validation_fraction=validation, seed=seed)
    assert found.groupby(pd.Series(patients)).nunique().eq(1).all()
    assert set(found) <= {"train", "validation", "test"}


@given(PATIENTS, PATIENTS, SEEDS)
def test_adding_patients_moves_nobody(patients: list[str], others: list[str], seed: int) -> None:
    alone, together = split(patients, seed=seed), split(others + patients, seed=seed)
    assert together.tolist()[len(others) :] == alone.tolist()


@given(PATIENTS, SEEDS, SHARES)
def test_a_larger_test_fraction_only_adds_test_patients(patients: list[str], seed: int, fraction: float) -> None:
    few, many = (split(patients, seed=seed, test_fraction=share) for share in (fraction / 2, fraction))
    assert (many[few == "test"] == "test").all()


@given(st.text(), SEEDS)
def test_share_is_in_the_unit_interval(patient: str, seed: int) -> None:
    assert 0 <= patient_share(patient, seed, "test") < 1


def test_shares_come_out_as_asked() -> None:
    patients = [f"p{number}" for number in range(20_000)]
    found = split(patients).value_counts(normalize=True)
    # Binomial standard error 0.0035: 4 of them.
    assert found["test"] == pytest.approx(0.4, abs=0.014)
    assert found["validation"] == pytest.approx(0.6 * 0.15, abs=0.014)


def test_another_seed_deals_anew_and_zero_fractions_are_kept() -> None:
    patients = [f"p{number}" for number in range(200)]
    assert (split(patients, seed=1) != split(patients, seed=2)).mean() > 0.3
    assert set(split(patients, test_fraction=0.0, validation_fraction=0.0)) == {"train"}


def test_the_dataset_s_own_test_split_is_kept() -> None:
    patients = [f"p{number}" for number in range(300)]
    sources = ["test" if number % 3 == 0 else "train" for number in range(300)]
    found = split(patients, sources)
    assert ((found == "test") == (pd.Series(sources) == "test")).all()
    assert 0.05 < (found == "validation").mean() < 0.16


@pytest.mark.parametrize(
    ("patients", "sources"),
    [(["a", "a"], ["train", "test"]), (["a", "a"], ["train", None]), (["a"], ["training"])],
)
def test_contradicting_source_splits_are_refused(patients: list[str], sources: list[str | None]) -> None:
    with pytest.raises(ValueError, match="expected train, test or null, one per patient"):
        split(patients, sources)

"""The synthetic patients: ties of age, density, findings, BI-RADS, cancer and follow-up; consistency over exams."""

import pandas as pd
import pytest
from lifelines import CoxPHFitter

from pipeline.cohorts.phantom_population import LAWS, Patient, draw_patients


@pytest.fixture(scope="module")
def patients() -> list[Patient]:
    return draw_patients(LAWS["table"], 3000, 7)


@pytest.fixture(scope="module")
def breasts(patients: list[Patient]) -> pd.DataFrame:
    """One row per breast and exam."""
    rows = []
    for patient in patients:
        for exam in patient.exams:
            for breast in exam.breasts:
                lesions = {f.kind: f for f in breast.findings if not f.decoy}
                rows.append(
                    {
                        "patient": patient.number,
                        "exam": exam.number,
                        "age": patient.age,
                        "density": "ABCD".index(patient.density),
                        "tissue": patient.tissue,
                        "mass": "mass" in lesions,
                        "calcification": "calcification" in lesions,
                        "suspicious": any(f.suspicious for f in lesions.values()),
                        "birads": breast.birads,
                        "cancer": breast.cancer,
                        "years_to_cancer": exam.years_to_cancer,
                        "years_followed": exam.years_followed,
                    }
                )
    return pd.DataFrame(rows).astype({"years_to_cancer": float})


def test_prevalences(breasts: pd.DataFrame) -> None:
    assert 0.18 < breasts["mass"].mean() < 0.30
    assert 0.16 < breasts["calcification"].mean() < 0.28
    assert 0.10 < breasts["cancer"].mean() < 0.16
    shares = breasts["density"].value_counts(normalize=True).sort_index()
    assert shares.round(1).tolist() == [0.1, 0.4, 0.4, 0.1]


def test_older_women_are_less_dense(breasts: pd.DataFrame) -> None:
    assert breasts["age"].corr(breasts["density"]) < -0.3


def test_birads_follows_findings_and_cancer_follows_birads(breasts: pd.DataFrame) -> None:
    none = ~(breasts["mass"] | breasts["calcification"])
    assert set(breasts.loc[none, "birads"]) == {1, 2}
    assert set(breasts.loc[breasts["suspicious"], "birads"]) == {4, 5}
    assert set(breasts.loc[~none & ~breasts["suspicious"], "birads"]) == {2, 3}
    rate = breasts.groupby("birads")["cancer"].mean()
    assert rate[1] == 0 and rate[3] < 0.15 and 0.4 < rate[4] < rate[5]
    assert rate[5] > 0.8


def test_follow_up_is_consistent(breasts: pd.DataFrame) -> None:
    known = breasts["years_to_cancer"].notna()
    assert (breasts.loc[known, "years_to_cancer"] == breasts.loc[known, "years_followed"]).all()
    assert breasts.loc[~known, "years_followed"].min() >= 2
    seen = breasts.groupby(["patient", "exam"]).agg(cancer=("cancer", "any"), years=("years_to_cancer", "first"))
    assert seen.loc[seen["cancer"], "years"].between(0, 0.5).all()
    assert not (seen.loc[~seen["cancer"], "years"] <= 0.5).any()


def test_exams_of_a_patient_tell_one_story(patients: list[Patient]) -> None:
    twice = [p for p in patients if len(p.exams) == 2]
    assert 0.17 < len(twice) / len(patients) < 0.23
    for first, second in (p.exams for p in twice):
        years = (second.day - first.day) / 365.25
        assert first.day == 0 and years > 0.85
        assert first.years_followed - second.years_followed == pytest.approx(years, abs=2e-3)
        assert (first.years_to_cancer is None) == (second.years_to_cancer is None)
        assert not any(b.cancer for b in first.breasts)
        for before, after in zip(first.breasts, second.breasts, strict=True):
            assert after.cancer or before.findings == after.findings


def test_later_cancer_can_be_predicted_from_what_the_image_shows(breasts: pd.DataFrame) -> None:
    exams = breasts.groupby(["patient", "exam"]).agg(
        tissue=("tissue", "first"),
        mass=("mass", "any"),
        calcification=("calcification", "any"),
        years=("years_followed", "first"),
        event=("years_to_cancer", "count"),
    )
    exams = exams[exams["years"] > 0.5].astype(float).assign(event=lambda t: t["event"] > 0)
    model = CoxPHFitter().fit(exams, "years", "event")
    assert 0.68 < model.concordance_index_ < 0.76
    assert (model.params_ > 0.3).all()


def test_a_patient_does_not_depend_on_how_many_there_are(patients: list[Patient]) -> None:
    assert draw_patients(LAWS["table"], 20, 7) == patients[:20]

"""Risk metrics corrected for censoring against scikit-survival and lifelines, and how the report words them.

Cancers come at the middle of a tenth of a year and follow-up ends at full tenths, so that no exam is censored at the
time of a cancer: there scikit-survival's weights are those of the papers (tests/metrics/test_censoring.py).
"""

import re
from html import unescape
from typing import Any

import numpy as np
import pandas as pd
import pytest
from lifelines import KaplanMeierFitter
from sksurv.metrics import brier_score, concordance_index_ipcw, cumulative_dynamic_auc
from sksurv.util import Surv

from pipeline.evaluation.outcomes_html import risk_table
from pipeline.evaluation.risk_scores import risk_calibration_table, score_risk
from pipeline.metrics.bootstrap import resample_counts
from pipeline.sections import Risk, Run

YEARS = range(1, 6)
METRICS = [
    "encoder", "prior_exams",
    "c_index", *(f"auc_{n}y" for n in YEARS),
    "uno_c", *(f"dynamic_auc_{n}y" for n in YEARS), "observed_to_expected", "calibration_5y",
]  # fmt: skip


@pytest.fixture(scope="module")
def settings(run: Run) -> Risk:
    return run.risk.model_copy(update={"horizon_years": 5, "exclude_screen_detected": False})


def drawn_images(split: str, patients: int, rng: np.random.Generator) -> pd.DataFrame:
    """One exam of each patient with one to four images; those with cancer have more, others are followed for less."""
    to_cancer = np.floor(rng.exponential(8, patients) * 10) / 10 + 0.05
    ends = np.round(rng.uniform(0.1, 9, patients), 1)
    seen = to_cancer < ends
    exams = pd.DataFrame(
        {
            "exam_id": [f"{split}-e{i:03}" for i in range(patients)],
            "patient_id": [f"{split}-p{i:03}" for i in range(patients)],
            "split": split,
            "years_to_cancer": np.where(seen, to_cancer, np.nan).astype(np.float32),
            "years_followed": np.where(seen, to_cancer, ends).astype(np.float32),
        }
    )
    return exams.loc[np.repeat(exams.index, np.where(seen, 4, 1))]


@pytest.fixture(scope="module")
def images() -> pd.DataFrame:
    """As the table of the filter stage, but the test split is not sealed."""
    rng = np.random.default_rng(0)
    return pd.concat([drawn_images(*split, rng) for split in (("train", 100), ("validation", 60), ("test", 160))])


def unsealed(images: pd.DataFrame, split: str) -> tuple[np.ndarray, np.ndarray]:
    """Years and events of the exams of a split, as scikit-survival counts them."""
    exams = images[images["split"] == split].drop_duplicates("exam_id")
    events = exams["years_to_cancer"].notna().to_numpy()
    return exams["years_followed"].to_numpy(np.float64), events


def sealed(images: pd.DataFrame) -> pd.DataFrame:
    """The labels of the test split."""
    return images[images["split"] == "test"]


def without_test_labels(images: pd.DataFrame) -> pd.DataFrame:
    """As the filter stage writes it."""
    labels = images[["years_to_cancer", "years_followed"]].where(images["split"] != "test")
    return images.assign(**labels)


def drawn_risks(images: pd.DataFrame) -> pd.DataFrame:
    """Predictions of one method: risks that are higher with cancer and rise with the year, faster in some exams."""
    exams = sealed(images).drop_duplicates("exam_id")
    rng = np.random.default_rng(1)
    logit = rng.normal(size=len(exams)) + exams["years_to_cancer"].notna() - 3
    slope = rng.uniform(0.1, 0.6, len(exams))
    parts = [
        exams[["exam_id"]].assign(horizon_years=n, score=(1 / (1 + np.exp(-logit - slope * n))).astype(np.float32))
        for n in YEARS
    ]
    return pd.concat(parts).assign(task="risk", split="test", method="exam")


@pytest.fixture(scope="module")
def scored(images: pd.DataFrame, settings: Risk) -> dict[str, Any]:
    return score_risk(drawn_risks(images), sealed(images), without_test_labels(images), settings, 100, 0)


def test_censored_metrics_equal_scikit_survival_with_the_development_exams(images, scored) -> None:
    predictions, found = drawn_risks(images), scored["exam"]
    development = images[images["split"] != "test"].assign(split="development")
    train, test = (Surv.from_arrays(e, y) for y, e in (unsealed(development, "development"), unsealed(images, "test")))
    risks = predictions.pivot_table(index="exam_id", columns="horizon_years", values="score").to_numpy(np.float64)
    assert found["uno_c"]["value"] == round(concordance_index_ipcw(train, test, risks[:, 4], 5.0)[0], 4)
    years, events = unsealed(images, "test")
    for year in YEARS:
        entry = found[f"dynamic_auc_{year}y"]
        expected = cumulative_dynamic_auc(train, test, risks[:, year - 1], year)[1]
        assert entry["value"] == pytest.approx(expected, abs=0.51e-4)
        assert entry["events"] == (events & (years <= year)).sum()
        assert entry["n"] == entry["events"] + (years > year).sum()
        assert entry["low"] < entry["value"] < entry["high"]
    assert found["uno_c"]["n"] == 160
    assert found["uno_c"]["events"] == found["dynamic_auc_5y"]["events"]  # no cancer at exactly 5 years


def test_observed_to_expected_is_kaplan_meier_over_the_mean_risk(images, scored) -> None:
    predictions, found = drawn_risks(images), scored["exam"]["observed_to_expected"]
    years, events = unsealed(images, "test")
    mean_risk = predictions.loc[predictions["horizon_years"] == 5, "score"].mean()
    observed = 1 - KaplanMeierFitter().fit(years, events).predict(5)
    assert found["value"] == pytest.approx(observed / mean_risk, abs=0.51e-4)
    assert found["low"] < found["value"] < found["high"]
    assert (found["n"], found["events"]) == (160, (events & (years <= 5)).sum())


def test_brier_equals_scikit_survival_and_is_resampled_by_patient(images, settings) -> None:
    """An exam censored before the horizon counts nothing, the others for it; the calibration error has no interval."""
    predictions = drawn_risks(images)
    pairs = sealed(images).assign(
        patient_id=lambda table: table["patient_id"].str.replace(r"[02468]$", "9", regex=True)
    )
    found = score_risk(predictions, pairs, without_test_labels(images), settings, 100, 0)["exam"]["calibration_5y"]
    exams = pairs.drop_duplicates("exam_id").set_index("exam_id").sort_index()
    years, cancers = exams["years_followed"].to_numpy(np.float64), exams["years_to_cancer"].notna().to_numpy()
    development = images[images["split"] != "test"].assign(split="development")
    train = Surv.from_arrays(*reversed(unsealed(development, "development")))
    last = predictions[predictions["horizon_years"] == 5].set_index("exam_id")["score"].astype(np.float64)
    risks, test = last[exams.index].to_numpy(), Surv.from_arrays(cancers, years)
    before = 4.99  # scikit-survival leaves out who was followed for exactly the horizon, and knows to be free of cancer
    assert found["brier"] == pytest.approx(brier_score(train, test, 1 - risks[:, None], before)[1][0], abs=0.51e-4)

    cases = cancers & (years <= 5)
    weights = ipc_weights_of(train, np.where(cases, years, before)) * (cases | (years >= 5))
    patients, owner = np.unique(exams["patient_id"], return_inverse=True)
    assert len(patients) < len(exams)
    drawn = np.concatenate(list(resample_counts(len(patients), 100, 0)))[:, owner]
    briers = [np.average(weights * (risks - cases) ** 2, weights=times) for times in drawn]
    limits = found["brier_low"], found["brier_high"]
    np.testing.assert_allclose(limits, np.percentile(briers, [2.5, 97.5]), atol=0.51e-4)

    known = np.flatnonzero(weights)
    bins = np.array_split(known[np.argsort(risks[known], kind="stable")], 10)
    gaps = [abs(sum(weights[i] * (risks[i] - cases[i]) for i in members)) for members in bins]
    assert found["ece"] == pytest.approx(sum(gaps) / weights.sum(), abs=0.51e-4)
    assert found["n"] == len(known) < len(exams)


def ipc_weights_of(train: np.ndarray, years: np.ndarray) -> np.ndarray:
    """1 / G, by lifelines: the censorings are its events."""
    free = KaplanMeierFitter().fit(train["time"], ~train["event"])
    return 1 / free.predict(years).to_numpy()


@pytest.mark.parametrize("exams", [7, 160])
def test_without_ten_patients_there_is_no_calibration(images, settings, exams: int) -> None:
    alone = sealed(images).assign(patient_id="p")
    alone = alone[alone["exam_id"].isin(alone["exam_id"].drop_duplicates().iloc[:exams])]
    assert_no_calibration(alone, images, settings)


def test_with_cancers_of_few_patients_there_is_no_calibration(images, settings) -> None:
    exams = sealed(images)
    cases = exams["years_to_cancer"] <= 5
    few = exams[~cases | exams["exam_id"].isin(exams.loc[cases, "exam_id"].unique()[:9])]
    assert few["patient_id"].nunique() > 50
    assert_no_calibration(few, images, settings)


def test_beyond_the_development_follow_up_there_is_no_calibration(images, settings) -> None:
    short = images.assign(years_followed=images["years_followed"].clip(upper=3))
    short["years_to_cancer"] = short["years_to_cancer"].where(short["years_to_cancer"] < 3)
    assert_no_calibration(sealed(images), short, settings)


def assert_no_calibration(labels: pd.DataFrame, images: pd.DataFrame, settings: Risk) -> None:
    predictions = drawn_risks(images)
    predictions = predictions[predictions["exam_id"].isin(labels["exam_id"])]
    found = score_risk(predictions, labels, without_test_labels(images), settings, 100, 0)["exam"]
    assert all(found["calibration_5y"][name] is None for name in ("brier", "brier_low", "brier_high", "ece"))
    assert "Calibration at" not in risk_table({"risk": {"exam": found}, "method": "clip"}, settings, "network")


def test_only_development_exams_tell_the_censoring_each_once(images, scored, settings) -> None:
    predictions, labels = drawn_risks(images), sealed(images)
    once = images.drop_duplicates("exam_id")  # with the labels of the test split, which do not matter
    assert score_risk(predictions, labels, once, settings, 100, 0) == scored
    train = score_risk(predictions, labels, images[images["split"] == "train"], settings, 100, 0)["exam"]
    assert list(train) == METRICS
    changed = {name for name in METRICS if train[name] != scored["exam"][name]}
    assert {"uno_c", "dynamic_auc_5y"} <= changed <= {"uno_c", "calibration_5y", *(f"dynamic_auc_{n}y" for n in YEARS)}


def test_a_cancer_later_than_the_development_follow_up_is_flagged_not_scored(images, settings) -> None:
    short = images.assign(
        years_to_cancer=images["years_to_cancer"].where(images["years_to_cancer"] < 3),
        years_followed=images["years_followed"].clip(upper=3),
    )
    found = score_risk(drawn_risks(images), sealed(images), short, settings, 100, 0)["exam"]
    for name in ("uno_c", "dynamic_auc_4y", "dynamic_auc_5y"):
        assert found[name]["value"] is found[name]["low"] is None
        assert found[name]["flag"] == "a cancer came later than any development exam was followed"
    assert found["dynamic_auc_3y"]["value"] is not None
    assert "flag" not in found["dynamic_auc_3y"]


def test_development_exams_without_follow_up_are_refused(images, settings) -> None:
    predictions, labels = drawn_risks(images), sealed(images)
    with pytest.raises(ValueError, match="needs exams with follow-up, found none"):
        score_risk(predictions, labels, labels, settings, 100, 0)
    screen_detected = images[images["years_to_cancer"] < 0.5]
    assert "exam" in score_risk(predictions, labels, screen_detected, settings, 100, 0)
    strict = settings.model_copy(update={"exclude_screen_detected": True})
    with pytest.raises(ValueError, match="needs exams with follow-up, found none"):
        score_risk(predictions, labels, screen_detected, strict, 100, 0)


def test_the_table_has_uno_beside_harrell_and_words_for_the_others(scored, settings) -> None:
    page = unescape(risk_table({"risk": scored, "method": "clip"}, settings, "network"))
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr.*?</tr>", page)]
    heads, ours = rows[0], next(row for row in rows if "per exam" in row[0])
    assert heads[3:] == ["c-index", "Uno's c", "2-year AUC", "5-year AUC"]
    assert {len(row) for row in rows if len(row) > 1} == {len(heads)}
    exam = scored["exam"]
    for name, cell in zip(("c_index", "uno_c", "auc_2y", "auc_5y"), ours[3:], strict=True):
        assert cell.startswith(f"<b>{exam[name]['value']:.3f}</b><small>{exam[name]['low']:.3f} to ")
        assert cell.endswith(f"<small>n {exam[name]['n']}, cancers {exam[name]['events']}</small>")
    by_year = ", ".join(f"{exam[f'dynamic_auc_{n}y']['value']:.3f}" for n in YEARS)
    assert f"at 1 to 5 years: exam {by_year}." in page
    ratio = exam["observed_to_expected"]
    assert f"validation exams: exam {ratio['value']:.3f} ({ratio['low']:.3f} to {ratio['high']:.3f})." in page
    error = exam["calibration_5y"]
    assert f"calibration error {error['ece']:.3f}. Weights make up for censored exams." in page


@pytest.mark.parametrize("encoder", ["frozen", "finetuned"])
@pytest.mark.parametrize("prior_exams", [True, False])
def test_metrics_and_table_say_which_model_it_was(images, settings, encoder, prior_exams) -> None:
    settings = settings.model_copy(update={"encoder": encoder, "prior_exams": prior_exams})
    predictions = pd.concat([drawn_risks(images), drawn_risks(images).assign(method="view")])
    found = score_risk(predictions, sealed(images), without_test_labels(images), settings, 100, 0)
    assert [(found[m]["encoder"], found[m]["prior_exams"]) for m in ("exam", "view")] == [
        (encoder, prior_exams),
        (encoder, False),  # a view has no exam before it
    ]
    page = unescape(risk_table({"risk": found, "method": "clip"}, settings, "network"))
    priors = "with prior exams where there are any" if prior_exams else "without prior exams"
    of_encoder = {"frozen": "frozen encoder", "finetuned": "fine-tuned encoder"}[encoder]
    assert f"with aggregator, per exam, {priors}, {of_encoder}<" in page
    assert f"without aggregator, mean over views, without prior exams, {of_encoder}<" in page


def test_fifths_of_the_exams_by_predicted_risk_with_their_kaplan_meier(images, settings) -> None:
    predictions = drawn_risks(images)
    found = risk_calibration_table(predictions, sealed(images), settings)
    last = predictions[predictions["horizon_years"] == 5].set_index("exam_id")["score"].astype(np.float64).sort_values()
    exams = sealed(images).drop_duplicates("exam_id").set_index("exam_id").loc[last.index]
    events = exams["years_to_cancer"].notna().to_numpy()
    assert found["method"].tolist() == ["exam"] * 5
    assert found["group"].tolist() == [1, 2, 3, 4, 5]
    for row in found.itertuples():
        own = slice(32 * row.Index, 32 * (row.Index + 1))
        curve = KaplanMeierFitter().fit(exams["years_followed"].iloc[own], events[own])
        assert row.n == 32
        assert row.predicted == pytest.approx(last.iloc[own].mean(), abs=0.51e-4)
        assert row.observed == pytest.approx(1 - curve.predict(5), abs=0.51e-4)


def test_fewer_exams_than_groups_have_no_calibration(images, settings) -> None:
    predictions = drawn_risks(images)
    few = predictions[predictions["exam_id"] < "test-e004"]
    assert risk_calibration_table(few, sealed(images), settings).empty


def test_the_table_shows_a_dash_where_too_few_cancers_support_a_number(images, settings) -> None:
    labels = sealed(images)
    few = labels[labels["years_to_cancer"].isna() | (labels["exam_id"] < "test-e015")]
    predictions = drawn_risks(images)
    found = score_risk(predictions[predictions["exam_id"].isin(few["exam_id"])], few, images, settings, 100, 0)
    assert "10 patients" in found["exam"]["observed_to_expected"]["flag"]
    text = re.sub(r"<[^>]+>", "", risk_table({"risk": found, "method": "clip"}, settings, "network"))
    why = re.escape("n/a (fewer than 10 patients on one side)")
    assert re.search(rf"at 1 to 5 years: exam {', '.join([why] * 5)}\.", text)
    assert re.search(rf"validation exams: exam {why}\.", text)

"""Operating points against scikit-learn on the fake project, calibration against its definition, breasts by hand."""

import re
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit
from sklearn.calibration import calibration_curve
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score, roc_curve

from pipeline.downstream.predictions import scored_splits
from pipeline.evaluation.operating_html import operating_tables
from pipeline.evaluation.operating_points import CALIBRATED, COLUMNS, LINE, RANKED, STATISTICS, operating_points
from pipeline.sections import ENCODERS, Calibration, Run, Task
from pipeline.tables import COHORT, PREDICTIONS
from tests.evaluation.fake_project import grades, write_project

RESAMPLES, SEED = 20, 3
TASK = "calcification_vindr"  # 240 test images of known label: ten bins of 24
KEYS = ["task", "split", "setting", "encoder"]
Tables = dict[str, pd.DataFrame]


class Case(NamedTuple):
    """Arguments of `operating_points`, and what it made of them."""

    predictions: pd.DataFrame
    development: Tables
    labels: Tables
    tasks: dict[str, Task]
    points: pd.DataFrame

    def measure(self, **changed: object) -> pd.DataFrame:
        """The same again with some arguments changed, on one task."""
        arguments = {name: getattr(self, name) for name in self._fields[:3]} | {"tasks": {TASK: self.tasks[TASK]}}
        return _measure(**arguments | changed)


def _measure(
    predictions: pd.DataFrame,
    development: Tables,
    labels: Tables,
    tasks: dict[str, Task],
    calibration: Calibration = "platt",
) -> pd.DataFrame:
    return operating_points(predictions, development, labels, tasks, calibration, RESAMPLES, SEED)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Case:
    run = run.model_copy(update={"probe": run.probe.model_copy(update={"fractions": [0.5, 1.0]})})
    inputs = write_project(tmp_path_factory.mktemp("project"), run)
    development = {cohort: inputs.read_images(cohort) for cohort in run.evaluate.cohorts}
    labels = {cohort: inputs.read_labels(cohort) for cohort in run.evaluate.cohorts}
    predictions = inputs.read_predictions()
    predictions = predictions[predictions["encoder"].isin(ENCODERS)].reset_index(drop=True)
    predictions["score"] += np.random.default_rng(8).normal(0, 1e-4, len(predictions))  # no ties at scikit-learn's bins
    predictions = pd.concat([predictions, _validation(predictions, development, run)], ignore_index=True)
    arguments = (predictions, development, labels, run.tasks)
    return Case(*arguments, _measure(*arguments))


def _validation(predictions: pd.DataFrame, development: Tables, run: Run) -> pd.DataFrame:
    """Scores of the ten validation patients for every setting, task and seed of the probes."""
    rng = np.random.default_rng(9)
    parts = []
    probes = predictions["method"].isin(["lp", "ft"]) & (predictions["split"] == "test")
    for keys, _ in predictions[probes].groupby(["task", "method", "encoder", "fraction", "seed"]):
        task = run.tasks[keys[0]]
        images = development[task.cohort].query("split == 'validation'")
        score = grades(images, task.label) * 0.9 + rng.normal(size=len(images))
        ids = images[["image_id", "breast_id", "exam_id", "patient_id"]]
        names = dict(zip(("task", "method", "encoder", "fraction", "seed"), keys, strict=True))
        parts.append(ids.assign(**names, split="validation", score=score.round(3), horizon_years=0))
    return pd.concat(parts)


def value(points: pd.DataFrame, statistic: str, split: str = "test", setting: str = "lp_100") -> pd.Series:
    """The row of one statistic of TASK's images, pretrained encoder."""
    chosen = points[(points["task"] == TASK) & (points["encoder"] == "pretrained") & (points["unit"] == "image")]
    chosen = chosen[(chosen["split"] == split) & (chosen["setting"] == setting) & (chosen["statistic"] == statistic)]
    assert len(chosen) == 1
    return chosen.iloc[0]


def scores_by_seed(case: Case, split: str, truth: pd.DataFrame) -> list[tuple[np.ndarray, np.ndarray]]:
    """(labels, scores) of each seed of TASK's lp_100, pretrained encoder, in the order of the image ids."""
    rows = case.predictions
    rows = rows[(rows["task"] == TASK) & (rows["split"] == split) & (rows["encoder"] == "pretrained")]
    rows = rows[(rows["method"] == "lp") & np.isclose(rows["fraction"], 1)].sort_values("image_id")
    known = rows.merge(truth[["image_id", "calcification"]], on="image_id")
    assert known["seed"].nunique() == 3
    return [
        (seed["calcification"].to_numpy(bool), seed["score"].to_numpy(np.float64)) for _, seed in known.groupby("seed")
    ]


def platt_by_optimiser(labels: np.ndarray, scores: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """The sigmoid of least cross-entropy with Platt's targets."""
    positives, negatives = labels.sum(), (~labels).sum()
    targets = np.where(labels, (positives + 1) / (positives + 2), 1 / (negatives + 2))

    def loss(line: np.ndarray) -> float:
        logits = line[0] * scores + line[1]
        return float(np.sum(np.logaddexp(0, logits) - targets * logits))

    slope, intercept = minimize(loss, np.zeros(2), method="BFGS", options={"gtol": 1e-9}).x
    return lambda others: expit(slope * others + intercept)


def isotonic_by_definition(labels: np.ndarray, scores: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    """At each score the greatest over its lower bounds of the least mean up to an upper bound; linear in between."""
    steps = np.unique(scores)
    fitted = [
        max(
            min(labels[(scores >= low) & (scores <= high)].mean() for high in steps[steps >= at])
            for low in steps[steps <= at]
        )
        for at in steps
    ]
    return lambda others: np.interp(others, steps, fitted)


REFERENCES = {"platt": platt_by_optimiser, "isotonic": isotonic_by_definition}


def probabilities(
    case: Case, split: str, truth: pd.DataFrame, calibration: Calibration = "platt"
) -> list[tuple[np.ndarray, np.ndarray]]:
    """(labels, probabilities) of each seed, by a map from the validation labels alone."""
    validation = scores_by_seed(case, "validation", case.development["vindr"])
    assert all(len(labels) == 40 for labels, _ in validation)
    maps = [REFERENCES[calibration](labels, scores) for labels, scores in validation]
    return [(y, to_chance(s)) for to_chance, (y, s) in zip(maps, scores_by_seed(case, split, truth), strict=True)]


def test_every_setting_of_every_binary_task_has_every_statistic(case: Case) -> None:
    binary = [name for name, task in case.tasks.items() if task.kind == "binary"]
    assert tuple(case.points.columns) == COLUMNS
    assert list(case.points["task"].unique()) == binary
    expected = {("lp_100", "initial"), ("lp_100", "pretrained"), ("ft_100", "pretrained")}
    zero = {("zero_shot", "pretrained")}
    for name in binary:
        own = case.points[case.points["task"] == name]
        found = own.groupby("split")[["setting", "encoder"]].apply(lambda s: set(s.itertuples(index=False, name=None)))
        assert found["test"] == expected | zero
        for split in set(scored_splits(case.tasks[name])) - {"test"}:
            assert found[split] == expected
    images = case.points[case.points["unit"] == "image"]
    assert (images.groupby(KEYS)["statistic"].agg(tuple) == STATISTICS).all()
    grouped = case.points[case.points["unit"] != "image"].groupby(KEYS)
    of_breasts = ("auc", "average_precision", "sensitivity_at_90", "pf1")
    wanted = [("breast", aggregate, name) for aggregate in ("mean", "max") for name in of_breasts]
    wanted += [("breast", "learned", "auc"), *(("exam", aggregate, "auc") for aggregate in ("mean", "max", "learned"))]
    for _, rows in grouped:
        assert list(rows[["unit", "aggregate", "statistic"]].itertuples(index=False, name=None)) == wanted


@pytest.mark.parametrize(("split", "cohort"), [("test", "vindr"), ("transfer_screening", "screening")])
def test_ranked_statistics_are_scikit_learns_averaged_over_seeds(case: Case, split: str, cohort: str) -> None:
    def at_specificity(labels: np.ndarray, scores: np.ndarray, specificity: float) -> tuple[float, float]:
        alarms, found, thresholds = roc_curve(labels, scores, drop_intermediate=False)
        best = found[alarms <= 1 - specificity + 1e-12].max()
        threshold = thresholds[np.flatnonzero(found >= best)[0]]
        return best, float((scores >= threshold).mean())

    by_seed = scores_by_seed(case, split, case.labels[cohort])
    expected = {
        "auc": [roc_auc_score(y, s) for y, s in by_seed],
        "average_precision": [average_precision_score(y, s) for y, s in by_seed],
        "partial_auc_10": [roc_auc_score(y, s, max_fpr=0.1) for y, s in by_seed],
        "sensitivity_at_90": [at_specificity(y, s, 0.90)[0] for y, s in by_seed],
        "sensitivity_at_95": [at_specificity(y, s, 0.95)[0] for y, s in by_seed],
        "recall_rate_at_90": [at_specificity(y, s, 0.90)[1] for y, s in by_seed],
        "recall_rate_at_95": [at_specificity(y, s, 0.95)[1] for y, s in by_seed],
    }
    assert set(expected) == {"auc", *RANKED}
    for name, seeds in expected.items():
        row = value(case.points, name, split)
        assert row["value"] == pytest.approx(np.mean(seeds), abs=1e-12), name
        assert row["low"] < row["value"] < row["high"]
        assert (row["n"], row["patients"], row["positives"]) == (240, 60, by_seed[0][0].sum())


def f1(labels: np.ndarray, p: np.ndarray) -> float:
    precision, recall = p[labels].sum() / p.sum(), p[labels].sum() / labels.sum()
    return 2 * precision * recall / (precision + recall)


def line(labels: np.ndarray, p: np.ndarray) -> np.ndarray:
    """Slope and intercept of the outcome on the logit, 0 and 1 taken as one in a million."""
    logits = logit(np.clip(p, 1e-6, 1 - 1e-6))[:, None]
    model = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(logits, labels)
    return np.array([model.coef_[0, 0], model.intercept_[0]])


@pytest.mark.parametrize("calibration", ["platt", "isotonic"])
@pytest.mark.parametrize(("split", "cohort"), [("test", "vindr"), ("transfer_screening", "screening")])
def test_probabilities_are_calibrated_on_the_validation_of_the_own_cohort(
    case: Case, split: str, cohort: str, calibration: Calibration
) -> None:
    by_seed = probabilities(case, split, case.labels[cohort], calibration)
    slope, intercept = np.mean([line(y, p) for y, p in by_seed], axis=0)
    expected = {
        "pf1": np.mean([f1(y, p) for y, p in by_seed]),
        "brier": np.mean([brier_score_loss(y, p) for y, p in by_seed]),
        "calibration_slope": slope,
        "calibration_intercept": intercept,
    }
    assert {*expected, "ece"} == {*CALIBRATED, *LINE}
    points = case.points if calibration == "platt" else case.measure(calibration=calibration)
    suffix = "" if calibration == "platt" else "_isotonic"
    for name, mean in expected.items():
        row = value(points, name + suffix, split)
        assert row["value"] == pytest.approx(mean, abs=1e-5), name
        assert row["low"] < row["value"] < row["high"], name


@pytest.mark.parametrize(("split", "cohort"), [("test", "vindr"), ("transfer_screening", "screening")])
def test_the_calibration_error_is_scikit_learns(case: Case, split: str, cohort: str) -> None:
    def error(labels: np.ndarray, p: np.ndarray) -> float:
        observed, predicted = calibration_curve(labels, p, n_bins=10, strategy="quantile")
        assert len(observed) == 10
        return float(np.abs(observed - predicted).mean())

    expected = np.mean([error(y, p) for y, p in probabilities(case, split, case.labels[cohort])])
    found = value(case.points, "ece", split)
    assert found["value"] == pytest.approx(expected, abs=1e-5)
    assert np.isnan(found[["low", "high"]].to_numpy(np.float64)).all()  # an interval would miss the truth


def test_isotonic_probabilities_change_the_names_and_values_of_what_rests_on_them_alone(case: Case) -> None:
    points = case.measure(calibration="isotonic")
    platt = case.points[case.points["task"] == TASK].reset_index(drop=True)
    mapped = platt["statistic"].isin([*CALIBRATED, *LINE])
    assert points[~mapped].equals(platt[~mapped])
    assert (points[mapped]["statistic"] == platt[mapped]["statistic"] + "_isotonic").all()
    page = "".join(operating_tables(points, "isotonic"))
    assert "isotonic regression on validation" in page
    assert "Platt" not in page
    brier = value(points, "brier_isotonic")
    assert f"<b>{brier['value']:.3f}</b><small>{brier['low']:.3f} to {brier['high']:.3f}</small>" in page


def test_intervals_resample_patients_with_all_their_images(case: Case) -> None:
    """A loop that repeats the images of each drawn patient, over the same draws."""
    truth = case.labels["vindr"].sort_values("image_id")
    owner = np.unique(truth["patient_id"].to_numpy(str), return_inverse=True)[1]
    draws = np.random.default_rng(SEED).integers(60, size=(RESAMPLES, 60))
    chosen = [np.concatenate([np.flatnonzero(owner == patient) for patient in draw]) for draw in draws]
    for name, measure, by_seed in (
        ("average_precision", average_precision_score, scores_by_seed(case, "test", truth)),
        ("brier", brier_score_loss, probabilities(case, "test", truth)),
    ):
        drawn = [np.mean([measure(y[images], s[images]) for y, s in by_seed]) for images in chosen]
        row = value(case.points, name)
        assert row[["low", "high"]].tolist() == pytest.approx(np.percentile(drawn, [2.5, 97.5]), abs=1e-5)


def test_other_test_labels_leave_the_probabilities_as_they_are(case: Case) -> None:
    """Brier with all test labels reversed is that of the same probabilities against the reversed labels."""
    turned = case.labels["vindr"].assign(calcification=~case.labels["vindr"]["calcification"])
    points = case.measure(labels=case.labels | {"vindr": turned})
    expected = np.mean([brier_score_loss(y, p) for y, p in probabilities(case, "test", turned)])
    assert value(points, "brier")["value"] == pytest.approx(expected, abs=1e-6)
    assert value(points, "brier")["value"] != pytest.approx(value(case.points, "brier")["value"], abs=0.01)


def test_other_validation_labels_change_the_probabilities_and_no_ranking(case: Case) -> None:
    images = case.development["vindr"]
    points = case.measure(
        development=case.development | {"vindr": images.assign(calcification=~images["calcification"])}
    )
    for name in set(STATISTICS) - {"calibration_intercept"}:  # every logit changes its sign: the same intercept again
        before, after = value(case.points, name)["value"], value(points, name)["value"]
        assert (before == after) == (name in ("auc", *RANKED)), name


def test_without_validation_scores_of_both_classes_there_are_no_probabilities(case: Case) -> None:
    images = case.development["vindr"]
    one_class = case.development | {"vindr": images.assign(calcification=images["calcification"] & False)}
    level = case.predictions.copy()
    level.loc[(level["split"] == "validation") & (level["seed"] == 0), "score"] = 0.5
    for points, setting in (
        (case.points, "zero_shot"),
        (case.measure(development=one_class), "lp_100"),
        (case.measure(predictions=level), "lp_100"),
        (case.measure(predictions=case.predictions.query("split != 'validation'")), "lp_100"),
    ):
        for name in STATISTICS:
            row = value(points, name, setting=setting)
            assert np.isnan(row["value"]) == (name in (*CALIBRATED, *LINE)), (setting, name)


@pytest.mark.parametrize(("positive_patients", "is_given"), [(9, False), (10, True)])
def test_too_few_patients_on_one_side_give_counts_alone(case: Case, positive_patients: int, is_given: bool) -> None:
    labels = case.labels["vindr"]
    some = labels["patient_id"].isin(labels["patient_id"].unique()[:positive_patients])
    few = labels.assign(calcification=(some & (labels["laterality"] == "L")).astype("boolean"))
    points = case.measure(labels=case.labels | {"vindr": few})
    rows = points[(points["task"] == TASK) & (points["split"] == "test")]
    rows = rows[(rows["setting"] == "lp_100") & (rows["encoder"] == "pretrained")]
    assert len(rows) == len(STATISTICS) + 6 + 2 * 3
    is_learned = rows["aggregate"] == "learned"  # the project's ten validation patients are too few for it
    assert (rows["value"].notna() == (is_given & ~is_learned)).all()
    assert (rows[rows["unit"] == "image"]["positives"] == 2 * positive_patients).all()
    assert (rows[rows["unit"] == "exam"]["positives"] == positive_patients).all()


def _patient(number: int, masses: tuple[object, ...], scores: tuple[float, ...]) -> pd.DataFrame:
    """Four images of one exam: L CC, L MLO, R CC, R MLO."""
    name = f"p{number:02d}"
    sides, views = list("LLRR"), ["CC", "MLO"] * 2
    rows = pd.DataFrame({name: [None] * 4 for name in COHORT.names}, dtype=object)
    return rows.assign(
        **{"patient_id": name, "exam_id": f"{name}-e", "breast_id": [f"{name}-{side}" for side in sides]},
        **{"image_id": [f"{name}-{s}-{v}" for s, v in zip(sides, views, strict=True)], "mass": masses},
        **{"score": scores},
    )


def test_breasts_and_exams_by_hand() -> None:
    """Ten patients with a mass left, ten without, one unknown: a row per image L CC, L MLO, R CC, R MLO.

    Breasts, mean: ten positives at 0.5 against ten negatives at 0.2, ten at 0.6 and ten at 0.3: 2 of 3 pairs won.
    Breasts, max: 0.9 against 0.2, 0.6, 0.3: all won. Exams: mean 0.35 against 0.45, none won; max 0.9 against 0.6.
    """
    kinds = [
        *[((True, None, False, False), (0.9, 0.1, 0.2, 0.2))] * 10,
        *[((False, False, False, False), (0.6, 0.6, 0.3, 0.3))] * 10,
        ((False, None, None, None), (1.0, 1.0, 1.0, 1.0)),  # two breasts and an exam that nobody knows
    ]
    images = pd.concat([_patient(number, *kind) for number, kind in enumerate(kinds)], ignore_index=True)
    images = images.astype({"mass": "boolean"})
    task = Task(cohort="here", label="mass", unit="image", kind="binary", score_on=[])
    origin = dict(task="mass_here", method="ft", encoder="pretrained", fraction=1.0, seed=0, split="test")
    predictions = images.assign(**origin, horizon_years=0)[PREDICTIONS.names]
    labels = {"here": images.drop(columns="score")}
    points = _measure(predictions, {"here": labels["here"].assign(split="test")}, labels, {"mass_here": task})
    found = points[points["statistic"] == "auc"].set_index(["unit", "aggregate"])
    assert (found["split"] == "test").all()
    assert found["value"].to_dict() == {
        ("image", "none"): pytest.approx(60 / 61),  # 0.9 against the 61 known negatives, one of them at 1.0
        ("breast", "mean"): pytest.approx(2 / 3),
        ("breast", "max"): 1.0,
        ("breast", "learned"): pytest.approx(np.nan, nan_ok=True),
        ("exam", "mean"): 0.0,
        ("exam", "max"): 1.0,
        ("exam", "learned"): pytest.approx(np.nan, nan_ok=True),
    }
    assert found.loc["breast", ["n", "patients", "positives"]].to_numpy().tolist() == [[40, 20, 10]] * 3
    assert found.loc["exam", ["n", "patients", "positives"]].to_numpy().tolist() == [[20, 20, 10]] * 3


def _printed(row: pd.Series) -> str:
    """A number with its interval, as a cell shows them."""
    return f"<b>{row['value']:.3f}</b><small>{row['low']:.3f} to {row['high']:.3f}</small>"


def test_the_tables_show_every_binary_task_of_the_pretrained_encoder(case: Case) -> None:
    images, breasts, units = operating_tables(case.points, "platt")
    binary = [name for name, task in case.tasks.items() if task.kind == "binary"]
    for page in (images, breasts, units):
        rows = re.findall(r'<tr class="">.*?</tr>', page)
        tasks = [re.findall(r"<code>(\w+)</code>", row)[0] for row in rows]
        assert list(dict.fromkeys(tasks)) == binary
        assert len(rows) == 3 * len(binary)
        columns = page.split("</thead>")[0].rsplit("<tr>", 1)[1].count('scope="col"')
        assert all(len(re.findall("<t[dh]", row)) == columns for row in rows)
        assert re.search("Unit: (image|breast)", page)
    assert "Platt-scaled on validation" in images
    assert re.search(r"recall rate is the share of all\s+images called back", images)
    assert images.count(">n/a<") == 4 * len(binary)  # pF1, Brier, ECE and slope of the zero-shot rows
    assert breasts.count(">n/a<") == 2 * len(binary)  # pF1 of the mean and the maximum of the zero-shot rows
    assert "n/a: fewer than 10 patients on one side, or no validation scores of both classes." in breasts
    assert units.count(">n/a<") == 2 * 3 * len(binary)  # learned of ten validation patients, breast and exam
    assert re.search(r"fitted on validation, n/a\s+where that has fewer than 10 patients", units)
    shown = [
        value(case.points, name, setting="ft_100")
        for name in ("recall_rate_at_90", "recall_rate_at_95", "partial_auc_10")
    ]
    for row in (*shown, value(case.points, "calibration_slope")):
        assert _printed(row) in images
    assert "ECE has no interval" in images.replace("\n", " ")
    of_breast = case.points.query("unit == 'breast' and aggregate == 'max' and statistic == 'pf1'")
    of_breast = of_breast.query("task == @TASK and split == 'test' and setting == 'ft_100'")
    assert _printed(of_breast.iloc[0]) in breasts
    auc = value(case.points, "auc", setting="zero_shot")
    assert _printed(auc) in units


def test_the_lines_that_open_the_tables_name_the_extremes(case: Case) -> None:
    images, breasts, units = (page.split("</summary>")[0] for page in operating_tables(case.points, "platt"))
    assert images.startswith("<details><summary><b>Operating points and calibration.</b> Models: 12. ")
    own = case.points[(case.points["split"] == "test") & (case.points["encoder"] == "pretrained")]
    sensitivities = own[(own["statistic"] == "sensitivity_at_90") & (own["unit"] == "image")]["value"]
    assert re.findall(r"(0\.\d{3}) \(<code>", images) == [f"{sensitivities.agg(end):.3f}" for end in ("min", "max")]
    pf1 = own.query("unit == 'breast' and aggregate == 'mean' and statistic == 'pf1'")["value"]
    assert re.findall(r"(0\.\d{3}) \(<code>", breasts) == [f"{pf1.agg(end):.3f}" for end in ("min", "max")]
    aucs = own[own["statistic"] == "auc"].groupby(["task", "setting"])["value"].agg(["min", "max"])
    widest = aucs.loc[(aucs["max"] - aucs["min"]).idxmax()]
    assert re.findall(r"0\.\d{3}", units) == [f"{widest['max']:.3f}", f"{widest['min']:.3f}"]
    assert f"<code>{widest.name[0]}</code>" in units


def test_models_that_nothing_was_measured_of_have_their_lines_too(case: Case) -> None:
    images, breasts, units = operating_tables(case.points.assign(value=np.nan, low=np.nan, high=np.nan), "platt")
    assert "pF1 by the mean: n/a, fewer than 10 patients on one side, or no validation scores" in breasts
    assert "specificity: n/a, fewer than 10 patients on one side.</summary>" in images
    assert "Largest gap: n/a, fewer than 10 patients on one side.</summary>" in units


def test_without_binary_tasks_there_are_no_points_and_no_tables(case: Case) -> None:
    points = case.measure(tasks={"density_vindr": case.tasks["density_vindr"]})
    assert tuple(points.columns) == COLUMNS
    assert points.empty
    assert operating_tables(points, "platt") == []

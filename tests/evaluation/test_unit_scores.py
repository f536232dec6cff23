"""Scores of breasts and exams: against scikit-learn, on simulated findings, and against planted labels."""

from typing import NamedTuple

import numpy as np
import pandas as pd
import pytest
from sklearn.isotonic import IsotonicRegression
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.evaluation.operating_points import operating_points
from pipeline.evaluation.scored import Scored
from pipeline.evaluation.unit_scores import learned_scores, unit_scores
from pipeline.metrics.delong import delong_interval
from pipeline.sections import Task

TASKS = {"mass_here": Task(cohort="here", label="mass", unit="image", kind="binary", score_on=["there"])}
SEEDS = (0, 1)
RESAMPLES, SEED = 20, 3


class Simulated(NamedTuple):
    """Images of one exam per patient with `split`, `mass` and the scores of both seeds as score_0 and score_1."""

    here: pd.DataFrame
    there: pd.DataFrame

    def units(self, column: str, **changed: dict[str, pd.DataFrame]) -> dict[str, Scored]:
        """`unit_scores` of the test split, by aggregate."""
        return {name: units[0] for name, units in self.all_units(column, **changed).items()}

    def all_units(self, column: str, **changed: dict[str, pd.DataFrame]) -> dict[str, list[Scored]]:
        tables = {"here": self.here, "there": self.there}
        sealed = {cohort: images[images["split"] == "test"] for cohort, images in tables.items()}
        arguments = {"development": _without_test_labels(tables), "labels": sealed} | changed
        return unit_scores(self.predictions(), tasks=TASKS, column=column, **arguments)

    def predictions(self) -> pd.DataFrame:
        """Validation and test of `here`, and the test images of `there` as transfer."""
        transfer = self.there[self.there["split"] == "test"].assign(split="transfer_there")
        keys = dict(task="mass_here", method="lp", encoder="pretrained", fraction=1.0)
        rows = pd.concat([self.here, transfer], ignore_index=True)
        return pd.concat(
            [rows.assign(**keys, seed=seed, score=rows[f"score_{seed}"]) for seed in SEEDS], ignore_index=True
        )


def _without_test_labels(tables: dict[str, pd.DataFrame]) -> dict[str, pd.DataFrame]:
    return {name: rows.assign(mass=rows["mass"].mask(rows["split"] == "test")) for name, rows in tables.items()}


def simulate(kind: str, patients: dict[str, int], seed: int, name: str = "p") -> pd.DataFrame:
    """Half the patients are positive: in `one` image, in both of a `breast`, or a little in `all`."""
    rng = np.random.default_rng(seed)
    split = np.repeat(list(patients), list(patients.values()))
    positive = rng.random(len(split)) < 0.5
    shows = rng.integers(4, size=len(split))[:, None]
    one, breast = np.arange(4) == shows, np.arange(4) // 2 == shows // 2
    signal = positive[:, None] * {"one": 2.0 * one, "all": 0.7 * (one | True), "breast": 1.2 * breast}[kind]
    owner, sides = np.repeat(np.arange(len(split)), 4), np.tile(list("LLRR"), len(split))
    exams = [f"{name}{number:04d}" for number in owner]
    return pd.DataFrame(
        {
            **dict(patient_id=exams, exam_id=exams, breast_id=[f"{e}-{s}" for e, s in zip(exams, sides, strict=True)]),
            **dict(image_id=[f"i{row:05d}{name}" for row in range(len(owner))], split=split[owner]),
            **dict(mass=positive[owner]),
            **{f"score_{s}": (signal + rng.normal(size=signal.shape)).ravel() for s in SEEDS},
        }
    ).astype({"mass": "boolean"})


@pytest.fixture(scope="module")
def project() -> Simulated:
    """120 validation patients, 60 test patients, a third of whose images are missing; 60 patients of another cohort."""
    sizes = {"validation": 120, "test": 60}
    tables = (simulate("one", sizes, 0), simulate("all", sizes, 1, name="q"))
    kept = (rows.sample(frac=2 / 3, random_state=2).sort_values("image_id") for rows in tables)
    return Simulated(*kept)


def summaries(rows: pd.DataFrame, column: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """(mean, max) and label per unit, in the order of the ids."""
    groups = rows.groupby(column)
    scores = groups[f"score_{seed}"]
    return np.stack([scores.mean(), scores.max()], axis=1), groups["mass"].max().to_numpy(bool)


@pytest.mark.parametrize("column", ["breast_id", "exam_id"])
def test_learned_scores_are_scikit_learns_fit_on_validation_with_views_missing(project: Simulated, column: str) -> None:
    assert set(project.here.groupby("exam_id").size()) == {1, 2, 3, 4}
    own, transfer = project.all_units(column)["learned"]
    assert (own.split, transfer.split) == ("test", "transfer_there")
    for unit, images in ((own, project.here), (transfer, project.there)):
        for seed in SEEDS:
            model = make_pipeline(StandardScaler(), LogisticRegression(solver="newton-cg", tol=1e-10))
            model.fit(*summaries(project.here[project.here["split"] == "validation"], column, seed))
            tested, labels = summaries(images[images["split"] == "test"], column, seed)
            np.testing.assert_allclose(unit.scores[seed], model.predict_proba(tested)[:, 1], atol=1e-4)
            np.testing.assert_array_equal(unit.labels, labels)


def test_a_cohort_without_a_known_label_has_no_units(project: Simulated) -> None:
    own, transfer = project.all_units("exam_id")["learned"]
    sealed = {name: rows[rows["split"] == "test"] for name, rows in project._asdict().items()}
    unknown = sealed | {"there": sealed["there"].assign(mass=pd.Series(pd.NA, sealed["there"].index, "boolean"))}
    found = project.all_units("exam_id", labels=unknown)["learned"]
    np.testing.assert_array_equal(found[0].scores, own.scores)
    assert found[1].scores.shape == (len(SEEDS), 0) and transfer.scores.shape[1] > 0


def aucs(kind: str, seed: int) -> dict[str, float]:
    """Mean AUC of exams over both seeds, by aggregate."""
    sizes = {"validation": 400, "test": 4000}
    project = Simulated(simulate(kind, sizes, seed), simulate(kind, {"test": 2}, seed, name="q"))
    units = project.units("exam_id")
    return {name: np.mean([roc_auc_score(u.labels, s) for s in u.scores]) for name, u in units.items()}


@pytest.mark.parametrize("seed", [3, 4, 5])
def test_learned_reaches_what_suits_the_finding_and_passes_both_in_between(seed: int) -> None:
    """0.005 is less than the standard error of an AUC of 4,000 exams."""
    one, every, breast = (aucs(kind, seed) for kind in ("one", "all", "breast"))
    assert one["learned"] > one["max"] - 0.005 > one["mean"] + 0.05
    assert every["learned"] > every["mean"] - 0.005 > every["max"] + 0.05
    assert breast["learned"] > max(breast["mean"], breast["max"])


@pytest.mark.parametrize("column", ["breast_id", "exam_id"])
def test_planted_test_labels_leave_every_score_as_it_is(project: Simulated, column: str) -> None:
    def planted(rows: pd.DataFrame) -> pd.DataFrame:
        return rows.assign(mass=(rows["score_0"] > 0).astype("boolean"))

    sealed = {name: planted(rows[rows["split"] == "test"]) for name, rows in project._asdict().items()}
    before, after = project.units(column), project.units(column, labels=sealed)
    for name in before:
        assert not np.array_equal(before[name].labels, after[name].labels)
        np.testing.assert_array_equal(before[name].scores, after[name].scores)
    known = _without_test_labels({name: planted(rows) for name, rows in project._asdict().items()})
    moved = project.units(column, development=known)
    assert not np.allclose(moved["learned"].scores, before["learned"].scores, atol=0.01)
    np.testing.assert_array_equal(moved["max"].scores, before["max"].scores)


@pytest.mark.parametrize("label", [True, False])
@pytest.mark.parametrize(("patients", "is_given"), [(9, False), (10, True)])
def test_nine_validation_patients_on_one_side_teach_nothing(
    project: Simulated, label: bool, patients: int, is_given: bool
) -> None:
    few = project.here["patient_id"].isin(project.here["patient_id"].unique()[:patients])
    development = {"here": project.here.assign(mass=(few == label).astype("boolean")), "there": project.there}
    units = project.units("exam_id", development=development)
    assert np.isnan(units["learned"].scores).all() == (not is_given)
    assert np.isfinite(units["mean"].scores).all()


def test_the_table_has_delongs_interval_of_the_learned_scores(project: Simulated) -> None:
    tables = project._asdict()
    sealed = {cohort: images[images["split"] == "test"] for cohort, images in tables.items()}
    rows = [project.predictions(), _without_test_labels(tables), sealed, TASKS, "platt", 10, 0]
    found = operating_points(*rows).query("aggregate == 'learned' and split == 'test'").set_index("unit")
    for unit, column in (("breast", "breast_id"), ("exam", "exam_id")):
        learned = project.units(column)["learned"]
        expected = delong_interval(learned.labels, learned.scores, learned.patients)
        assert found.loc[unit, ["value", "low", "high"]].tolist() == list(expected)
        assert found.loc[unit, "n"] == len(learned.labels)


@pytest.fixture(scope="module")
def points(project: Simulated) -> pd.DataFrame:
    """The table's rows of breasts on the test split of `here`, by aggregate and statistic."""
    tables = project._asdict()
    sealed = {cohort: images[images["split"] == "test"] for cohort, images in tables.items()}
    rows = [project.predictions(), _without_test_labels(tables), sealed, TASKS, "isotonic", RESAMPLES, SEED]
    found = operating_points(*rows).query("unit == 'breast' and split == 'test'")
    return found.set_index(["aggregate", "statistic"])[["value", "low", "high"]]


@pytest.mark.parametrize("place", [0, 1])
def test_breasts_are_ranked_as_scikit_learn_says(project: Simulated, points: pd.DataFrame, place: int) -> None:
    tested = project.here[project.here["split"] == "test"]
    precisions, sensitivities = [], []
    for seed in SEEDS:
        scores, labels = summaries(tested, "breast_id", seed)
        precisions.append(average_precision_score(labels, scores[:, place]))
        alarms, found, _ = roc_curve(labels, scores[:, place], drop_intermediate=False)
        sensitivities.append(found[alarms <= 0.1 + 1e-12].max())
    own = points["value"][("mean", "max")[place]]
    assert own["average_precision"] == pytest.approx(np.mean(precisions), abs=1e-12)
    assert own["sensitivity_at_90"] == pytest.approx(np.mean(sensitivities), abs=1e-12)


@pytest.mark.parametrize("place", [0, 1])
def test_pf1_of_breasts_is_that_of_probabilities_from_validation_breasts_with_its_interval_over_patients(
    project: Simulated, points: pd.DataFrame, place: int
) -> None:
    validation, tested = (project.here[project.here["split"] == split] for split in ("validation", "test"))
    breasts = tested.groupby("breast_id")["patient_id"].first()
    names = np.unique(breasts)
    draws = np.random.default_rng(SEED).integers(len(names), size=(RESAMPLES, len(names)))
    chosen = [np.concatenate([np.flatnonzero(breasts == names[one]) for one in draw]) for draw in draws]

    by_seed = []
    for seed in SEEDS:
        known, truth = summaries(validation, "breast_id", seed)
        scores, labels = summaries(tested, "breast_id", seed)
        fitted = IsotonicRegression(out_of_bounds="clip").fit(known[:, place], truth)
        by_seed.append((labels, fitted.predict(scores[:, place])))

    def pf1(rows: np.ndarray) -> float:
        return float(np.mean([2 * p[rows][y[rows]].sum() / (p[rows].sum() + y[rows].sum()) for y, p in by_seed]))

    found = points.loc[(("mean", "max")[place], "pf1_isotonic")]
    assert found["value"] == pytest.approx(pf1(np.arange(len(breasts))), abs=1e-6)
    limits = np.percentile([pf1(rows) for rows in chosen], [2.5, 97.5])
    assert found[["low", "high"]].tolist() == pytest.approx(limits.tolist(), abs=1e-6)


def test_units_of_one_image_keep_its_order() -> None:
    """The mean is the maximum there, so that the weights of the two cannot be told apart."""
    rng = np.random.default_rng(6)
    labels = rng.random(80) < 0.5
    scores = np.repeat((labels + rng.normal(size=80))[:, None], 2, axis=1)
    found = learned_scores(labels, scores, scores[:40])
    np.testing.assert_array_equal(np.argsort(found), np.argsort(scores[:40, 0]))

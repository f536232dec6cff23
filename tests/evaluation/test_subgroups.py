"""AUC by group and the largest gap: against scikit-learn, and against resampling written out."""

import re

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from pipeline.evaluation.subgroups import (
    GAP_COLUMNS,
    SUBGROUP_COLUMNS,
    auc_gap,
    group_units,
    largest_gaps,
    score_subgroups,
)
from pipeline.evaluation.subgroups_html import subgroup_blocks
from pipeline.metrics.bootstrap import resample_counts
from pipeline.sections import Task

TASKS = {"mass_here": Task(cohort="here", label="mass", unit="image", kind="binary", score_on=["there"])}
RESAMPLES, SEED, BAND = 200, 4, 10
Cohort = tuple[pd.DataFrame, dict[str, pd.DataFrame]]


def images(strengths: dict[str, float], patients: int, rng: np.random.Generator) -> pd.DataFrame:
    """Two images per patient and vendor, mass in a third; positives score higher by the vendor's strength."""
    vendors = np.repeat(list(strengths), 2 * patients)
    owner = np.repeat(np.arange(len(strengths) * patients), 2)
    mass = rng.random(len(owner)) < 1 / 3
    score = np.round(mass * np.vectorize(strengths.get)(vendors) + rng.normal(size=len(owner)), 1)
    return pd.DataFrame(
        {
            **dict(image_id=[f"i{i:04d}" for i in range(len(owner))], patient_id=[f"p{i:03d}" for i in owner]),
            **dict(mass=mass, density="B", age_years=55.0, vendor=vendors, race=None, score=score),
        }
    ).astype({"mass": "boolean", "vendor": "string", "density": "string", "race": "string"})


def project(here: pd.DataFrame, there: pd.DataFrame | None = None) -> Cohort:
    """Predictions of two seeds (the second one worse) and sealed labels."""
    noise = np.random.default_rng(9).normal(size=10_000).round(1)
    parts = []
    for split, rows in (("test", here), ("transfer_there", there)):
        for seed in (0, 1) if rows is not None else ():
            keys = dict(task="mass_here", method="lp", encoder="pretrained", fraction=1.0, split=split, seed=seed)
            scores = rows["score"] + seed * noise[: len(rows)]
            parts.append(rows[["image_id", "patient_id"]].assign(**keys, score=scores))
    empty = here.iloc[:0]
    return pd.concat(parts, ignore_index=True), {"here": here, "there": empty if there is None else there}


def scored_rows(cohort: Cohort, split: str = "test") -> pd.DataFrame:
    """Labels with the scores of both seeds beside them, as score_0 and score_1."""
    predictions, labels = cohort
    rows = predictions[predictions["split"] == split]
    wide = rows.pivot(index="image_id", columns="seed", values="score").add_prefix("score_")
    return labels["here" if split == "test" else "there"].merge(wide, on="image_id")


def mean_auc(rows: pd.DataFrame) -> float:
    return float(np.mean([roc_auc_score(rows["mass"].astype(bool), rows[f"score_{seed}"]) for seed in (0, 1)]))


def both(cohort: Cohort, tasks: dict[str, Task] = TASKS) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Subgroups and gaps."""
    groupings = group_units(*cohort, tasks, BAND)
    subgroups = score_subgroups(groupings, RESAMPLES, SEED)
    return subgroups, largest_gaps(subgroups, groupings, RESAMPLES, SEED)


def only(rows: pd.DataFrame, **keys: str) -> pd.Series:
    """The one row with these keys."""
    for name, value in keys.items():
        rows = rows[rows[name] == value]
    assert len(rows) == 1
    return rows.iloc[0]


@pytest.fixture
def shared_patients() -> Cohort:
    """Three vendors; every other patient of the first one has a second exam on another one's machine."""
    rows = images({"X": 2.0, "Y": 0.5, "Z": 1.0}, 30, np.random.default_rng(5))
    first = rows["vendor"] == "X"
    again = rows[first].iloc[::4].assign(vendor="Y", image_id=lambda moved: moved["image_id"] + "-later")
    return project(pd.concat([rows, again], ignore_index=True).astype({"vendor": "string"}))


def test_groups_hold_the_auc_of_their_images(evaluated) -> None:
    predictions = evaluated.inputs.read_predictions()
    labels = {cohort: evaluated.inputs.read_labels(cohort) for cohort in evaluated.run.evaluate.cohorts}
    makers = labels["vindr"]["patient_id"].map(lambda patient: "Maker" if int(patient[-3:]) % 2 else "Other")
    labels["vindr"] = labels["vindr"].assign(vendor=makers.astype("string"))
    found = score_subgroups(group_units(predictions, labels, evaluated.run.tasks, BAND), 100, 0)
    for method in ("lp", "ft"):
        keys = dict(task="mass_vindr", split="test", method=method, encoder="pretrained", fraction=1.0)
        chosen = np.logical_and.reduce([predictions[name] == value for name, value in keys.items()])
        rows = predictions[chosen].merge(labels["vindr"].dropna(subset="mass"), on="image_id", suffixes=("", "_sealed"))
        for vendor, own in rows.groupby("vendor"):
            row = only(found, task="mass_vindr", setting=f"{method}_100", variable="vendor", group=vendor)
            aucs = [roc_auc_score(seed["mass"].astype(bool), seed["score"]) for _, seed in own.groupby("seed")]
            assert row["auc"] == pytest.approx(np.mean(aucs), abs=1e-12)
            assert row["low"] < row["auc"] < row["high"]
            once = own.drop_duplicates("image_id")
            assert (row["n"], row["patients"]) == (len(once), once["patient_id"].nunique())
            assert row["positives"] == once["mass"].sum()


def test_a_group_of_all_images_has_the_interval_of_the_whole_split(evaluated) -> None:
    labels = {cohort: evaluated.inputs.read_labels(cohort) for cohort in evaluated.run.evaluate.cohorts}
    run = evaluated.run
    groupings = group_units(evaluated.inputs.read_predictions(), labels, run.tasks, BAND)
    found = score_subgroups(groupings, run.evaluate.bootstrap, run.seed)
    binary = [name for name, task in run.tasks.items() if task.kind == "binary"]
    assert found["task"].unique().tolist() == binary
    assert set(found["setting"]) == {"lp_100", "ft_100"}
    for name in binary:
        task, metrics = run.tasks[name], evaluated.metrics[name]
        for variable, group, split in (
            ("age_band", "50-59", "test"),
            ("vendor", "Maker", "test"),
            ("cohort", task.cohort, "test"),
            *(("cohort", other, f"transfer_{other}") for other in task.score_on),
        ):
            row = only(found, task=name, setting="lp_100", variable=variable, group=group)
            expected = metrics[split]["lp_100"]["pretrained"]
            for key in ("auc", "low", "high", "n", "patients", "positives"):
                assert round(row[key], 4) == expected[key]
    assert only(found[found["variable"] == "age_band"], task=binary[0], setting="ft_100")["group"] == "50-59"
    assert set(found[found["variable"] == "cohort"]["setting"]) == {"lp_100", "ft_100"}


def test_a_vendor_of_noise_is_named_and_its_interval_excludes_zero() -> None:
    cohort = project(images({"Fine": 2.0, "Good": 2.2, "Noise": 0.0}, 60, np.random.default_rng(0)))
    subgroups, gaps = both(cohort)
    gap = only(gaps, variable="vendor")
    assert gap["lowest"] == "Noise"
    rows = scored_rows(cohort)
    aucs = {vendor: mean_auc(own) for vendor, own in rows.groupby("vendor")}
    assert gap["highest"] == max(aucs, key=aucs.__getitem__)
    assert gap["difference"] == pytest.approx(max(aucs.values()) - aucs["Noise"], abs=1e-12)
    assert 0 < gap["low"] < gap["difference"] < gap["high"]
    assert len(subgroups[subgroups["variable"] == "vendor"]) == 3


def test_races_are_grouped_and_their_gap_is_named_where_any_is_known() -> None:
    rows = images({"Asian": 2.0, "White": 0.3, "Other": 1.0, "none": 1.0}, 40, np.random.default_rng(4))
    rows = rows.assign(race=rows["vendor"].mask(rows["vendor"] == "none"), vendor="One")
    rows.loc[(rows["race"] == "Other") & (rows["patient_id"] > "p088"), "mass"] = False  # nine patients are left
    subgroups, gaps = both(project(rows))
    groups = subgroups[subgroups["variable"] == "race"]
    assert groups["group"].tolist() == ["Asian", "Other", "White", "unknown"]
    assert groups["n"].tolist() == [80] * 4
    assert groups["auc"].isna().tolist() == [False, True, False, False]
    own = scored_rows(project(rows)).groupby("race")
    aucs = {race: mean_auc(own.get_group(race)) for race in ("Asian", "White")}
    gap = only(gaps, variable="race")
    assert (gap["highest"], gap["lowest"]) == ("Asian", "White")
    assert gap["difference"] == pytest.approx(aucs["Asian"] - aucs["White"], abs=1e-12)
    sentence = next(block for block in subgroup_blocks(subgroups, gaps) if "<b>Race.</b>" in block)
    assert f"Asian above White by {gap['difference']:.3f}" in sentence


def test_a_cohort_that_knows_nobody_s_race_has_no_rows_of_race(shared_patients) -> None:
    subgroups, gaps = both(shared_patients)
    assert set(subgroups["variable"]) == {"density", "age_band", "vendor"}
    assert "race" not in set(gaps["variable"])
    assert "Race" not in "".join(subgroup_blocks(subgroups, gaps))


def test_vendors_without_a_difference_have_an_interval_around_zero() -> None:
    gap = only(both(project(images({"One": 1.5, "Two": 1.5}, 60, np.random.default_rng(1))))[1], variable="vendor")
    assert gap["low"] < 0 <= gap["difference"] < gap["high"]


def test_the_gap_equals_resampling_written_out(shared_patients) -> None:
    rows = scored_rows(shared_patients)
    names, owner = np.unique(rows["patient_id"], return_inverse=True)
    both_vendors = rows.groupby("patient_id")["vendor"].nunique() == 2
    assert both_vendors.sum() == 15
    slow = []
    for counts in np.concatenate(list(resample_counts(len(names), 30, SEED))).astype(int):
        drawn = rows.loc[rows.index.repeat(counts[owner])]
        slow.append(mean_auc(drawn[drawn["vendor"] == "X"]) - mean_auc(drawn[drawn["vendor"] == "Y"]))
    units = next(g.units for g in group_units(*shared_patients, TASKS, BAND) if g.variable == "vendor")
    found = auc_gap(units, "X", "Y", 30, SEED)
    aucs = {vendor: mean_auc(own) for vendor, own in rows.groupby("vendor")}
    assert found.value == pytest.approx(aucs["X"] - aucs["Y"], abs=1e-12)
    np.testing.assert_allclose(found[1:], np.percentile(slow, [2.5, 97.5]), atol=1e-12)


def test_patients_of_two_cohorts_are_drawn_apart_even_under_one_name() -> None:
    here = images({"X": 2.0}, 40, np.random.default_rng(6))
    there = images({"X": 0.5}, 40, np.random.default_rng(7))
    same = only(both(project(here, there))[1], variable="cohort")
    other = only(both(project(here, there.assign(patient_id="q" + there["patient_id"])))[1], variable="cohort")
    assert (same["highest"], same["lowest"]) == ("here", "there")
    assert same[["difference", "low", "high"]].tolist() == other[["difference", "low", "high"]].tolist()


def test_a_group_too_small_keeps_its_counts_and_no_gap() -> None:
    rows = images({"Large": 1.0, "Small": 1.0}, 40, np.random.default_rng(2))
    small = np.flatnonzero(rows["vendor"] == "Small")
    rows.loc[small, "mass"] = [True] * 18 + [False] * 62  # both images of 9 patients
    subgroups, gaps = both(project(rows))
    row = only(subgroups, variable="vendor", group="Small")
    assert np.isnan(row[["auc", "low", "high"]].astype(float)).all()
    assert (row["n"], row["patients"], row["positives"]) == (80, 40, 18)
    assert gaps.empty and list(gaps.columns) == GAP_COLUMNS
    rows.loc[small[18], "mass"] = True  # the tenth
    subgroups, gaps = both(project(rows))
    assert only(subgroups, variable="vendor", group="Small")["auc"] > 0
    assert only(gaps, variable="vendor")["difference"] > 0


def test_unknown_values_are_one_group_at_the_end_and_unknown_labels_are_left_out() -> None:
    rows = images({"a": 1.0, "z": 1.0}, 20, np.random.default_rng(3))
    rows["age_years"] = pd.Series(np.repeat([49.9, 50.0, 60.0, np.nan], 20), dtype="Float64")
    rows.loc[:7, "vendor"] = pd.NA
    rows.loc[60:, "density"] = pd.NA
    rows.loc[79, "mass"] = pd.NA
    subgroups, _ = both(project(rows))
    groups = {name: dict(zip(own["group"], own["n"], strict=True)) for name, own in subgroups.groupby("variable")}
    assert groups["age_band"] == {"40-49": 20, "50-59": 20, "60-69": 20, "unknown": 19}
    assert groups["density"] == {"B": 60, "unknown": 19}
    assert list(groups["vendor"].items()) == [("a", 32), ("z", 39), ("unknown", 8)]


def test_groups_of_equal_auc_are_two_different_groups() -> None:
    rows = images({"X": 100.0, "Y": 100.0}, 40, np.random.default_rng(8))
    gap = only(both(project(rows))[1], variable="vendor")
    assert {gap["highest"], gap["lowest"]} == {"X", "Y"}
    assert gap[["difference", "low", "high"]].tolist() == [0, 0, 0]


def test_an_image_outside_the_sealed_split_is_refused(shared_patients) -> None:
    predictions, labels = shared_patients
    with pytest.raises(ValueError, match="scored image_id i0000"):
        group_units(predictions, labels | {"here": labels["here"].iloc[1:]}, TASKS, BAND)


@pytest.mark.parametrize("other", [{"fraction": 0.5}, {"encoder": "initial"}, {"method": "zero_shot"}])
def test_other_models_give_no_rows_and_no_tables(shared_patients, other: dict[str, object]) -> None:
    predictions, labels = shared_patients
    subgroups, gaps = both((predictions.assign(**other), labels))
    assert subgroups.empty and list(subgroups.columns) == SUBGROUP_COLUMNS
    assert len(subgroup_blocks(subgroups, gaps)) == 1


def test_the_page_names_groups_and_gap_in_the_line_that_opens_their_table() -> None:
    rows = images({"<Fine>": 3.0, "Noise": 0.0, "Small": 0.0}, 60, np.random.default_rng(0))
    rows.loc[rows["vendor"] == "Small", "mass"] = False
    cohort = project(rows)
    subgroups, gaps = both(cohort)
    note, density, age, vendor = subgroup_blocks(subgroups, gaps)
    assert "does not account for the choice" in note
    assert "Density.</b> Groups: 1. Largest gap: n/a" in density and "Age in years.</b> Groups: 1." in age
    line, table = re.fullmatch("<details><summary>(.*)</summary>(<figure.*</figure>)</details>", vendor).groups()
    assert line.startswith("<b>Vendor.</b> Groups: 3. Largest gap: ")
    gap = only(gaps, variable="vendor")
    numbers = f"{gap['difference']:.3f} ({gap['low']:.3f} to {gap['high']:.3f})"
    assert f"<code>mass_here</code>, LP 100 %, &lt;Fine&gt; above Noise by {numbers}." in line
    assert table.count("<code>mass_here</code>, LP 100 %") == 1
    noise = only(subgroups, variable="vendor", group="Noise")
    positives = int(rows.loc[rows["vendor"] == "Noise", "mass"].sum())
    row = re.search(r'<th scope="row">Noise</th>(.*?)</tr>', table)[1]
    assert f"<b>{round(noise['auc'], 4):.3f}</b>" in row
    assert row.endswith(f"<td>120</td><td>60</td><td>{positives}</td>")
    unsupported = re.search(r'<th scope="row">Small</th>(.*?)</tr>', table)[1]
    assert "n/a<sup>a</sup></span>" in unsupported and "n/a: fewer than 10 patients on one side." in table
    assert unsupported.endswith("<td>120</td><td>60</td><td>0</td>")


def test_an_interval_below_zero_has_a_proper_minus() -> None:
    cohort = project(images({"One": 1.5, "Two": 1.5}, 60, np.random.default_rng(1)))
    sentence = subgroup_blocks(*both(cohort))[3]
    assert re.search(r"by 0\.\d{3} \(−0\.\d{3} to 0\.\d{3}\)", sentence)

"""AUC within groups of test images (density, age, vendor, race, cohort), and the largest gap between two groups."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from pipeline.cohorts.breasts import age_bands
from pipeline.downstream.predictions import scored_splits
from pipeline.evaluation.scored import Scored, scored_images
from pipeline.metrics.bootstrap import Interval, PatientPairs, auc_interval, auc_pairs, pair_interval
from pipeline.sections import Task

UNKNOWN = "unknown"
KEYS = ["task", "setting", "variable"]
SUBGROUP_COLUMNS = [*KEYS, "group", "auc", "low", "high", "n", "patients", "positives"]
GAP_COLUMNS = [*KEYS, "highest", "lowest", "difference", "low", "high"]


class Grouping(NamedTuple):
    """Test units of one setting, divided by one variable: density, age_band, vendor, race or cohort."""

    task: str
    setting: str
    variable: str
    units: dict[str, Scored]  # by group


def score_subgroups(groupings: Sequence[Grouping], resamples: int, seed: int) -> pd.DataFrame:
    """AUC within every group.

    Args:
        groupings: Of `group_units`.
        resamples: Bootstrap resamples, of the patients of the group.
        seed: Of the bootstrap.

    Returns:
        SUBGROUP_COLUMNS, one row per group; `unknown` holds the images whose value is unknown. auc in [0, 1], low and
        high are NaN where fewer than MIN_PATIENTS patients have a positive, or a negative. n and positives: images.
    """
    rows = [
        {"task": task, "setting": setting, "variable": variable, "group": group, **_measured(unit, resamples, seed)}
        for task, setting, variable, units in groupings
        for group, unit in units.items()
    ]
    return pd.DataFrame(rows, columns=SUBGROUP_COLUMNS)


def largest_gaps(subgroups: pd.DataFrame, groupings: Sequence[Grouping], resamples: int, seed: int) -> pd.DataFrame:
    """The supported groups of largest and smallest AUC, and their difference, per task, setting and variable.

    Patients are drawn from all groups together, and every resample scores both: a patient with images in both groups
    has the same weight in both. The two groups are chosen on the very images that are scored: the difference is the
    largest of several, so it is too large on average, and its interval does not account for the choice.

    Args:
        subgroups: Of `score_subgroups`; the other arguments are those that it had.
        groupings, resamples, seed: As there.

    Returns:
        GAP_COLUMNS, one row wherever two groups are supported. difference: AUC of `highest` minus that of `lowest`, in
        [0, 1]; low, high: its 95 % interval, in [-1, 1].
    """
    supported = subgroups.dropna(subset="auc").sort_values("auc", kind="stable").groupby(KEYS)["group"]
    ranked = {key: groups.tolist() for key, groups in supported if len(groups) > 1}
    rows = []
    for *key, units in groupings:
        if groups := ranked.get(tuple(key)):
            gap = auc_gap(units, groups[-1], groups[0], resamples, seed)
            rows.append([*key, groups[-1], groups[0], *gap])
    return pd.DataFrame(rows, columns=GAP_COLUMNS)


def auc_gap(units: Mapping[str, Scored], first: str, second: str, resamples: int, seed: int) -> Interval:
    """AUC within the first group minus AUC within the second, with an interval over the patients of all groups.

    Args:
        units: By group; a patient may have images in several. Both groups named hold positives and negatives.
        first, second: Groups.
        resamples: Bootstrap resamples; one without a comparable pair in both groups is left out.
        seed: Of the bootstrap.
    """
    everyone = np.unique(np.concatenate([unit.patients for unit in units.values()]))
    # pair_interval takes the mean of both shares: (2 a - 2 b) / 2 is the difference.
    pairs = [_pairs_among(everyone, units[group], factor) for group, factor in ((first, 2), (second, -2))]
    return pair_interval(pairs, len(everyone), resamples, seed)


def group_units(
    predictions: pd.DataFrame, labels: Mapping[str, pd.DataFrame], tasks: Mapping[str, Task], age_band_years: int
) -> list[Grouping]:
    """The pretrained encoder's test units (all training patients), divided, in the order of tasks, variables, groups.

    Density, age band, vendor and race divide the task's own test split; cohort sets it beside the transfer splits.

    Args:
        predictions: Rows of tables.PREDICTIONS; other encoders, methods and splits are ignored.
        labels: Sealed test images (tables.SEALED) by cohort.
        tasks: By name; only binary ones are scored.
        age_band_years: Width of an age band, in years.

    Raises:
        ValueError: predictions and labels disagree, as in `scored_images`.
    """
    chosen = (predictions["encoder"] == "pretrained") & predictions["method"].isin(["lp", "ft"])
    rows = predictions[chosen & (predictions["fraction"] == 1)]
    found: dict[tuple[str, str, str], dict[str, Scored]] = {}
    for name, task in tasks.items():
        if task.kind != "binary":
            continue
        own = rows[rows["task"] == name]
        by_cohort = _cohort_units(own, labels, name, task)
        tested = own[own["split"] == "test"]
        for variable, group_of in image_groups(labels[task.cohort], age_band_years).items():
            of_row = tested["image_id"].map(group_of)
            for group in sorted(of_row.unique(), key=lambda value: (value == UNKNOWN, value)):
                for unit in scored_images(tested[of_row == group], labels, {name: task}):
                    found.setdefault((name, unit.setting, variable), {})[group] = unit
        found |= {(name, setting, "cohort"): units for setting, units in by_cohort.items() if len(units) > 1}
    return [Grouping(*key, units) for key, units in found.items()]


def image_groups(images: pd.DataFrame, age_band_years: int) -> dict[str, pd.Series]:
    """density, age_band, vendor and race of every image, by image_id; `unknown` where the table does not tell.

    A cohort that knows nobody's race has no race.

    Args:
        images: Of one cohort (tables.SEALED).
        age_band_years: Width of an age band, in years.
    """
    ages = age_bands(images["age_years"], age_band_years)
    values = {"density": images["density"], "age_band": ages, "vendor": images["vendor"]}
    if images["race"].notna().any():
        values["race"] = images["race"]
    return {name: value.fillna(UNKNOWN).set_axis(images["image_id"]) for name, value in values.items()}


def _cohort_units(
    rows: pd.DataFrame, labels: Mapping[str, pd.DataFrame], name: str, task: Task
) -> dict[str, dict[str, Scored]]:
    """setting -> cohort -> the whole test or transfer split; patients of two cohorts never share a name."""
    found: dict[str, dict[str, Scored]] = {}
    for unit in scored_images(rows, labels, {name: task}):
        cohort = scored_splits(task)[unit.split]
        patients = np.char.add(f"{cohort}/", unit.patients)
        found.setdefault(unit.setting, {})[cohort] = unit._replace(patients=patients)
    return found


def _measured(unit: Scored, resamples: int, seed: int) -> dict[str, Any]:
    """auc, low, high, n, patients and positives of one group."""
    positive = unit.grades == 1
    interval = auc_interval(positive, unit.scores, unit.patients, resamples, seed)
    counts = {"n": len(positive), "patients": len(np.unique(unit.patients)), "positives": int(positive.sum())}
    return dict(zip(("auc", "low", "high"), interval, strict=True)) | counts


def _pairs_among(everyone: np.ndarray, unit: Scored, factor: float) -> PatientPairs:
    """Pairs of one group counted by all patients (sorted names), those outside it with none; won times factor."""
    own = auc_pairs(unit.grades == 1, unit.scores, unit.patients)
    columns = np.searchsorted(everyone, np.unique(unit.patients))
    won, compared = np.zeros((2, len(own.rows), len(everyone)))
    won[:, columns], compared[:, columns] = factor * own.won, own.compared
    return PatientPairs(won, compared, columns[own.rows])

"""Rows of the table that `compare` prints: one setting of one task, by two experiments on the same test units."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from pipeline.downstream.follow_up import observed
from pipeline.errors import InputError
from pipeline.evaluation.scored import Scored
from pipeline.metrics.bootstrap import auc_interval
from pipeline.metrics.delong import delong_test
from pipeline.metrics.multiple import holm
from pipeline.metrics.paired import auc_difference, concordance_difference
from pipeline.metrics.survival import concordance_interval
from pipeline.tables import EXAM_LABELS


class Comparison(NamedTuple):
    """One setting of one task, both experiments' statistic on the same units.

    statistic: AUC; `mean AUC` over the cut points of an ordinal label; `c`, Harrell's, of risk. a, b: its values.
    difference, low, high: A minus B with a bootstrap interval over patients. p: of an AUC DeLong's, clustered by
    patient; of the others from the same resamples. p_holm: of its family, NaN until `corrected`. n: test
    units.
    """

    task: str
    split: str
    setting: str
    statistic: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float
    p_holm: float
    n: int


def compare_scores(one: Sequence[Scored], other: Sequence[Scored], resamples: int) -> Iterator[Comparison]:
    """A row per setting that both have.

    Args:
        one, other: Scored test units of A and of B, of one encoder each.
        resamples: Of the bootstrap.

    Raises:
        InputError: both have a setting, but not on the same units.
    """
    others = {(unit.task, unit.split, unit.setting): unit for unit in other}
    for a in one:
        if b := others.get((a.task, a.split, a.setting)):
            yield _compare_setting(a, b, resamples)


def _compare_setting(a: Scored, b: Scored, resamples: int) -> Comparison:
    """One row of AUCs."""
    if not a.has_units_of(b):
        raise _other_units(f"{a.task}, {a.split}", len(a.grades), len(b.grades))
    labels = a.labels
    found = auc_difference(labels, a.scores, b.scores, a.patients, resamples, seed=0)
    if not a.is_ordinal:
        found = found._replace(p=delong_test(labels, a.scores, b.scores, a.patients).p)
    auc_a, auc_b = (auc_interval(labels, unit.scores, unit.patients, 2, seed=0).value for unit in (a, b))
    statistic = "mean AUC" if a.is_ordinal else "AUC"
    return Comparison(a.task, a.split, a.setting, statistic, auc_a, auc_b, *found, np.nan, len(a.grades))


def compare_exams(method: str, a: pd.DataFrame, b: pd.DataFrame, resamples: int) -> Comparison:
    """The row of a method of risk; both rank by the risk at their last horizon.

    Args:
        method: Its name.
        a, b: Rows of `scored_exams`.
        resamples: Of the bootstrap.

    Raises:
        InputError: the exams or their follow-up are not the same.
    """
    followed = ["patient_id", *EXAM_LABELS]
    if not a[followed].equals(b[followed]):
        raise _other_units(f"risk, {method}", len(a), len(b))
    (years, events), patients = observed(a), a["patient_id"].to_numpy().astype(str)
    risk_a, risk_b = (exams.iloc[:, -1].to_numpy().astype(np.float64) for exams in (a, b))
    c_a, c_b = (concordance_interval(years, events, risk, patients, 2, seed=0).value for risk in (risk_a, risk_b))
    found = concordance_difference(years, events, risk_a, risk_b, patients, resamples, seed=0)
    return Comparison("risk", "test", method, "c", c_a, c_b, *found, np.nan, len(a))


def corrected(family: Sequence[Comparison]) -> list[Comparison]:
    """The same rows with Holm's p over all of them."""
    adjusted = holm(np.array([row.p for row in family]))
    return [row._replace(p_holm=float(p)) for row, p in zip(family, adjusted, strict=True)]


def _other_units(name: str, of_a: int, of_b: int) -> InputError:
    """What stops a comparison of different patients."""
    return InputError(
        f"compare: {name}: expected the same test units, found {of_a} of A and {of_b} of B that are not the same;"
        " compare experiments with equal data/splits and labels"
    )

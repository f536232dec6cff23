"""Differences between two models on the same samples, with an interval and a p value over resampled patients.

Every resample scores both models, so that what is hard for both cancels.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from pipeline.metrics.bootstrap import (
    Draws,
    Interval,
    PatientPairs,
    are_many_pairs,
    auc_pairs,
    concordant_pairs,
    cut_points,
    gained_pairs,
    pair_draws,
    percentiles,
    ranked_draws,
)
from pipeline.metrics.survival import is_concordance_supported


class Difference(NamedTuple):
    """First minus second, its 95 % interval, and the two-sided p of no difference; all NaN with too few patients."""

    value: float
    low: float
    high: float
    p: float


UNSUPPORTED = Difference(np.nan, np.nan, np.nan, np.nan)


def paired_auc_gain(
    labels: Bool[np.ndarray, " sample"] | Int[np.ndarray, " sample"],
    scores_a: Float[np.ndarray, "*seeds_a sample"],
    scores_b: Float[np.ndarray, "*seeds_b sample"],
    patients: Shaped[np.ndarray, " sample"],
    resamples: int,
    seed: int,
) -> Interval:
    """AUC of a minus AUC of b on the same samples; every resample scores both, so shared difficulty cancels.

    Args and Returns: as `bootstrap.auc_interval`; the value lies in [-1, 1].
    """
    return Interval(*auc_difference(labels, scores_a, scores_b, patients, resamples, seed)[:3])


def auc_difference(
    labels: Bool[np.ndarray, " sample"] | Int[np.ndarray, " sample"],
    scores_a: Float[np.ndarray, "*seeds_a sample"],
    scores_b: Float[np.ndarray, "*seeds_b sample"],
    patients: Shaped[np.ndarray, " sample"],
    resamples: int,
    seed: int,
) -> Difference:
    """`paired_auc_gain` with `bootstrap_p`; its arguments and its value."""
    cuts = cut_points(labels, patients)
    if are_many_pairs(cuts, patients):
        (a, drawn_a), (b, drawn_b) = (ranked_draws(cuts, s, patients, resamples, seed) for s in (scores_a, scores_b))
        return _difference(a - b, drawn_a - drawn_b)
    pairs = [gained_pairs(auc_pairs(c, scores_a, patients), auc_pairs(c, scores_b, patients)) for c in cuts]
    return _pair_difference(pairs, patients, resamples, seed)


def concordance_difference(
    years: Float[np.ndarray, " exam"],
    events: Bool[np.ndarray, " exam"],
    risk_a: Float[np.ndarray, " exam"],
    risk_b: Float[np.ndarray, " exam"],
    patients: Shaped[np.ndarray, " exam"],
    resamples: int,
    seed: int,
) -> Difference:
    """Harrell's c of a minus that of b, of the same exams.

    Args:
        years: To cancer, or to the end of follow-up.
        events: True where years ends in cancer.
        risk_a, risk_b: Higher means earlier; any scale.
        patients: Whose exam it is; a patient is drawn with all exams.
        resamples: Number of bootstrap resamples.
        seed: Of the resampling; the same seed draws the same patients.

    Returns:
        The difference in [-1, 1]; all NaN below MIN_PATIENTS with and without cancer.
    """
    if not is_concordance_supported(events, patients):
        return UNSUPPORTED
    pairs = (concordant_pairs(years, events, risk, patients) for risk in (risk_a, risk_b))
    return _pair_difference([gained_pairs(*pairs)], patients, resamples, seed)


def bootstrap_p(drawn: Draws) -> float:
    """Two-sided p of no difference: the least level whose percentile interval of these differences leaves out zero.

    Twice the smaller share of resamples on one side of zero or at it, the sample itself counted with them, so that it
    is never 0; at most 1, and 1 where all differences are zero. NaN, an undefined resample, does not count.

    Source: a test from an interval: Efron & Tibshirani, An Introduction to the Bootstrap, 1993, section 15.4; counting
        the sample: Davison & Hinkley, Bootstrap Methods and their Application, 1997, chapter 4.
    """
    known = drawn[~np.isnan(drawn)]
    beyond = min(np.count_nonzero(known <= 0), np.count_nonzero(known >= 0))
    return min(1.0, 2 * (1 + beyond) / (1 + len(known)))


def _pair_difference(
    pairs: Sequence[PatientPairs], patients: Shaped[np.ndarray, " sample"], resamples: int, seed: int
) -> Difference:
    """Of pairs that hold what a wins more than b."""
    return _difference(*pair_draws(pairs, len(np.unique(patients)), resamples, seed)) if pairs else UNSUPPORTED


def _difference(value: float, drawn: Draws) -> Difference:
    """With the interval and the p of what was drawn."""
    return Difference(value, *percentiles(drawn), bootstrap_p(drawn))

"""Confidence intervals that resample patients, not images: each interval is a handful of matrix products.

AUC and the c-index are both a share of won pairs. Counting won and compared pairs between patients once turns a
resample with patient multiplicities m into (m' won m) / (m' compared m), so that no image is touched again.
"""

from collections.abc import Iterator, Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from pipeline.metrics.operating import partial_auc

# Fewer patients on one side of a comparison give no usable percentile interval
# (Obuchowski & Lieber, Academic Radiology 1998, 5:561-571: coverage of intervals for an AUC in small samples).
MIN_PATIENTS = 10
LOW_PERCENTILE, HIGH_PERCENTILE = 2.5, 97.5  # a 95 % interval, as in the published tables
REACH = NormalDist().inv_cdf(HIGH_PERCENTILE / 100)  # standard errors to either end of one in closed form (1.96)
# Resamples per matrix product: 100 x 50,000 patients of float64 are 40 MB.
BLOCK_RESAMPLES = 100
# Pairs of a patient with a positive and any patient, above which they are not counted one by one: 0.8 GB a matrix.
MOST_PAIRS = 10**8
Draws = Float[np.ndarray, " resample"]


class Interval(NamedTuple):
    """A statistic and its 95 % interval, by resampling or in closed form; all NaN where too few patients support it."""

    value: float
    low: float
    high: float

    @property
    def is_supported(self) -> bool:
        """Whether there were patients enough."""
        return bool(np.isfinite(self.value))


UNSUPPORTED = Interval(np.nan, np.nan, np.nan)


class PatientPairs(NamedTuple):
    """Pairs of samples counted by the patients they come from: won[i, j] of compared[i, j] between rows[i] and j."""

    won: Float[np.ndarray, "row patient"]
    compared: Float[np.ndarray, "row patient"]
    rows: Int[np.ndarray, " row"]


def auc_interval(
    labels: Bool[np.ndarray, " sample"] | Int[np.ndarray, " sample"],
    scores: Float[np.ndarray, "*seeds sample"],
    patients: Shaped[np.ndarray, " sample"],
    resamples: int,
    seed: int,
) -> Interval:
    """AUC with an interval over resampled patients.

    Args:
        labels: True for positives; or ordinal grades, for the mean AUC over their supported cut points.
        scores: Higher means more of the label; with a leading axis of training seeds the mean AUC over them is taken.
        patients: Whose sample it is; a patient is drawn with all samples.
        resamples: Number of bootstrap resamples.
        seed: Of the resampling; the same seed draws the same patients.

    Returns:
        The statistic on all samples and its interval; all NaN if no cut point has MIN_PATIENTS on both sides.
    """
    cuts = cut_points(labels, patients)
    if are_many_pairs(cuts, patients):
        value, drawn = ranked_draws(cuts, scores, patients, resamples, seed)
        return Interval(value, *percentiles(drawn))
    pairs = [auc_pairs(cut, scores, patients) for cut in cuts]
    return pair_interval(pairs, len(np.unique(patients)), resamples, seed)


def mean_interval(
    values: Float[np.ndarray, " sample"], patients: Shaped[np.ndarray, " sample"], resamples: int, seed: int
) -> Interval:
    """Mean of one value per sample (such as a hit at rank 1), with an interval over resampled patients."""
    _, index = np.unique(patients, return_inverse=True)
    count = int(index.max(initial=-1)) + 1
    if count < MIN_PATIENTS:
        return UNSUPPORTED
    sums, sizes = np.bincount(index, values, count), np.bincount(index, minlength=count).astype(np.float64)
    drawn = np.concatenate([(m @ sums) / (m @ sizes) for m in resample_counts(count, resamples, seed)])
    return Interval(float(values.mean()), *percentiles(drawn))


def cut_points(
    labels: Bool[np.ndarray, " sample"] | Int[np.ndarray, " sample"], patients: Shaped[np.ndarray, " sample"]
) -> list[Bool[np.ndarray, " sample"]]:
    """Binary readings of the labels (themselves, or grade >= k) that have MIN_PATIENTS patients on both sides."""
    cuts = [labels >= cut for cut in np.unique(labels)[1:]]
    return [c for c in cuts if min(len(np.unique(patients[c])), len(np.unique(patients[~c]))) >= MIN_PATIENTS]


def are_many_pairs(cuts: Sequence[Bool[np.ndarray, " sample"]], patients: Shaped[np.ndarray, " sample"]) -> bool:
    """Whether counting pairs of patients would take more than MOST_PAIRS: then `ranked_draws` has the same numbers."""
    most = max((len(np.unique(patients[cut])) for cut in cuts), default=0)
    return most * len(np.unique(patients)) > MOST_PAIRS


def ranked_draws(
    cuts: Sequence[Bool[np.ndarray, " sample"]],
    scores: Float[np.ndarray, "*seeds sample"],
    patients: Shaped[np.ndarray, " sample"],
    resamples: int,
    seed: int,
) -> tuple[float, Draws]:
    """What `pair_draws` gives of `auc_pairs`, from samples that are ranked and weighted instead of compared.

    Slower where few patients have a positive, but its memory grows with the samples and not with the pairs of patients.
    """
    _, owner = np.unique(patients, return_inverse=True)

    def mean_auc(weights: Float[np.ndarray, "block sample"]) -> Draws:
        areas = [partial_auc(cut, row, weights, max_rate=1.0) for cut in cuts for row in np.atleast_2d(scores)]
        return np.asarray(np.mean(areas, axis=0))

    blocks = resample_counts(int(owner.max()) + 1, resamples, seed)
    drawn = np.concatenate([mean_auc(counts[:, owner]) for counts in blocks])
    return float(mean_auc(np.ones((1, len(owner))))[0]), drawn


def auc_pairs(
    labels: Bool[np.ndarray, " sample"],
    scores: Float[np.ndarray, "*seeds sample"],
    patients: Shaped[np.ndarray, " sample"],
) -> PatientPairs:
    """AUC as a c-index: a positive has its event at time 0, a negative is followed to time 1."""
    return concordant_pairs((~labels).astype(np.float64), labels, scores, patients)


def concordant_pairs(
    years: Float[np.ndarray, " sample"],
    events: Bool[np.ndarray, " sample"],
    scores: Float[np.ndarray, "*seeds sample"],
    patients: Shaped[np.ndarray, " sample"],
    weights: Float[np.ndarray, " sample"] | None = None,
) -> PatientPairs:
    """Counts, for every pair of patients, the comparable pairs of samples and those in the right order.

    A pair is comparable if the first has an event, before the other's time or at the time the other is censored; it
    is won if the first scores higher, half won at equal scores, and averaged over the leading axis of seeds.

    Args:
        years: To the event, or to the end of follow-up.
        events: True where years ends in an event.
        scores: Higher means earlier.
        patients: Whose sample it is.
        weights: What a pair counts, by its first sample; by default 1. Read where there is an event.

    Source: Harrell et al., Statistics in Medicine 1996, 15:361-387; ties as in lifelines' concordance_index.
    """
    scores = np.atleast_2d(scores).astype(np.float64)
    _, owner = np.unique(patients, return_inverse=True)
    order = np.argsort(owner, kind="stable")
    starts = np.searchsorted(owner[order], np.arange(owner.max() + 1))
    others, other_years, other_events = scores[:, order], years[order], events[order]
    weights = np.ones(len(years)) if weights is None else weights
    firsts = np.flatnonzero(events)
    rows, row_of_first = np.unique(owner[firsts], return_inverse=True)
    won, compared = np.zeros((2, len(rows), len(starts)))
    for row, first in zip(row_of_first, firsts, strict=True):
        comparable = (other_years > years[first]) | ((other_years == years[first]) & ~other_events)
        counted = weights[first] * comparable
        ahead = (np.sign(scores[:, [first]] - others).mean(axis=0) + 1) / 2
        won[row] += np.add.reduceat(ahead * counted, starts)
        compared[row] += np.add.reduceat(counted, starts)
    return PatientPairs(won, compared, rows)


def gained_pairs(a: PatientPairs, b: PatientPairs) -> PatientPairs:
    """Pairs won by the first score and not by the second, of the same comparable pairs; negative for the reverse."""
    return PatientPairs(a.won - b.won, a.compared, a.rows)


def pair_interval(pairs: Sequence[PatientPairs], patients: int, resamples: int, seed: int) -> Interval:
    """Mean share of won pairs over several counts (one per cut point) of the same patients, with its interval."""
    if not pairs:
        return UNSUPPORTED
    value, drawn = pair_draws(pairs, patients, resamples, seed)
    return Interval(value, *percentiles(drawn))


def pair_draws(pairs: Sequence[PatientPairs], patients: int, resamples: int, seed: int) -> tuple[float, Draws]:
    """The mean share on all samples, and in each resample; NaN in one that holds no comparable pair."""
    value = float(_mean_share(np.ones((1, patients)), pairs)[0])
    return value, np.concatenate([_mean_share(m, pairs) for m in resample_counts(patients, resamples, seed)])


def resample_counts(patients: int, resamples: int, seed: int) -> Iterator[Float[np.ndarray, "block patient"]]:
    """How often each patient is drawn in each resample (with replacement, as many as there are), block by block."""
    generator = np.random.default_rng(seed)
    for start in range(0, resamples, BLOCK_RESAMPLES):
        block = min(BLOCK_RESAMPLES, resamples - start)
        drawn = generator.integers(patients, size=(block, patients)) + patients * np.arange(block)[:, None]
        yield np.bincount(drawn.ravel(), minlength=block * patients).reshape(block, patients).astype(np.float64)


def _mean_share(
    counts: Float[np.ndarray, "block patient"], pairs: Sequence[PatientPairs]
) -> Float[np.ndarray, " block"]:
    """The statistic in each resample; NaN where nothing is comparable."""
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = [
            (counts[:, p.rows] @ p.won * counts).sum(axis=1) / (counts[:, p.rows] @ p.compared * counts).sum(axis=1)
            for p in pairs
        ]
    return np.asarray(np.mean(shares, axis=0))


def percentiles(drawn: Draws) -> tuple[float, float]:
    """The 2.5 and 97.5 percentile of the defined resamples."""
    low, high = np.nanpercentile(drawn, [LOW_PERCENTILE, HIGH_PERCENTILE])
    return float(low), float(high)

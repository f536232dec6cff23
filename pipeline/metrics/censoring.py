"""Risk metrics corrected for censoring: Uno's c-index and the time-dependent AUC.

Harrell's c and the n-year AUC count the cancers that were seen, and a late cancer is seen less often than an early one.
Here a cancer counts for all those like it that were lost before: with the weight 1 / G, where G(t) is the chance to be
followed for t years. This holds if the end of follow-up depends on neither the risk nor the cancer.
"""

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Float, Shaped

from pipeline.metrics.bootstrap import (
    MIN_PATIENTS,
    UNSUPPORTED,
    Interval,
    PatientPairs,
    concordant_pairs,
    pair_interval,
)


class Censoring(NamedTuple):
    """The censoring distribution G: from years[k] on, the share uncensored[k] is still followed; 1 before years[0]."""

    years: Float[np.ndarray, " step"]
    uncensored: Float[np.ndarray, " step"]

    def inverse(self, years: Float[np.ndarray, " exam"]) -> Float[np.ndarray, " exam"]:
        """1 / G just before each time, at least 1.

        Raises:
            ValueError: a time lies beyond the last of the sample, where G is not known.
        """
        if (latest := years.max(initial=0.0)) > self.years[-1]:
            raise ValueError(
                f"a cancer after {latest:g} years, but the censoring sample was followed {self.years[-1]:g} years at "
                "most: lower the horizon, or estimate the censoring on exams that were followed longer"
            )
        return 1 / np.concatenate([[1.0], self.uncensored])[np.searchsorted(self.years, years)]


def censoring_distribution(years: Float[np.ndarray, " exam"], events: Bool[np.ndarray, " exam"]) -> Censoring:
    """Kaplan-Meier estimate of G, in which the censorings are the events.

    Args:
        years: To cancer, or to the end of follow-up; of the development exams, or of the test exams without them.
        events: True where years ends in cancer. A cancer comes before a censoring at the same time: it is no longer
            at risk of being censored.

    Raises:
        ValueError: there is no exam.

    Source: Kaplan & Meier, Journal of the American Statistical Association 1958, 53:457-481.
    """
    if not len(years):
        raise ValueError("the censoring distribution needs exams with follow-up, found none")
    steps, index = np.unique(years, return_inverse=True)
    cancers, censored = np.bincount(index, events), np.bincount(index, ~events)
    at_risk = len(years) - np.cumsum(cancers + censored) + censored
    return Censoring(steps, np.cumprod(1 - censored / np.maximum(at_risk, 1)))


def known_by(
    years: Float[np.ndarray, " exam"],
    events: Bool[np.ndarray, " exam"],
    horizon_years: int | float,
    censoring: Censoring,
) -> tuple[Bool[np.ndarray, " exam"], Float[np.ndarray, " exam"]]:
    """Which exams have cancer by the horizon, and what each counts so that those censored before it are made up for.

    Args:
        years: To cancer, or to the end of follow-up.
        events: True where years ends in cancer.
        horizon_years: Up to it, inclusive.
        censoring: G, of a sample followed at least as long as these exams.

    Returns:
        Cases and weights: 1 / G of its time for a case, 1 / G of the horizon for an exam free of cancer then, 0 for one
        censored before.

    Raises:
        ValueError: G is not known so far.

    Source: Graf et al., Statistics in Medicine 1999, 18:2529-2545.
    """
    cases = events & (years <= horizon_years)
    free = ~cases & (years >= horizon_years)
    until = np.where(cases, years, np.minimum(years, horizon_years))
    weights = np.zeros(len(years))
    weights[cases | free] = censoring.inverse(until[cases | free])
    return cases, weights


def uno_interval(
    years: Float[np.ndarray, " exam"],
    events: Bool[np.ndarray, " exam"],
    risk: Float[np.ndarray, " exam"],
    patients: Shaped[np.ndarray, " exam"],
    censoring: Censoring,
    horizon_years: int | float,
    resamples: int,
    seed: int,
) -> Interval:
    """Uno's c with a 95 % interval over resampled patients; G is held fixed over the resamples.

    Args:
        years: To cancer, or to the end of follow-up.
        events: True where years ends in cancer.
        risk: Higher means earlier.
        patients: Whose exam it is; a patient is drawn with all exams.
        censoring: G, of the development exams where there are any.
        horizon_years: Only cancers before it count, and G must be known up to the last of them.
        resamples: Number of bootstrap resamples.
        seed: Of the resampling; the same seed draws the same patients.

    Returns:
        c in [0, 1], 0.5 for a useless risk. All NaN below MIN_PATIENTS with a cancer before the horizon, or with an
        exam that has none before it; and where one of these cancers lies beyond the follow-up of the censoring sample.
    """
    cases = events & (years < horizon_years)
    if not _is_supported(cases, ~cases, years, patients, censoring):
        return UNSUPPORTED
    pairs = uno_pairs(years, events, risk, patients, censoring, horizon_years)
    return pair_interval([pairs], len(np.unique(patients)), resamples, seed)


def dynamic_auc_interval(
    years: Float[np.ndarray, " exam"],
    events: Bool[np.ndarray, " exam"],
    risk: Float[np.ndarray, " exam"],
    patients: Shaped[np.ndarray, " exam"],
    censoring: Censoring,
    horizon_years: int | float,
    resamples: int,
    seed: int,
) -> Interval:
    """Cumulative/dynamic AUC at a horizon with a 95 % interval over resampled patients; G is held fixed.

    Args: as `uno_interval`; risk is the one at the horizon.

    Returns:
        AUC in [0, 1]. All NaN below MIN_PATIENTS with a cancer up to the horizon, or with an exam followed beyond it;
        and where one of these cancers lies beyond the follow-up of the censoring sample.
    """
    cases = events & (years <= horizon_years)
    if not _is_supported(cases, years > horizon_years, years, patients, censoring):
        return UNSUPPORTED
    pairs = dynamic_auc_pairs(years, events, risk, patients, censoring, horizon_years)
    return pair_interval([pairs], len(np.unique(patients)), resamples, seed)


def uno_pairs(
    years: Float[np.ndarray, " exam"],
    events: Bool[np.ndarray, " exam"],
    risk: Float[np.ndarray, " exam"],
    patients: Shaped[np.ndarray, " exam"],
    censoring: Censoring,
    horizon_years: int | float,
) -> PatientPairs:
    """Pairs of Uno's c: those of Harrell's c whose first cancer comes before the horizon, weighted by 1 / G^2.

    A pair of exams is comparable if the first has a cancer, before the other's time or at the time the other is
    censored. Its weight is G(years-)^-2 of the first. It is half won at equal risks.

    Raises:
        ValueError: a cancer before the horizon lies beyond the follow-up of the censoring sample.

    Source: Uno et al., Statistics in Medicine 2011, 30:1105-1117; ties as in Harrell's c of `survival`.
    """
    cases = events & (years < horizon_years)
    weights = np.zeros(len(years))
    weights[cases] = censoring.inverse(years[cases]) ** 2
    return concordant_pairs(years, cases, risk, patients, weights)


def dynamic_auc_pairs(
    years: Float[np.ndarray, " exam"],
    events: Bool[np.ndarray, " exam"],
    risk: Float[np.ndarray, " exam"],
    patients: Shaped[np.ndarray, " exam"],
    censoring: Censoring,
    horizon_years: int | float,
) -> PatientPairs:
    """Pairs of the time-dependent AUC: every cancer up to the horizon against every exam followed beyond it.

    The weight of a pair is 1 / G(years-) of its cancer; that of the others, 1 / G(horizon), is the same for all and
    cancels. Exams censored up to the horizon are in no pair. A pair is half won at equal risks.

    Raises:
        ValueError: a cancer up to the horizon lies beyond the follow-up of the censoring sample.

    Source: Uno et al., Journal of the American Statistical Association 2007, 102:527-537; Hung & Chiang, Canadian
        Journal of Statistics 2010, 38:8-26.
    """
    cases = events & (years <= horizon_years)
    weights = np.zeros(len(years))
    weights[cases] = censoring.inverse(years[cases])
    # Of the three times, cases have the event at 0, so that only exams at 1 are comparable with them.
    sides = np.select([cases, years > horizon_years], [0.0, 1.0], -1.0)
    return concordant_pairs(sides, cases, risk, patients, weights)


def _is_supported(
    cases: Bool[np.ndarray, " exam"],
    others: Bool[np.ndarray, " exam"],
    years: Float[np.ndarray, " exam"],
    patients: Shaped[np.ndarray, " exam"],
    censoring: Censoring,
) -> bool:
    """Whether both sides have MIN_PATIENTS and G is known at every case."""
    fewest = min(len(np.unique(patients[cases])), len(np.unique(patients[others])))
    return bool(fewest >= MIN_PATIENTS and years[cases].max() <= censoring.years[-1])

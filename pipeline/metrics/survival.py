"""Risk metrics under censoring: Harrell's c-index and the labels of the n-year AUC."""

import numpy as np
from jaxtyping import Bool, Float, Shaped
from lifelines.utils import concordance_index

from pipeline.metrics.bootstrap import MIN_PATIENTS, UNSUPPORTED, Interval, concordant_pairs, pair_interval


def observed_years(
    years_to_cancer: Float[np.ndarray, " exam"], years_followed: Float[np.ndarray, " exam"]
) -> tuple[Float[np.ndarray, " exam"], Bool[np.ndarray, " exam"]]:
    """Time to cancer where there was one, else time followed; and whether there was one.

    Args:
        years_to_cancer: Years from the exam to cancer, NaN without cancer.
        years_followed: Years the patient was followed after the exam, NaN if unknown.

    Returns:
        Years (NaN where neither is known) and the cancers.
    """
    events = np.isfinite(years_to_cancer)
    return np.where(events, years_to_cancer, years_followed), events


def concordance(
    years: Float[np.ndarray, " exam"], events: Bool[np.ndarray, " exam"], risk: Float[np.ndarray, " exam"]
) -> float:
    """Harrell's c: the chance that of two comparable exams the one with the earlier cancer has the higher risk.

    Args:
        years: To cancer, or to the end of follow-up.
        events: True where years ends in cancer.
        risk: Higher means earlier.

    Returns:
        c in [0, 1]; 0.5 for a useless risk.

    Source: Harrell et al., Statistics in Medicine 1996, 15:361-387, as computed by lifelines.
    """
    return float(concordance_index(years, -risk, events))


def concordance_interval(
    years: Float[np.ndarray, " exam"],
    events: Bool[np.ndarray, " exam"],
    risk: Float[np.ndarray, " exam"],
    patients: Shaped[np.ndarray, " exam"],
    resamples: int,
    seed: int,
) -> Interval:
    """Harrell's c with a 95 % interval over resampled patients; all NaN below MIN_PATIENTS with and without cancer."""
    if min(len(np.unique(patients[events])), len(np.unique(patients[~events]))) < MIN_PATIENTS:
        return UNSUPPORTED
    pairs = concordant_pairs(years, events, risk, patients)
    interval = pair_interval([pairs], len(np.unique(patients)), resamples, seed)
    return interval._replace(value=concordance(years, events, risk))


def horizon_labels(
    years_to_cancer: Float[np.ndarray, " exam"],
    years_followed: Float[np.ndarray, " exam"],
    horizon_years: int,
    mirai_compat: bool,
) -> tuple[Bool[np.ndarray, " exam"], Bool[np.ndarray, " exam"]]:
    """Who is positive for the n-year AUC, and who takes part.

    Args:
        years_to_cancer: Years from the exam to cancer, NaN without cancer.
        years_followed: Years the patient was followed after the exam, NaN if unknown.
        horizon_years: n.
        mirai_compat: Count a cancer after the horizon as a negative, as Mirai's evaluation code does; else leave it
            out, because neither rule of the definition holds for it.

    Returns:
        labels: True for cancer within n years.
        known: True for positives and for exams followed at least n years without cancer; False for the others
            (censored earlier, follow-up unknown), which are left out.

    Source: shared method notes, "2- and 5-year AUC"; Yala et al., Science Translational Medicine 2021, eaba4373.
    """
    labels = years_to_cancer <= horizon_years
    cancer_free = np.isnan(years_to_cancer) & (years_followed >= horizon_years)
    later = years_to_cancer > horizon_years
    return labels, labels | cancer_free | (later if mirai_compat else np.zeros_like(later))

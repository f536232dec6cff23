"""Risk metrics under censoring: Harrell's c-index, the labels of the n-year AUC, calibration by Kaplan-Meier."""

import numpy as np
from jaxtyping import Bool, Float, Shaped
from lifelines import KaplanMeierFitter
from lifelines.utils import concordance_index

from pipeline.metrics.bootstrap import MIN_PATIENTS, REACH, UNSUPPORTED, Interval, concordant_pairs, pair_interval
from pipeline.metrics.calibration import Reliability


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
    if not is_concordance_supported(events, patients):
        return UNSUPPORTED
    pairs = concordant_pairs(years, events, risk, patients)
    interval = pair_interval([pairs], len(np.unique(patients)), resamples, seed)
    return interval._replace(value=concordance(years, events, risk))


def is_concordance_supported(events: Bool[np.ndarray, " exam"], patients: Shaped[np.ndarray, " exam"]) -> bool:
    """Whether MIN_PATIENTS patients have an exam with cancer, and as many one without."""
    return min(len(np.unique(patients[events])), len(np.unique(patients[~events]))) >= MIN_PATIENTS


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


def observed_risk(
    years: Float[np.ndarray, " exam"], events: Bool[np.ndarray, " exam"], horizon_years: int | float
) -> float:
    """Share with cancer within n years, 1 - Kaplan-Meier, in [0, 1]; NaN where all exams left are censored earlier.

    Source: Kaplan & Meier, Journal of the American Statistical Association 1958, 53:457-481, as computed by lifelines.
    """
    survival = float(KaplanMeierFitter().fit(years, events).predict(horizon_years))
    return 1 - survival if survival == 0 or years.max() >= horizon_years else float("nan")


def risk_reliability(
    years: Float[np.ndarray, " exam"],
    events: Bool[np.ndarray, " exam"],
    risk: Float[np.ndarray, " exam"],
    horizon_years: int | float,
    groups: int,
) -> Reliability:
    """Predicted and observed risk at n years in groups of equal size and neighbouring predictions.

    Args:
        years: To cancer, or to the end of follow-up.
        events: True where years ends in cancer.
        risk: Predicted probability of cancer within n years.
        horizon_years: n.
        groups: Their number.

    Returns:
        Mean prediction, `observed_risk` and size of each group.

    Raises:
        ValueError: there are fewer exams than groups, or no group.
    """
    if not 0 < groups <= len(risk):
        raise ValueError(f"cannot split {len(risk)} exams into {groups} groups")
    members = np.array_split(np.argsort(risk, kind="stable"), groups)
    return Reliability(
        np.array([risk[m].mean() for m in members], dtype=np.float64),
        np.array([observed_risk(years[m], events[m], horizon_years) for m in members]),
        np.array([len(m) for m in members]),
    )


def observed_to_expected(
    years: Float[np.ndarray, " exam"],
    events: Bool[np.ndarray, " exam"],
    risk: Float[np.ndarray, " exam"],
    patients: Shaped[np.ndarray, " exam"],
    horizon_years: int | float,
) -> Interval:
    """Observed over mean predicted risk at n years, with a 95 % interval by linearisation on the log scale.

    Args: as `risk_reliability`; patients: whose exam it is.

    Returns:
        1 for a calibrated model, above 1 where it predicts too little. Other patients of the same kind would have
        other predictions too: a cohort at higher risk has more cancers, and more are expected. All NaN below
        MIN_PATIENTS with cancer within n years, or with an exam known to be free of it at n years.

    Source: the ratio on the log scale: Debray et al., Statistical Methods in Medical Research 2019, 28:2768-2786;
        linearisation: Deville, Survey Methodology 1999, 25:193-203.
    """
    cases = events & (years <= horizon_years)
    free = (years > horizon_years) | (~events & (years == horizon_years))
    if min(len(np.unique(patients[cases])), len(np.unique(patients[free]))) < MIN_PATIENTS:
        return UNSUPPORTED
    observed, expected = observed_risk(years, events, horizon_years), float(risk.mean())
    of_observed = (1 - observed) / observed * _log_survival_shares(years, events, horizon_years)
    of_expected = (risk - expected) / (len(risk) * expected)
    per_patient = np.bincount(np.unique(patients, return_inverse=True)[1], of_observed - of_expected)
    ratio, factor = observed / expected, float(np.exp(REACH * np.sqrt(np.sum(per_patient**2))))
    return Interval(ratio, ratio / factor, ratio * factor)


def _log_survival_shares(
    years: Float[np.ndarray, " exam"], events: Bool[np.ndarray, " exam"], horizon_years: int | float
) -> Float[np.ndarray, " exam"]:
    """Share of each exam in minus the log of Kaplan-Meier at n years; they sum to 0.

    Their squares add up to Greenwood's sum over times of d / (r (r - d)), for d cancers among r at risk; exams of a
    patient are not independent and are added before they are squared.

    Source: Greenwood, Reports on Public Health and Medical Subjects 1926, 33; Ying & Wei, Journal of Multivariate
        Analysis 1994, 50:17-29, for dependent exams.
    """
    table = KaplanMeierFitter().fit(years, events).event_table.loc[:horizon_years]
    cancers, at_risk = table["observed"].to_numpy(), table["at_risk"].to_numpy()
    survivors = at_risk - cancers
    cumulative = np.cumsum(cancers / (at_risk * survivors))
    last = np.searchsorted(table.index, years, side="right") - 1
    return np.asarray((events & (years <= horizon_years)) / survivors[last] - cumulative[last])

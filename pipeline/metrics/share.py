"""Interval of a share of hits, with a rule of its own where there is none or nothing else."""

import numpy as np
from jaxtyping import Bool, Shaped

from pipeline.metrics.bootstrap import LOW_PERCENTILE, Interval, mean_interval


def share_interval(
    hits: Bool[np.ndarray, " sample"], patients: Shaped[np.ndarray, " sample"], resamples: int, seed: int
) -> Interval:
    """Share of hits in [0, 1] with a 95 % interval over resampled patients.

    Without a hit, every resample has none, and its percentiles would say that there cannot be any: [0, 0]. Then, and
    where all are hits, the end is the exact binomial one with the patients as the only draws, 1 - 0.025^(1/patients)
    away. It is as wide as if the samples of a patient were all alike, so that it errs on the wide side.

    Args:
        hits: True for a hit.
        patients: Whose sample it is; a patient is drawn with all samples.
        resamples: Number of bootstrap resamples.
        seed: Of the resampling; the same seed draws the same patients, here and in `bootstrap`.

    Returns:
        The share and its interval; all NaN with fewer than MIN_PATIENTS patients.

    Source: Clopper & Pearson, Biometrika 1934, 26:404-413.
    """
    interval = mean_interval(hits.astype(np.float64), patients, resamples, seed)
    if interval.value not in (0, 1):
        return interval
    reach = 1 - (LOW_PERCENTILE / 100) ** (1 / len(np.unique(patients)))
    return Interval(0.0, 0.0, reach) if interval.value == 0 else Interval(1.0, 1 - reach, 1.0)

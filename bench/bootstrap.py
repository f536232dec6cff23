"""What intervals over resampled patients cost: seconds for 2,000 resamples of 20,000 images of 5,000 patients.

    OMP_NUM_THREADS=1 PYTHONPATH=. python bench/bootstrap.py            # about half a minute

Statistics take turns; the medians are kept, for the AUC also that of each turn's ratio to the reference: the loop that
gathers the rows of the drawn patients and calls scikit-learn's roc_auc_score, over 20 resamples, scaled to as many as
ours. Its interval must be ours.
"""

import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
from sklearn.metrics import roc_auc_score

from pipeline.metrics.bootstrap import auc_interval, resample_counts
from pipeline.metrics.operating import probabilistic_f1, sensitivity_at_specificity, weighted_average_precision
from pipeline.metrics.weighted import weighted_interval

PATIENTS, VIEWS, POSITIVE_SHARE = 5000, 4, 0.1  # of patients; both views of one breast are positive
RESAMPLES, LOOPED, ROUNDS, SEED = 2000, 20, 3, 0
RESULT = Path("bench/results/bootstrap.json")


class Sample(NamedTuple):
    """Per image: labels, probabilities without ties, patients."""

    labels: np.ndarray
    scores: np.ndarray
    patients: np.ndarray


def draw_sample() -> Sample:
    """Scores of an AUC of about 0.85."""
    rng = np.random.default_rng(SEED)
    patients = np.repeat(np.arange(PATIENTS), VIEWS)
    positive_breast = (np.arange(len(patients)) % VIEWS) < VIEWS // 2
    labels = (rng.random(PATIENTS) < POSITIVE_SHARE)[patients] & positive_breast
    logits = 1.5 * labels + rng.normal(size=len(labels)) - 2
    return Sample(labels, 1 / (1 + np.exp(-logits)), patients)


def auc_loop(sample: Sample) -> np.ndarray:
    """The reference: rows of every resample gathered, one call each; the ends of the interval."""
    rows = np.arange(len(sample.patients)).reshape(PATIENTS, VIEWS)
    found = []
    for counts in resample_counts(PATIENTS, LOOPED, SEED):
        for count in counts.astype(int):
            drawn = rows[np.repeat(np.arange(PATIENTS), count)].ravel()
            found.append(roc_auc_score(sample.labels[drawn], sample.scores[drawn]))
    return np.asarray(np.percentile(found, [2.5, 97.5]))


def measured(sample: Sample) -> dict[str, Callable[[], object]]:
    """What is timed, by name."""
    labels, scores, patients = sample
    weighted = {
        "average_precision": lambda w: weighted_average_precision(labels, scores, w),
        "sensitivity_at_95_specificity": lambda w: sensitivity_at_specificity(labels, scores, w, 0.95),
        "probabilistic_f1": lambda w: probabilistic_f1(labels, scores, w),
    }
    return {
        "auc_loop": lambda: auc_loop(sample),
        "auc": lambda: auc_interval(labels, scores, patients, RESAMPLES, SEED),
    } | {name: lambda s=s: weighted_interval(s, patients, RESAMPLES, SEED) for name, s in weighted.items()}


def main() -> None:
    """Interleaves the statistics and writes their medians."""
    sample = draw_sample()
    np.testing.assert_allclose(auc_interval(*sample, LOOPED, SEED)[1:], auc_loop(sample), atol=1e-12)
    calls = measured(sample)
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            start = time.perf_counter()
            call()
            seconds[name].append(time.perf_counter() - start)
            print(f"{name}: {seconds[name][-1]:.2f} s", flush=True)
    looped = [taken * RESAMPLES / LOOPED for taken in seconds.pop("auc_loop")]
    ratios = [loop / ours for loop, ours in zip(looped, seconds["auc"], strict=True)]
    result = {
        "images": len(sample.labels),
        "patients": PATIENTS,
        "positive_images": int(sample.labels.sum()),
        "resamples": RESAMPLES,
        "rounds": ROUNDS,
        "threads": int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1)),
        "seconds": {name: round(statistics.median(taken), 2) for name, taken in seconds.items()},
        "auc_loop_scaled_s": round(statistics.median(looped), 1),
        "auc_loop_over_ours": round(statistics.median(ratios), 1),
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()

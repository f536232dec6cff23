"""Turns scored units, risks and the records of other stages into the nested dict of metrics.json."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from pipeline.downstream.predictions import TUNED
from pipeline.evaluation.describe import describe_pretraining, describe_reports, describe_splits
from pipeline.evaluation.inputs import EvaluationInputs
from pipeline.evaluation.risk_scores import score_risk
from pipeline.evaluation.rounding import interval_metrics, rounded
from pipeline.evaluation.scored import Scored, scored_breasts, scored_images
from pipeline.metrics.bootstrap import Interval, auc_interval, cut_points
from pipeline.metrics.classification import auc
from pipeline.metrics.paired import paired_auc_gain
from pipeline.metrics.weighted import weighted_interval, weighted_kappa
from pipeline.sections import Run, Task
from pipeline.tables import DENSITIES

Metrics = dict[str, Any]
DENSITY_GRADES, BIRADS_GRADES = len(DENSITIES), 7  # BI-RADS 0 to 6
# Of fusion: name -> whose AUC less whose.
FUSION_GAINS = {
    "gain": ("fusion", "image"),
    "gain_over_text": ("fusion", "text"),
    "gain_without_text": ("fusion_without_text", "image"),
}
OWN_KEYS = {
    "profile",
    "method",
    "encoder",
    "encoder_weights",
    "baselines",
    "risk",
    "retrieval",
    "forgetting",
    "fusion",
    "reports",
    "pretrain",
    "splits",
}


def score(inputs: EvaluationInputs, run: Run) -> tuple[Metrics, list[Scored]]:
    """All metrics of one run, and the scored test units behind the classification ones.

    Raises:
        ValueError: a task carries the name of another section of metrics.json, or predictions and labels disagree.
    """
    if clash := sorted(OWN_KEYS & set(run.tasks)):
        raise ValueError(f"tasks: {clash[0]} is a section of metrics.json; name the task otherwise")
    predictions = inputs.read_predictions()
    labels = {cohort: inputs.read_labels(cohort) for cohort in run.evaluate.cohorts}
    units = scored_images(predictions, labels, run.tasks)
    breasts = {label: scored_breasts(predictions, labels[run.fuse.cohort], label) for label in run.fuse.labels}
    resamples = run.evaluate.bootstrap
    initial = inputs.read_initial_config()
    metrics: Metrics = {
        "profile": run.profile,
        "method": run.pretrain.method,
        "encoder": initial["encoder"],
        "encoder_weights": initial["encoder_weights"],
        "baselines": inputs.read_baselines(),
    }
    for name, task in run.tasks.items():
        own = [unit for unit in units if unit.task == name]
        metrics[name] = score_task(own, _grades(task), resamples, run.seed)
    followed = labels[run.risk.cohort], inputs.read_images(run.risk.cohort)
    metrics["risk"] = score_risk(predictions, *followed, run.risk, resamples, run.seed)
    metrics["fusion"] = {label: score_fusion(own, resamples, run.seed) for label, own in breasts.items()}
    metrics["retrieval"] = _rounded(inputs.read_retrieval())
    metrics["forgetting"] = score_forgetting(inputs, units, metrics, labels, run)
    metrics["reports"] = {"pretrain": {name: describe_reports(inputs, name) for name in run.pretrain.cohorts}}
    metrics["pretrain"] = describe_pretraining(inputs)
    metrics["splits"] = {cohort: describe_splits(inputs, cohort) for cohort in run.evaluate.cohorts}
    return metrics, units + [unit for own in breasts.values() for unit in own]


def score_task(units: Sequence[Scored], grades: int, resamples: int, seed: int) -> Metrics:
    """split -> setting -> encoder, and the pretrained encoder's paired gains: over the initial one and every baseline.

    Args:
        units: Of one task.
        grades: Number of grades of an ordinal label.
        resamples: Bootstrap resamples.
        seed: Of the bootstrap.
    """
    found: Metrics = {}
    by_encoder: dict[tuple[str, str], dict[str, Scored]] = {}
    for unit in units:
        by_encoder.setdefault((unit.split, unit.setting), {})[unit.encoder] = unit
    for (split, setting), encoders in by_encoder.items():
        entry = {name: unit_metrics(unit, grades, resamples, seed) for name, unit in encoders.items()}
        for name, unit in encoders.items():
            if name != "pretrained":
                beside = entry if name == "initial" else entry[name]
                beside["gain"] = gain_metrics(encoders["pretrained"], unit, resamples, seed)
        found.setdefault(split, {})[setting] = entry
    return found


def score_fusion(units: Sequence[Scored], resamples: int, seed: int) -> Metrics:
    """AUC by FUSION_METHODS of one label, and the paired gains of FUSION_GAINS; unit: breast."""
    by_setting = {unit.setting: unit for unit in units}
    found: Metrics = {name: unit_metrics(unit, 2, resamples, seed) for name, unit in by_setting.items()}
    for name, (better, base) in FUSION_GAINS.items():
        if {better, base} <= set(by_setting):
            found[name] = gain_metrics(by_setting[better], by_setting[base], resamples, seed)
    return found


def score_forgetting(
    inputs: EvaluationInputs, units: Sequence[Scored], metrics: Metrics, labels: Mapping[str, pd.DataFrame], run: Run
) -> Metrics:
    """task of the fine-tuning -> zero_shot by task, retrieval by direction -> before, after, their paired difference.

    Args:
        inputs: Folders of other stages.
        units: Of `scored_images`, by the encoder before fine-tuning among others.
        metrics: Of the tasks: what was measured before.
        labels: Sealed test images by cohort.
        run: params.yaml.
    """
    ways_by_task = _rounded(inputs.read_tuned_retrieval())
    found: Metrics = {task: {"zero_shot": {}, "retrieval": ways} for task, ways in ways_by_task.items()}
    wanted = ("test", "zero_shot", "pretrained")
    known = {unit.task: unit for unit in units if (unit.split, unit.setting, unit.encoder) == wanted}
    resampling = run.evaluate.bootstrap, run.seed
    for after in scored_images(inputs.read_tuned_predictions(), labels, run.tasks):
        found[after.encoder.removeprefix(TUNED)]["zero_shot"][after.task] = {
            "before": metrics[after.task]["test"]["zero_shot"]["pretrained"],
            "after": unit_metrics(after, _grades(run.tasks[after.task]), *resampling),
            "difference": gain_metrics(after, known[after.task], *resampling),
        }
    return found


def unit_metrics(unit: Scored, grades: int, resamples: int, seed: int) -> Metrics:
    """AUC (of an ordinal label: mean over cut points) with interval, counts, and the spread over training seeds.

    seed_std, the standard deviation of the seeds' AUCs, is missing where there is one training for all of them (one
    seed, or a converged probe on all patients, which has the same scores with every seed).
    """
    labels = unit.labels
    interval = auc_interval(labels, unit.scores, unit.patients, resamples, seed)
    found = interval_metrics("auc", interval) | {"n": len(labels), "patients": len(np.unique(unit.patients))}
    if not unit.is_ordinal:
        found["positives"] = int(labels.sum())
    if interval.is_supported and np.ptp(unit.scores, axis=0).any():
        cuts = cut_points(labels, unit.patients)
        by_seed = [np.mean([auc(cut, scores) for cut in cuts]) for scores in unit.scores]
        found["seed_std"] = rounded(float(np.std(by_seed, ddof=1)))
    if interval.is_supported and unit.is_ordinal:
        kappa = kappa_interval(unit, grades, resamples, seed)
        limits = {"kappa_low": rounded(kappa.low), "kappa_high": rounded(kappa.high)}
        found |= {"kappa": rounded(kappa.value)} | limits
    return found


def kappa_interval(unit: Scored, grades: int, resamples: int, seed: int) -> Interval:
    """Quadratic kappa of the rounded scores, the mean over seeds, with its interval over patients.

    It has no limits where all resamples agree: a model that gives every unit one grade has kappa 0 whoever is drawn,
    which says nothing of the patients to come.
    """

    def mean_kappa(weights: np.ndarray) -> np.ndarray:
        return np.asarray(np.mean([weighted_kappa(unit.grades, row, weights, grades) for row in unit.scores], axis=0))

    interval = weighted_interval(mean_kappa, unit.patients, resamples, seed)
    agree = np.isclose(interval.low, interval.high)
    return interval._replace(low=np.nan, high=np.nan) if agree else interval


def gain_metrics(better: Scored, base: Scored, resamples: int, seed: int) -> Metrics:
    """AUC of the first minus AUC of the second, resampled together.

    Raises:
        ValueError: the two did not score the same units.
    """
    if not better.has_units_of(base):
        raise ValueError(f"{better.task}, {better.setting}: the two models to compare scored different units")
    interval = paired_auc_gain(better.labels, better.scores, base.scores, better.patients, resamples, seed)
    return interval_metrics("auc", interval)


def _grades(task: Task) -> int:
    """Number of grades of an ordinal label."""
    return BIRADS_GRADES if task.label == "birads" else DENSITY_GRADES


def _rounded(tree: Any) -> Any:
    """The same nested dict with every number rounded."""
    if isinstance(tree, dict):
        return {key: _rounded(value) for key, value in tree.items()}
    return rounded(tree) if isinstance(tree, float) else tree

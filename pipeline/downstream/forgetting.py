"""Forgetting: what fine-tuning leaves of zero-shot and retrieval.

The fine-tuned encoder feeds the Tr module of pretraining and is compared with its text tower: neither is trained anew.
Source: method.md, tasks beyond the paper: how much of both survives fine-tuning (the paper claims less forgetting).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pandas as pd

from pipeline.downstream.feature_table import read_features
from pipeline.downstream.predictions import TUNED, write_predictions
from pipeline.downstream.recall import recall_change, retrieval_result
from pipeline.downstream.retrieval import Questions, all_queries, write_results
from pipeline.downstream.zero_shot import TextSide, zero_shot_rows
from pipeline.sections import Task

METHOD = "zero_shot"  # the one whose prompts are used; Mammo-CLIP's are left out


def zero_shot_left(
    tuned: Path, side: TextSide | None, tasks: Mapping[str, Task], names: Sequence[str], out: Path
) -> None:
    """Writes out/predictions.parquet: zero-shot scores by the encoder fine-tuned on each task of the same cohort.

    Of a model that met no text in pretraining the file has no row.

    Args:
        tuned: Folder of the fine-tuned encoders' features, one folder per task; one without rows was not fine-tuned.
        side: Of the pretrained model (`text_side`).
        tasks: Every task by name.
        names: Which of them zero-shot scores.
        out: Folder to write to.
    """
    images, parts = _features_by_task(tuned, tasks), []
    if side is not None:
        side = side._replace(methods={METHOD: side.methods[METHOD]})
        for name in names:
            own = {TUNED + task: rows for task, rows in images.items() if tasks[task].cohort == tasks[name].cohort}
            parts += zero_shot_rows(name, tasks[name].label, own, side) if own else []
    write_predictions(parts, out)


def retrieval_left(
    tuned: Path,
    features: Path,
    asked: Questions,
    tasks: Mapping[str, Task],
    report_cohorts: Sequence[str],
    seed: int,
    bootstrap: int,
    out: Path,
) -> None:
    """Writes out/retrieval.json: {task: {direction: {before, after, difference}}} of the fine-tuned encoders.

    Directions as in `retrieve`, those with reports where the task's cohort has some; before and after as in
    `retrieval_result`, difference as in `recall_change`.

    Args:
        tuned: As in `zero_shot_left`.
        features: Folder of the pretrained encoder's features, one folder per cohort.
        asked: Of the pretrained model (`questions`).
        tasks: Every task by name.
        report_cohorts: Cohorts whose test breasts have reports.
        seed: Of the bootstrap.
        bootstrap: Number of resamples of the patients.
        out: Folder to write to.
    """
    results = {}
    for task, images in _features_by_task(tuned, tasks).items():
        cohort = tasks[task].cohort
        known = read_features(features / cohort)
        before, after = (
            all_queries(rows, asked, with_reports=cohort in report_cohorts)
            for rows in (known[known["split"] == "test"], images)
        )
        results[task] = {
            way: {
                "before": retrieval_result(before[way], seed, bootstrap),
                "after": retrieval_result(after[way], seed, bootstrap),
                "difference": recall_change(before[way], after[way], seed, bootstrap),
            }
            for way in after
        }
    write_results(results, out)


def _features_by_task(tuned: Path, tasks: Mapping[str, Task]) -> dict[str, pd.DataFrame]:
    """Test images by the encoder fine-tuned on each task; without the tasks that were not fine-tuned."""
    found = {task: read_features(tuned / task) for task in tasks}
    return {task: rows for task, rows in found.items() if not rows.empty}

"""What stands in the report and beside it as CSV, but not in metrics.json: operating points and subgroups."""

from pathlib import Path
from typing import NamedTuple

import pandas as pd

from pipeline.evaluation.inputs import EvaluationInputs
from pipeline.evaluation.operating_points import operating_points
from pipeline.evaluation.rounding import DECIMALS
from pipeline.evaluation.subgroups import group_units, largest_gaps, score_subgroups
from pipeline.sections import ENCODERS, Run


class Details(NamedTuple):
    """Tidy tables: of `operating_points`, `score_subgroups` and `largest_gaps`."""

    operating_points: pd.DataFrame
    subgroups: pd.DataFrame
    gaps: pd.DataFrame


def score_details(inputs: EvaluationInputs, run: Run) -> Details:
    """Scores this run's own encoders on the sealed labels of all evaluation cohorts."""
    predictions = inputs.read_predictions()
    predictions = predictions[predictions["encoder"].isin(ENCODERS)]
    labels = {cohort: inputs.read_labels(cohort) for cohort in run.evaluate.cohorts}
    development = {cohort: inputs.read_images(cohort) for cohort in run.evaluate.cohorts}
    resampling = (run.evaluate.bootstrap, run.seed)
    points = operating_points(predictions, development, labels, run.tasks, run.evaluate.calibration, *resampling)
    groupings = group_units(predictions, labels, run.tasks, run.filter.age_band_years)
    subgroups = score_subgroups(groupings, *resampling)
    return Details(points, subgroups, largest_gaps(subgroups, groupings, *resampling))


def write_details(details: Details, folder: Path) -> None:
    """One CSV per table, rounded as metrics.json is; empty where no number is supported."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in details._asdict().items():
        table.round(DECIMALS).to_csv(folder / f"{name}.csv", index=False)

"""What the report says about the work before evaluation: how reports came about, and how pretraining went."""

from typing import Any

import pandas as pd

from pipeline.evaluation.flow_html import split_rows
from pipeline.evaluation.inputs import EvaluationInputs
from pipeline.evaluation.reports_rates import rate_reports
from pipeline.evaluation.rounding import rounded
from pipeline.tables import SPLITS


def describe_reports(inputs: EvaluationInputs, cohort: str) -> dict[str, Any]:
    """Rates of the pseudo reports that pretraining read, as on the reports page: see reports_rates.rate_reports."""
    return rate_reports(inputs.read_reports(cohort), inputs.read_drafts(cohort), inputs.read_report_engine(cohort))


def describe_pretraining(inputs: EvaluationInputs) -> dict[str, Any]:
    """Steps, the last step's loss, and the last validation's recall at 1; null where the method has none."""
    history, validation = inputs.read_history(), inputs.read_validation()
    return {
        "steps": len(history),
        "final_loss": rounded(float(history["loss"].iloc[-1])) if len(history) else None,
        "validation_recall_at_1": rounded(float(validation["recall_at_1"].iloc[-1])) if len(validation) else None,
    }


def describe_splits(inputs: EvaluationInputs, cohort: str) -> dict[str, Any]:
    """Patients per split, and the digest of the committed manifest: equal digests, equal splits."""
    splits, digest = inputs.read_manifest(cohort)
    return {name: int((splits == name).sum()) for name in SPLITS} | {"digest": digest}


def cohort_flow(inputs: EvaluationInputs, cohort: str) -> pd.DataFrame:
    """tables.FLOW with what each step left out, and below it how the kept ones are split over train to test."""
    flow = inputs.read_flow(cohort)
    splits = split_rows(inputs.read_images(cohort)).assign(left_out=None)
    flow = flow.assign(left_out=(-flow["images"].diff()).astype("Int64"))
    return pd.concat([flow.astype({"left_out": object}), splits.astype(object)], ignore_index=True)

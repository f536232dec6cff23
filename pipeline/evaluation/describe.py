"""What the report says about the work before evaluation: how reports came about, and how pretraining went."""

from typing import Any

import pandas as pd

from pipeline.evaluation.flow_html import split_rows
from pipeline.evaluation.inputs import EvaluationInputs
from pipeline.evaluation.rounding import rounded


def describe_reports(inputs: EvaluationInputs, cohort: str) -> dict[str, Any]:
    """Counts of the pseudo reports that pretraining read.

    Returns:
        breasts, distinct (reports); accepted_share: of the prompts the LLM answered, how many texts survived the
        audit; llm_share: of the breasts, how many carry an LLM's text; codes: prompts per audit code that failed;
        engine with its version, model and generated_tokens as the stage recorded them.
    """
    rows, engine = inputs.read_reports(cohort), inputs.read_report_engine(cohort)
    prompts = rows.drop_duplicates("prompt_id")
    asked = prompts[prompts["attempts"] > 0]
    codes = asked["codes"].explode().dropna().value_counts().sort_index()
    return {
        "breasts": len(rows),
        "distinct": int(rows["report_id"].nunique()),
        "prompts": len(prompts),
        "prompts_generated": len(asked),
        "accepted_share": rounded(float((asked["origin"] == "llm").mean())),
        "llm_share": rounded(float((rows["origin"] == "llm").mean())),
        "codes": {str(code): int(count) for code, count in codes.items()},
        "engine": " ".join(str(engine[key]) for key in ("engine", "engine_version") if engine[key]),
        "model": engine["model"] or "none",
        "generated_tokens": int(engine["generated_tokens"]),
    }


def describe_pretraining(inputs: EvaluationInputs) -> dict[str, Any]:
    """Steps, the last step's loss, and the last validation's recall at 1."""
    history, validation = inputs.read_history(), inputs.read_validation()
    return {
        "steps": int(history["step"].iloc[-1]),
        "final_loss": rounded(float(history["loss"].iloc[-1])),
        "validation_recall_at_1": rounded(float(validation["recall_at_1"].iloc[-1])),
    }


def cohort_flow(inputs: EvaluationInputs, cohort: str) -> pd.DataFrame:
    """tables.FLOW with what each step left out, and below it how the kept ones are split over train to test."""
    flow = inputs.read_flow(cohort)
    splits = split_rows(inputs.read_images(cohort)).assign(left_out=None)
    flow = flow.assign(left_out=(-flow["images"].diff()).astype("Int64"))
    return pd.concat([flow.astype({"left_out": object}), splits.astype(object)], ignore_index=True)

"""Writes metrics.json, the plots' data, the figures and one self-contained report.html."""

import json
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd

from pipeline.evaluation import classification_html as classes
from pipeline.evaluation import cohorts_html as cohorts
from pipeline.evaluation import outcomes_html as outcomes
from pipeline.evaluation.describe import cohort_flow
from pipeline.evaluation.details import Details, score_details, write_details
from pipeline.evaluation.figures import write_figures
from pipeline.evaluation.forgetting_html import forgetting_table
from pipeline.evaluation.glance_html import glance_cards
from pipeline.evaluation.html_parts import folded, paragraph, picture, section
from pipeline.evaluation.inputs import EvaluationInputs
from pipeline.evaluation.operating_html import operating_tables
from pipeline.evaluation.plot_tables import label_efficiency_table, risk_auc_table, roc_table, write_plot_tables
from pipeline.evaluation.risk_scores import risk_calibration_table
from pipeline.evaluation.samples import Sample, png_uri, sample_breasts
from pipeline.evaluation.score import score
from pipeline.evaluation.seeds_html import seed_blocks
from pipeline.evaluation.subgroups_html import subgroup_blocks
from pipeline.evaluation.summary import print_summary
from pipeline.sections import Run

__all__ = ["EvaluationInputs", "evaluate"]

TEMPLATE = Path(__file__).parent / "report.html.template"
STYLE = Path(__file__).parent / "page.css"
SAMPLES = 6  # two rows of three on a wide screen
# Anchor -> title, in the order of the page.
SECTIONS = {
    "glance": "At a glance",
    "provenance": "What was run",
    "classification": "Classification",
    "operating": "Operating points and calibration",
    "subgroups": "Subgroups",
    "transfer": "Transfer between cohorts",
    "zero-shot": "Zero-shot",
    "ordinal": "Density and other grades",
    "risk": "Risk",
    "retrieval": "Retrieval",
    "forgetting": "What fine-tuning leaves",
    "fusion": "Image and text together",
    "pretraining": "Pretraining and its reports",
    "cohorts": "Cohort flow",
}


def evaluate(inputs: EvaluationInputs, run: Run, metrics_file: Path, report: Path, plots: Path) -> None:
    """Scores everything against the sealed labels once, and writes what a reviewer reads.

    Args:
        inputs: Folders of the other stages.
        run: params.yaml.
        metrics_file: metrics.json, one nested dict rounded to four decimals.
        report: Folder for report.html, the figures as PNG, and what is too long for metrics.json as CSV.
        plots: Folder for the CSV files behind `dvc plots`.

    Raises:
        ValueError: predictions and sealed labels disagree, or a stage left something else than the contract says.
    """
    metrics, units = score(inputs, run)
    metrics_file.parent.mkdir(parents=True, exist_ok=True)
    metrics_file.write_text(json.dumps(metrics, indent=2, allow_nan=False) + "\n")
    risk = run.risk
    scored = inputs.read_predictions(), inputs.read_labels(risk.cohort)
    tables = {
        "training": inputs.read_history(),
        "roc": roc_table(units),
        "label_efficiency": label_efficiency_table(metrics, run.tasks),
        "risk_auc": risk_auc_table(metrics, risk.horizon_years),
        "risk_calibration": risk_calibration_table(*scored, risk),
    }
    write_plot_tables(tables, plots)
    figures = write_figures(tables, inputs.read_validation(), metrics, run.tasks, report)
    details = score_details(inputs, run)
    write_details(details, report)
    page = render(metrics, details, run, inputs, {name: png_uri(file.read_bytes()) for name, file in figures.items()})
    (report / "report.html").write_text(page)
    print_summary(metrics)


def render(
    metrics: dict[str, Any], details: Details, run: Run, inputs: EvaluationInputs, figures: dict[str, str]
) -> str:
    """The page.

    Args:
        metrics: metrics.json.
        details: What stands beside it.
        run: params.yaml.
        inputs: For the cohort flows and the sample crops (training split of the first pretraining cohort).
        figures: PNG data URIs by name.
    """
    samples = sample_breasts(inputs, run.pretrain.cohorts[0], SAMPLES, run.seed)
    flows = {cohort: cohort_flow(inputs, cohort) for cohort in run.evaluate.cohorts}
    blocks = _result_blocks(metrics, details, run, figures) | _account_blocks(metrics, inputs, figures, samples, flows)
    return Template(TEMPLATE.read_text()).substitute(
        method=classes.METHOD_NAMES[metrics["method"]],
        encoder=metrics["encoder"],
        profile=run.profile,
        style=STYLE.read_text(),
        navigation="".join(f'<a href="#{anchor}">{title}</a>' for anchor, title in SECTIONS.items()),
        sections="".join(section(anchor, title, *blocks[anchor]) for anchor, title in SECTIONS.items()),
    )


def _result_blocks(
    metrics: dict[str, Any], details: Details, run: Run, figures: dict[str, str]
) -> dict[str, list[str]]:
    """What was measured, by section."""
    encoder = metrics["encoder"]
    return {
        "glance": [glance_cards(metrics, run.tasks), picture(figures["gains"], "AUC gained by pretraining, per task")],
        "classification": [
            classes.note(),
            *classes.paper_tables(metrics, run.tasks),
            *seed_blocks(metrics, run.tasks, len(run.probe.seeds)),
            picture(figures["label_efficiency"], "AUC over the percentage of labelled patients, per task"),
            picture(figures["roc"], "ROC curves of each binary task on its test split"),
        ],
        "operating": operating_tables(details.operating_points, run.evaluate.calibration),
        "subgroups": subgroup_blocks(details.subgroups, details.gaps),
        "transfer": [classes.transfer_table(metrics, run.tasks)],
        "zero-shot": [classes.zero_shot_table(metrics, run.tasks)],
        "ordinal": [classes.ordinal_table(metrics, run.tasks)],
        "risk": [
            outcomes.risk_table(metrics, run.risk, encoder),
            picture(figures["risk"], "AUC of the risk models by horizon in years; predicted and observed risk"),
        ],
        "retrieval": [
            outcomes.retrieval_table(metrics),
            folded("Published retrieval results", outcomes.published_retrieval_table()),
        ],
        "forgetting": [forgetting_table(metrics)],
        "fusion": [outcomes.fusion_table(metrics, run.fuse.cohort)],
    }


def _account_blocks(
    metrics: dict[str, Any],
    inputs: EvaluationInputs,
    figures: dict[str, str],
    samples: list[Sample],
    flows: dict[str, pd.DataFrame],
) -> dict[str, list[str]]:
    """How it came about, by section."""
    pretrain = metrics["pretrain"]
    return {
        "provenance": [cohorts.provenance(metrics, inputs.read_pretrained_config(), inputs.read_training_engine())],
        "pretraining": [
            picture(figures["training"], "Training loss by step and validation recall at 1"),
            paragraph(f"{pretrain['steps']} steps; loss of the last one {pretrain['final_loss']}."),
            cohorts.report_rates_table(metrics["reports"]["pretrain"]),
            paragraph("Breasts of the training split with the report that pretraining read:"),
            cohorts.sample_cards(samples),
        ],
        "cohorts": [
            paragraph("Exclusions in order. Splits are by patient; labels of the test split stay sealed until here."),
            '<div class="flows">',
            *(cohorts.flow_table(cohort, flow) for cohort, flow in flows.items()),
            "</div>",
        ],
    }

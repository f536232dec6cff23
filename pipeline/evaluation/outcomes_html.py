"""Risk (table 4), retrieval (table 5) and fusion tables."""

from html import escape
from typing import Any

from pipeline.evaluation.classification_html import METHOD_NAMES
from pipeline.evaluation.html_parts import DASH, Row, gain, number, own_limits, plain_heads, statistic, table
from pipeline.evaluation.published import data_set, metric, published_table
from pipeline.sections import Risk

RISK_NAMES = {"exam": "with aggregator, per exam", "view": "without aggregator, mean over views"}
RISK_ENCODERS = {"frozen": "frozen encoder", "finetuned": "fine-tuned encoder"}
RISK_COLUMNS = ("c_index", "uno_c", "auc_2y", "auc_5y")
DIRECTIONS = {"image_to_text": "image → report", "text_to_image": "report → image", "cc_to_mlo": "CC → MLO"}
# Direction -> what asks, and what is searched. Of a breast, its first image of each view takes part in CC → MLO.
RETRIEVAL_UNITS = {
    "image_to_text": ("images", "reports"),
    "text_to_image": ("reports", "images"),
    "cc_to_mlo": ("CC views", "MLO views"),
}
FUSION_NAMES = {
    "image": "Image only",
    "text": "Text only",
    "fusion": "Fusion",
    "fusion_without_text": "Fusion without text: the same model, text withheld at inference",
}
FUSION_GAIN_NAMES = {
    "gain": "Gain of fusion over image only, paired",
    "gain_over_text": "Gain of fusion over text only, paired",
    "gain_without_text": "Gain of fusion without text over image only, paired",
}


def risk_table(metrics: dict[str, Any], risk: Risk, encoder: str) -> str:
    """Our risk models above the published ones."""
    rows = [Row(["This run: 95 % interval over patients"], "group")]
    for method, measured in metrics["risk"].items():
        name = f"{METHOD_NAMES[metrics['method']]}, {risk_name(method, measured)}"
        cells = [_with_counts(measured.get(column)) for column in RISK_COLUMNS]
        rows.append(Row([escape(name), escape(encoder), "exam", *cells], "ours"))
    rows.append(Row(["Published, for reference only: MV-MLM, table 4, on a private set of 2,245 exams"], "group"))
    for (model, network), printed in published_table(4, metric).items():
        values = [printed.get(column, DASH) for column in RISK_COLUMNS]
        rows.append(Row([escape(model), escape(network), "not stated", *values], "published"))
    later = "negatives, as in Mirai's code" if risk.mirai_compat else "left out"
    caption = (
        f"<b>Like table 4.</b> Cohort: {escape(risk.cohort)}. c-index: Harrell's. n-year AUC: positive with cancer"
        " within n years, negative if followed at least n years without; censored earlier: left out; later cancers:"
        f" {later}. Cancers within 6 months of the exam:"
        f" {'left out' if risk.exclude_screen_detected else 'counted'}."
        f" {_under_censoring(metrics['risk'], risk.horizon_years)} {_calibration(metrics['risk'])}"
    )
    heads = plain_heads("Model", "Encoder", "Unit", "c-index", "Uno's c", "2-year AUC", "5-year AUC")
    return table(heads, rows, caption, words=3)


def risk_name(method: str, measured: dict[str, Any]) -> str:
    """What a risk model is, of its metrics: what makes a unit, prior exams, encoder."""
    priors = "with prior exams where there are any" if measured["prior_exams"] else "without prior exams"
    return f"{RISK_NAMES[method]}, {priors}, {RISK_ENCODERS[measured['encoder']]}"


def retrieval_table(metrics: dict[str, Any]) -> str:
    """Recall at 1, 5, 10 by cohort, direction and reports, with the gallery that makes it easy or hard."""
    rows = [
        Row([escape(cohort), DIRECTIONS[direction], reports, *_retrieval_cells(direction, entry)], "ours")
        for cohort, directions in metrics["retrieval"].items()
        for direction, collapsed in directions.items()
        for reports, entry in _by_reports(collapsed)
    ]
    names = ("Recall at 1", "at 5", "at 10", "Median rank", "Queries", "Gallery", "Chance at 1")
    caption = (
        "<b>Zero-shot retrieval.</b> Test breasts. Distinct reports: equal ones are one item, or one query. Every"
        " breast's: each is an item, or a query. Right is, either way, every report with the image's facts, or every"
        " image with the report's; ties count against the model. Chance at 1: what an order at random would have. 95 %"
        " interval over patients; of distinct reports as queries over the facts they state, since one report belongs"
        " to many patients. The gallery is held. A recall of 0 or 1 has the exact binomial limit of so many draws."
        " No output keeps single queries, so make compare has no retrieval."
    )
    return table(plain_heads("Cohort", "Direction", "Reports", *names), rows, caption, words=3)


def _by_reports(collapsed: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Which reports are asked or searched, and what came of it."""
    every = collapsed.get("every_report")
    return [("distinct", collapsed), ("every breast's", every)] if every else [(DASH, collapsed)]


def _retrieval_cells(direction: str, entry: dict[str, Any]) -> list[str]:
    """Statistics, sizes and chance of one gallery."""
    queries, items = RETRIEVAL_UNITS[direction]
    return [
        statistic(entry, "recall_at_1"),
        *(statistic(own_limits(entry, f"recall_at_{depth}"), f"recall_at_{depth}") for depth in (5, 10)),
        statistic(own_limits(entry, "median_rank"), "median_rank", decimals=1),
        f"{number(entry['queries'])} {queries}",
        f"{number(entry['gallery'])} {items}",
        f"{entry['chance_at_1']:.4f}",
    ]


def published_retrieval_table() -> str:
    """Table 5 of the paper."""
    published = published_table(5, data_set)
    columns = sorted({column for cells in published.values() for column in cells})
    rows = [
        Row([escape(model), escape(network), *(cells.get(column, DASH) for column in columns)], "published")
        for (model, network), cells in published.items()
    ]
    caption = (
        "<b>Published, for reference only:</b> MV-MLM, table 5: recall at 1 on three private sets; direction and"
        " gallery size are not stated, so no row can be set against ours."
    )
    return table(plain_heads("Model", "Encoder", *columns), rows, caption, words=2)


def fusion_table(metrics: dict[str, Any], cohort: str) -> str:
    """By label: image only, text only, both, both with the text withheld, and the paired gains."""
    rows = []
    for label, measured in metrics["fusion"].items():
        rows.append(Row([f"Label <code>{escape(label)}</code>"], "group"))
        rows += [
            Row([name, statistic(entry, "auc"), number(entry["n"]), number(entry["positives"])], "ours")
            for key, name in FUSION_NAMES.items()
            if (entry := measured.get(key))
        ]
        rows += [Row([name, gain(measured.get(key)), "", ""], "gain") for key, name in FUSION_GAIN_NAMES.items()]
    caption = (
        "<b>Fusion.</b> A labelled interpretation of Breast Cancer VLMs (arXiv 2510.25051), not its code: the full text"
        " is not public enough to rebuild it or to set its numbers beside these. One model predicts all labels."
        f" Cohort {escape(cohort)}. Unit: breast, positive if any of its images is. The text is the table's facts and a"
        " report written of them, and holds only what is known before reading (age band, views, side, density,"
        " implant, machine): no finding, no BI-RADS."
    )
    return table(plain_heads("Input", "AUC", "n", "positives"), rows, caption)


def _with_counts(entry: dict[str, Any] | None) -> str:
    """A risk metric with its interval, exams and events."""
    if entry is None:
        return DASH
    return f"{statistic(entry, 'value')}<small>n {entry['n']}, cancers {entry['events']}</small>"


def _under_censoring(risk: dict[str, Any], horizon_years: int) -> str:
    """What Uno's c and the dynamic AUC are, and each method's dynamic AUCs and observed over expected cancers."""
    if not risk:
        return "<b>No risk model: the cohort's training or validation exams have no follow-up.</b>"
    by_year = [f"dynamic_auc_{year}y" for year in range(1, horizon_years + 1)]
    aucs = [f"{escape(name)} {', '.join(_plain(each[key], 'value') for key in by_year)}" for name, each in risk.items()]
    ratios = [f"{escape(name)} {_with_limits(each['observed_to_expected'], 'value')}" for name, each in risk.items()]
    return (
        f"Uno's c: a cancer before year {horizon_years} counts 1 / G², where G is the share of the development exams"
        " that were followed until then. Dynamic AUC at n years: cancers within n years, each counting 1 / G, against"
        f" exams known to be free of cancer beyond n years; at 1 to {horizon_years} years: {'; '.join(aucs)}. Observed"
        f" (Kaplan-Meier) over expected cancers within {horizon_years} years, by risks calibrated, where they"
        f" suffice, on the validation exams: {'; '.join(ratios)}."
    )


def _with_limits(entry: dict[str, Any], key: str) -> str:
    """A number and its interval within a sentence; n/a and why."""
    limits = "" if entry[key] is None else f" ({number(entry['low'])} to {number(entry['high'])})"
    return _plain(entry, key) + limits


def _plain(entry: dict[str, Any], key: str) -> str:
    """A number within a sentence; n/a and why."""
    return f"n/a ({escape(entry.get('flag', 'too few patients'))})" if entry[key] is None else number(entry[key])


def _calibration(risk: dict[str, Any]) -> str:
    """Brier score and calibration error of each method, in a sentence."""
    parts = [
        f"{escape(method)} Brier {_with_limits(own_limits(entry, 'brier'), 'brier')},"
        f" calibration error {number(entry['ece'])}"
        for method, measured in risk.items()
        for name, entry in measured.items()
        if name.startswith("calibration") and entry["brier"] is not None
    ]
    note = "Weights make up for censored exams. The calibration error takes noise for error, too, and has no interval."
    return f"Calibration at the last horizon: {'; '.join(parts)}. {note}" if parts else ""

"""The pretrained encoder's operating points and calibration of images and breasts, and its AUC by unit."""

from collections.abc import Iterable
from html import escape
from typing import Any

import pandas as pd

from pipeline.evaluation.classification_html import setting_title
from pipeline.evaluation.html_parts import Row, folded, number, plain_heads, statistic, table
from pipeline.evaluation.operating_points import BREAST_STATISTICS, CALIBRATED, LINE, table_name
from pipeline.evaluation.risk_scores import CALIBRATION_BINS
from pipeline.evaluation.unit_scores import AGGREGATES, GROUPS, SUMMARIES
from pipeline.metrics.bootstrap import MIN_PATIENTS
from pipeline.sections import Calibration

# Statistic of `operating_points` -> head of its column.
IMAGE_COLUMNS = {
    "average_precision": "AP",
    "sensitivity_at_90": "Sensitivity at 90 %",
    "sensitivity_at_95": "Sensitivity at 95 %",
    "partial_auc_10": "Partial AUC",
    "recall_rate_at_90": "Recall rate at 90 %",
    "recall_rate_at_95": "Recall rate at 95 %",
    "pf1": "pF1",
    "brier": "Brier",
    "ece": "ECE",
    "calibration_slope": "Slope",
}
BREAST_COLUMNS = {"auc": "AUC"} | {name: IMAGE_COLUMNS[name] for name in BREAST_STATISTICS if name in IMAGE_COLUMNS}
# (unit, aggregate) of `operating_points` -> head of its column.
UNIT_COLUMNS = {("image", "none"): "Image"} | {
    (unit, aggregate): f"{unit.capitalize()}, {aggregate}" for unit in GROUPS for aggregate in AGGREGATES
}
COUNTED = ("image", *GROUPS)
MAPS: dict[Calibration, str] = {
    "platt": "scores Platt-scaled on validation",
    "isotonic": "scores through an isotonic regression on validation, whose 0 and 1 the slope moves in by a millionth",
}
TOO_FEW = f"fewer than {MIN_PATIENTS} patients on one side"
UNLEARNED = f"{TOO_FEW}, of test or of validation"
NO_MAP = f"{TOO_FEW}, or no validation scores of both classes"


def operating_tables(points: pd.DataFrame, calibration: Calibration) -> list[str]:
    """Three tables of the pretrained encoder on the tasks' own test splits; none where no binary task was scored.

    Args:
        points: From `operating_points`.
        calibration: As it was told there.
    """
    own = points[(points["split"] == "test") & (points["encoder"] == "pretrained")]
    if own.empty:
        return []
    images, aucs = own[own["unit"] == "image"], own[own["statistic"] == "auc"]
    breasts = own[(own["unit"] == "breast") & own["aggregate"].isin(SUMMARIES)]
    sensitivity = _range(images[images["statistic"] == "sensitivity_at_90"], "Sensitivity at 90 % specificity", TOO_FEW)
    of_means = breasts[(breasts["statistic"] == table_name("pf1", calibration)) & (breasts["aggregate"] == "mean")]
    return [
        folded(f"<b>Operating points and calibration.</b> {sensitivity}", _image_table(images, calibration)),
        folded(f"<b>Breasts.</b> {_range(of_means, 'pF1 by the mean', NO_MAP)}", _breast_table(breasts, calibration)),
        folded(_largest_unit_gap(aucs), _unit_table(aucs)),
    ]


def _range(points: pd.DataFrame, name: str, reason: str) -> str:
    """How many models there are, and the least and the largest value of one statistic."""
    models = _by_setting(points)
    known = sorted((row["value"], ", ".join(names)) for names, (row,) in models.items() if pd.notna(row["value"]))
    ends = [f"{value:.3f} ({model})" for value, model in known]
    span = f"{ends[0]} to {ends[-1]}" if ends else f"n/a, {reason}"
    return f"Models: {len(models)}. {name}: {span}."


def _largest_unit_gap(points: pd.DataFrame) -> str:
    """What the table of units is, with the model whose AUC depends most on the unit and its score."""
    models = _by_setting(points)
    gaps = []
    for names, rows in models.items():
        aucs = sorted((row["value"], UNIT_COLUMNS[_column(row)]) for row in rows if pd.notna(row["value"]))
        if aucs:
            (low, lowest), (high, highest) = aucs[0], aucs[-1]
            found = f"{', '.join(names)}, {high:.3f} ({highest}) above {low:.3f} ({lowest})"
            gaps.append((high - low, found))
    _, largest = max(gaps, default=(0.0, f"n/a, {TOO_FEW}"))
    return f"<b>AUC by unit.</b> Models: {len(models)}. Largest gap: {largest}."


def _image_table(points: pd.DataFrame, calibration: Calibration) -> str:
    """A row per task and setting, a column per statistic of the images."""
    reasons = _reasons(IMAGE_COLUMNS, calibration)
    rows = []
    for names, group in _by_setting(points).items():
        found = {row["statistic"]: row for row in group}
        counts = [number(group[0][name]) for name in ("n", "positives")]
        rows.append(Row([*names, *(_cell(found[name], reason) for name, reason in reasons.items()), *counts]))
    caption = (
        "<b>Operating points and calibration.</b> Unit: image. Pretrained encoder, test split, mean over seeds, 95 %"
        " interval over patients. AP: average precision; a useless score has the share of positives. Partial AUC: up to"
        " a false positive rate of 10 %, on the scale of an AUC (McClish): 0.5 is useless. Sensitivity and"
        " recall rate stand at a specificity of 90 or 95 %, read from the test curve; recall rate is the share of all"
        f" images called back. pF1, Brier, ECE ({CALIBRATION_BINS} bins of equal size) and slope (1: calibrated, below"
        f" 1: too extreme) are of probabilities: {MAPS[calibration]}; n/a where validation has no scores. ECE has no"
        " interval: it takes noise for error, is too large in a small test set, and its interval misses the truth."
    )
    return table(plain_heads("Task", "Setting", *IMAGE_COLUMNS.values(), "n", "pos."), rows, caption, words=2)


def _breast_table(points: pd.DataFrame, calibration: Calibration) -> str:
    """A row per task and setting, a column per statistic of the breasts' means and maxima."""
    reasons = _reasons(BREAST_COLUMNS, calibration)
    rows = []
    for names, group in _by_setting(points).items():
        found = {(row["aggregate"], row["statistic"]): row for row in group}
        cells = [_cell(found[way, name], reason) for way in SUMMARIES for name, reason in reasons.items()]
        rows.append(Row([*names, *cells, *(number(group[0][name]) for name in ("n", "positives"))]))
    caption = (
        "<b>Breasts.</b> Unit: breast. Its score is the mean or the maximum of its images' scores; it is positive if"
        " any image is. The RSNA 2022 challenge scores breasts by pF1. Pretrained encoder, test split, mean over seeds,"
        " 95 % interval over patients. Sensitivity is that at 90 % specificity on the test curve. pF1 is of"
        f" probabilities: {MAPS[calibration]} breasts."
    )
    ways = [("", 2), *((f"{way.capitalize()} of its images", len(BREAST_COLUMNS)) for way in SUMMARIES), ("", 2)]
    columns = [*BREAST_COLUMNS.values()] * len(SUMMARIES)
    return table([ways, *plain_heads("Task", "Setting", *columns, "n", "pos.")], rows, caption, words=2)


def _reasons(statistics: Iterable[str], calibration: Calibration) -> dict[str, str]:
    """Why a statistic can be n/a, by its name in the table of points."""
    needs_map = (*CALIBRATED, *LINE)
    return {table_name(name, calibration): NO_MAP if name in needs_map else TOO_FEW for name in statistics}


def _unit_table(points: pd.DataFrame) -> str:
    """A row per task and setting, a column per unit and aggregate."""
    rows = []
    for names, group in _by_setting(points).items():
        reasons = [UNLEARNED if row["aggregate"] == "learned" else TOO_FEW for row in group]
        found = {_column(row): _cell(row, reason) for row, reason in zip(group, reasons, strict=True)}
        counts = {row["unit"]: number(row["n"]) for row in group}
        rows.append(Row([*names, *(found[key] for key in UNIT_COLUMNS), *(counts[unit] for unit in COUNTED)]))
    caption = (
        "<b>AUC by unit.</b> Unit: image, breast or exam, as the column says. The score of a breast or exam is the mean"
        " or the maximum of its images' scores, or (learned) a logistic regression on both, fitted on validation, n/a"
        f" where that has fewer than {MIN_PATIENTS} patients on one side. It is positive if any image is, and left out"
        " if none is and one is unknown. Pretrained encoder, test split, mean over seeds, DeLong's 95 % interval with"
        " patients as clusters."
    )
    heads = plain_heads("Task", "Setting", *UNIT_COLUMNS.values(), *(f"n, {unit}" for unit in COUNTED))
    return table(heads, rows, caption, words=2)


def _by_setting(points: pd.DataFrame) -> dict[tuple[str, str], list[dict[str, Any]]]:
    """(HTML of the task, name of the setting) -> its rows, in their order."""
    found: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in points.to_dict("records"):
        names = (f"<code>{escape(row['task'])}</code>", setting_title(row["setting"]))
        found.setdefault(names, []).append({str(name): value for name, value in row.items()})
    return found


def _column(row: dict[str, Any]) -> tuple[str, str]:
    """Key of UNIT_COLUMNS."""
    return row["unit"], row["aggregate"]


def _cell(row: dict[str, Any], reason: str) -> str:
    """The statistic with its interval; n/a where it is NaN, with the reasons that it can have."""
    entry = {name: None if pd.isna(row[name]) else row[name] for name in ("value", "low", "high")}
    return statistic(entry | {"flag": reason}, "value")

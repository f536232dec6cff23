"""The pretrained encoder's operating points and calibration, and its AUC by image, breast and exam."""

from html import escape
from typing import Any

import pandas as pd

from pipeline.evaluation.classification_html import setting_title
from pipeline.evaluation.html_parts import Row, folded, number, plain_heads, statistic, table
from pipeline.evaluation.operating_points import CALIBRATED, LINE, table_name
from pipeline.evaluation.risk_scores import CALIBRATION_BINS
from pipeline.evaluation.unit_scores import AGGREGATES, GROUPS
from pipeline.metrics.bootstrap import MIN_PATIENTS
from pipeline.sections import Calibration

# Statistic of `operating_points` -> head of its column.
IMAGE_COLUMNS = {
    "average_precision": "AP",
    "sensitivity_at_90": "Sensitivity at 90 %",
    "sensitivity_at_95": "Sensitivity at 95 %",
    "recall_rate_at_95": "Recall rate at 95 %",
    "pf1": "pF1",
    "brier": "Brier",
    "ece": "ECE",
    "calibration_slope": "Slope",
}
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
    """Two tables of the pretrained encoder on the tasks' own test splits; none where no binary task was scored.

    Args:
        points: From `operating_points`.
        calibration: As it was told there.
    """
    own = points[(points["split"] == "test") & (points["encoder"] == "pretrained")]
    if own.empty:
        return []
    images, aucs = own[own["unit"] == "image"], own[own["statistic"] == "auc"]
    return [
        folded(_sensitivity_range(images), _image_table(images, calibration)),
        folded(_largest_unit_gap(aucs), _unit_table(aucs)),
    ]


def _sensitivity_range(points: pd.DataFrame) -> str:
    """What the table of images is, with its least and its most sensitive model."""
    models = _by_setting(points[points["statistic"] == "sensitivity_at_90"])
    known = sorted((row["value"], ", ".join(names)) for names, (row,) in models.items() if pd.notna(row["value"]))
    ends = [f"{value:.3f} ({model})" for value, model in known]
    span = f"{ends[0]} to {ends[-1]}" if ends else f"n/a, {TOO_FEW}"
    return f"<b>Operating points and calibration.</b> Models: {len(models)}. Sensitivity at 90 % specificity: {span}."


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
    reasons = {
        table_name(name, calibration): NO_MAP if name in (*CALIBRATED, *LINE) else TOO_FEW for name in IMAGE_COLUMNS
    }
    rows = []
    for names, group in _by_setting(points).items():
        found = {row["statistic"]: row for row in group}
        counts = [number(group[0][name]) for name in ("n", "positives")]
        rows.append(Row([*names, *(_cell(found[name], reason) for name, reason in reasons.items()), *counts]))
    caption = (
        "<b>Operating points and calibration.</b> Unit: image. Pretrained encoder, test split, mean over seeds, 95 %"
        " interval over patients. AP: average precision; a useless score has the share of positives. Sensitivity and"
        " recall rate stand at a specificity of 90 or 95 %, read from the test curve; recall rate is the share of all"
        f" images called back. pF1, Brier, ECE ({CALIBRATION_BINS} bins of equal size) and slope (1: calibrated, below"
        f" 1: too extreme) are of probabilities: {MAPS[calibration]}; n/a where validation has no scores."
        " ECE takes the absolute value of noise, too: its interval lies high and may miss the value."
    )
    return table(plain_heads("Task", "Setting", *IMAGE_COLUMNS.values(), "n", "pos."), rows, caption, words=2)


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

"""The data of the figures as small CSV files, which `dvc plots` draws and any two revisions can overlay.

Of this run's own encoders: baselines stand in metrics.json and the report's tables.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from pipeline.evaluation.rounding import DECIMALS
from pipeline.evaluation.scored import Scored
from pipeline.metrics.classification import roc_curve
from pipeline.sections import ENCODERS, Task

ROC_POINTS = 51  # every 2 % of the false positive rate: enough for a curve, small enough for a diff
ROC_SETTINGS = ("lp_100", "ft_100", "zero_shot")


def roc_table(units: Sequence[Scored]) -> pd.DataFrame:
    """task, curve, false_positive_rate, sensitivity (mean over seeds) of the binary tasks on their own test split."""
    rates = np.linspace(0, 1, ROC_POINTS)
    parts = []
    for unit in (unit for unit in units if unit.encoder in ENCODERS):
        if unit.is_ordinal or unit.split != "test" or unit.setting not in ROC_SETTINGS or np.ptp(unit.grades) == 0:
            continue
        curves = [roc_curve(unit.grades == 1, scores, rates) for scores in unit.scores]
        keys = {"task": unit.task, "curve": f"{unit.setting} {unit.encoder}"}
        parts.append(
            pd.DataFrame({**keys, "false_positive_rate": rates, "sensitivity": np.mean(curves, axis=0)}).round(DECIMALS)
        )
    empty = pd.DataFrame(columns=["task", "curve", "false_positive_rate", "sensitivity"])
    return pd.concat(parts, ignore_index=True) if parts else empty


def label_efficiency_table(metrics: dict[str, Any], tasks: dict[str, Task]) -> pd.DataFrame:
    """task, curve (method and encoder), percent of the training patients, auc, low, high; linear probes, own test."""
    rows = [
        {
            "task": task,
            "curve": f"{setting.rpartition('_')[0]} {encoder}",
            "percent": int(setting.rpartition("_")[2]),
            **{key: entry[key] for key in ("auc", "low", "high")},
        }
        for task in tasks
        for setting, encoders in metrics[task].get("test", {}).items()
        if setting.startswith("lp")
        for encoder, entry in encoders.items()
        if encoder in ENCODERS
    ]
    columns = ["task", "curve", "percent", "auc", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def risk_auc_table(metrics: dict[str, Any], horizon_years: int) -> pd.DataFrame:
    """method, year, auc, low, high of the risk models."""
    rows = [
        {"method": method, "year": year, "auc": entry["value"], "low": entry["low"], "high": entry["high"]}
        for method, measured in metrics["risk"].items()
        for year in range(1, horizon_years + 1)
        for entry in [measured[f"auc_{year}y"]]
    ]
    return pd.DataFrame(rows, columns=["method", "year", "auc", "low", "high"])


def write_plot_tables(tables: dict[str, pd.DataFrame], folder: Path) -> None:
    """Writes <name>.csv for every table."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        table.to_csv(folder / f"{name}.csv", index=False, lineterminator="\n")

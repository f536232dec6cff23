"""The report's figures as PNG files, byte-stable: training, label efficiency, ROC, gains, risk by year."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from pipeline.sections import Task

PRETRAINED, INITIAL, FINE_TUNED, ZERO_SHOT, INK = "#0f766e", "#94a3b8", "#c2410c", "#6d28d9", "#334155"
# Curve (setting and encoder) -> name in the legend, colour, line.
CURVES = {
    "lp pretrained": ("linear probe, pretrained", PRETRAINED, "-"),
    "lp initial": ("linear probe, initial encoder", INITIAL, "-"),
    "lp_paper pretrained": ("probe as published, pretrained", PRETRAINED, ":"),
    "lp_paper initial": ("probe as published, initial encoder", INITIAL, ":"),
    "lp_100 pretrained": ("linear probe, pretrained", PRETRAINED, "-"),
    "lp_100 initial": ("linear probe, initial encoder", INITIAL, "-"),
    "ft_100 pretrained": ("fine-tuned", FINE_TUNED, "-"),
    "zero_shot pretrained": ("zero-shot", ZERO_SHOT, "--"),
}
OFFSET = 0.05  # of the dotted curves of label efficiency to either side, in steps between fractions
RISK_CURVES = {"exam": ("exam, with aggregator", PRETRAINED), "view": ("views averaged", INITIAL)}
STYLE: dict[Any, Any] = {
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": "#cbd5e1",
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#eef2f6",
    "axes.axisbelow": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
}
MOST_SIDE_BY_SIDE = 4
HEIGHT_INCHES = 2.7
PIXELS_PER_INCH = 130


def write_figures(
    tables: dict[str, pd.DataFrame],
    validation: pd.DataFrame,
    metrics: dict[str, Any],
    tasks: dict[str, Task],
    folder: Path,
) -> dict[str, Path]:
    """Draws every figure.

    Args:
        tables: training, roc, label_efficiency, risk_auc and risk_calibration as written for `dvc plots`.
        validation: The pretraining's validation by epoch.
        metrics: metrics.json.
        tasks: By name.
        folder: Where <name>.png goes.

    Returns:
        Name -> file.
    """
    efficiency, roc = tables["label_efficiency"], tables["roc"]
    # name: number of panels, width of one in inches, who draws them
    drawings: dict[str, tuple[int, float, Callable[[Figure], None]]] = {
        "training": (2, 3.4, lambda figure: _draw_training(figure, tables["training"], validation)),
        "label_efficiency": (efficiency["task"].nunique(), 3.0, lambda figure: _draw_efficiency(figure, efficiency)),
        "roc": (roc["task"].nunique(), 2.3, lambda figure: _draw_roc(figure, roc)),
        "gains": (2, 3.6, lambda figure: _draw_gains(figure, metrics, list(tasks))),
        "risk": (2, 3.4, lambda figure: _draw_risk(figure, tables["risk_auc"], tables["risk_calibration"])),
    }
    folder.mkdir(parents=True, exist_ok=True)
    files = {}
    for name, (panels, width, draw) in drawings.items():
        with rc_context(STYLE):
            lines, columns = _grid(panels)
            size = (width * columns + 0.4, HEIGHT_INCHES * lines)
            figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(h_pad=0.08))
            draw(figure)
            files[name] = folder / f"{name}.png"
            # Without Software, whose value is the library's version; PNG holds no date.
            figure.savefig(files[name], dpi=PIXELS_PER_INCH, metadata={"Software": None})
    return files


def _grid(panels: int) -> tuple[int, int]:
    """Lines and columns: up to four side by side, more in lines of three."""
    columns = max(1, panels if panels <= MOST_SIDE_BY_SIDE else 3)
    return max(1, -(-panels // columns)), columns


def _panels(figure: Figure, count: int) -> Sequence[Axes]:
    """That many panels; what is left of the last line stays empty."""
    axes = list(figure.subplots(*_grid(count), squeeze=False).flat)
    for empty in axes[max(count, 1) :]:
        empty.remove()
    return axes[: max(count, 1)]


def _legend_below(figure: Figure, columns: int) -> None:
    """One legend for all panels, in the order of CURVES."""
    found = {
        name: handle for axes in figure.axes for handle, name in zip(*axes.get_legend_handles_labels(), strict=True)
    }
    names = list(dict.fromkeys(name for name, _, _ in CURVES.values() if name in found)) or list(found)
    figure.legend([found[name] for name in names], names, loc="outside lower center", ncols=columns)


def _draw_training(figure: Figure, history: pd.DataFrame, validation: pd.DataFrame) -> None:
    """Loss by step; recall at 1 of the validation split by epoch."""
    loss, recall = _panels(figure, 2)
    loss.plot(history["step"], history["loss"], color="#99d5cd", linewidth=1)
    window = max(1, len(history) // 20)
    smooth = history["loss"].rolling(window, center=True, min_periods=1).mean()
    loss.plot(history["step"], smooth, color=PRETRAINED)
    loss.set(title="Training loss", xlabel="step", ylabel="nats")
    recall.plot(range(1, len(validation) + 1), validation["recall_at_1"], color=PRETRAINED, marker="o", markersize=4)
    recall.set(title="Validation recall at 1", xlabel="epoch", ylim=(0, None))


def _draw_efficiency(figure: Figure, table: pd.DataFrame) -> None:
    """AUC over the share of labelled patients, with its interval."""
    percents = sorted(table["percent"].unique())
    for axes, (task, rows) in zip(
        _panels(figure, table["task"].nunique()), table.groupby("task", sort=False), strict=False
    ):
        for curve, points in rows.dropna().groupby("curve"):
            name, colour, line = CURVES[str(curve)]
            x = np.array([percents.index(percent) for percent in points["percent"]], float)
            if line == "-":
                axes.fill_between(x, points["low"], points["high"], color=colour, alpha=0.13, linewidth=0)
            else:  # a third and a fourth band would hide the others
                x += OFFSET if colour == PRETRAINED else -OFFSET
                axes.vlines(x, points["low"], points["high"], color=colour, linewidth=1)
            axes.plot(x, points["auc"], line, color=colour, label=name, marker="o", markersize=4)
        axes.axhline(0.5, color="#cbd5e1", linewidth=1)
        axes.set(title=str(task), xlabel="labelled patients, %", xticks=range(len(percents)), xticklabels=percents)
    figure.axes[0].set_ylabel("AUC on test patients")
    _legend_below(figure, 4)


def _draw_roc(figure: Figure, table: pd.DataFrame) -> None:
    """ROC of each binary task."""
    for axes, (task, rows) in zip(
        _panels(figure, table["task"].nunique()), table.groupby("task", sort=False), strict=False
    ):
        axes.plot([0, 1], [0, 1], color="#cbd5e1", linewidth=1)
        for curve, points in rows.groupby("curve"):
            name, colour, line = CURVES[str(curve)]
            axes.plot(points["false_positive_rate"], points["sensitivity"], line, color=colour, label=name)
        axes.set(title=str(task), xlabel="false positive rate", aspect="equal")
    figure.axes[0].set_ylabel("sensitivity")
    _legend_below(figure, 4)


def _draw_gains(figure: Figure, metrics: dict[str, Any], tasks: Sequence[str]) -> None:
    """Paired gain of the pretrained over the initial encoder, linear probe on all training patients."""
    gains = [
        (f"{task}{'' if split == 'test' else ' → ' + split.removeprefix('transfer_')}", settings["lp_100"]["gain"])
        for task in tasks
        for split, settings in metrics[task].items()
        if settings.get("lp_100", {}).get("gain", {}).get("auc") is not None
    ]
    (axes,) = _panels(figure, 1)
    axes.axvline(0, color=INK, linewidth=1)
    for height, (_, gain) in enumerate(reversed(gains)):
        colour = PRETRAINED if gain["low"] > 0 else FINE_TUNED if gain["high"] < 0 else INITIAL
        axes.plot([gain["low"], gain["high"]], [height, height], color=colour, linewidth=2.5, solid_capstyle="round")
        axes.plot(gain["auc"], height, "o", color=colour, markersize=6)
    axes.set(yticks=range(len(gains)), yticklabels=[name for name, _ in reversed(gains)])
    axes.set_ylim(-0.6, len(gains) - 0.4)
    axes.set(title="AUC gained by pretraining (paired, 95 %)", xlabel="pretrained minus initial encoder")


def _draw_risk(figure: Figure, auc: pd.DataFrame, calibration: pd.DataFrame) -> None:
    """n-year AUC of the risk models, and observed over predicted risk at the last horizon."""
    by_year, reliability = _panels(figure, 2)
    by_year.axhline(0.5, color="#cbd5e1", linewidth=1)
    reliability.axline((0, 0), slope=1, color="#cbd5e1", linewidth=1)
    for method, (name, colour) in RISK_CURVES.items():
        groups = calibration[calibration["method"] == method].dropna()
        reliability.plot(groups["predicted"], groups["observed"], color=colour, marker="o", markersize=4, label=name)
        rows = auc[auc["method"] == method].dropna()
        if not rows.empty:  # there is a model, and a year with cancers enough
            by_year.plot(rows["year"], rows["auc"], color=colour, marker="o", markersize=4, label=name)
            by_year.fill_between(rows["year"], rows["low"], rows["high"], color=colour, alpha=0.15, linewidth=0)
    years = sorted(auc["year"].unique())
    by_year.set(title="Risk: AUC by horizon", xlabel="years", ylabel="AUC", xticks=years)
    within = f" within {years[-1]} years" if years else ""
    reliability.set(title=f"Risk{within}", xlabel="predicted, mean of a group of exams")
    reliability.set(ylabel="observed (Kaplan-Meier)", xlim=(0, None), ylim=(0, None))
    _legend_below(figure, 2)

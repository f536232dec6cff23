"""The figures of the quality page: the cohort's flow, and how the crops are distributed."""

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.evaluation.figures import FINE_TUNED, INK, PIXELS_PER_INCH, PRETRAINED, STYLE

STEP_INCHES, WIDTH_INCHES = 0.62, 7.0
BOX_WIDTH = 0.46  # of the figure's width: the boxes of what is left, in a column
MOST_BINS = 40


def write_quality_figures(
    rows: pd.DataFrame, flow: pd.DataFrame, counts: dict[str, Any], folder: Path
) -> dict[str, Path]:
    """Draws flow.png and distributions.png, byte-stable.

    Args:
        rows: tables.CROPS without the pixels, with box_share.
        flow: tables.FLOW.
        counts: Of quality.json.
        folder: Where the files go.
    """
    ingested = rows[rows["status"] == "ingested"]
    with rc_context(STYLE):
        steps = flow[flow["images"].diff().fillna(-1) != 0]
        drawn = Figure(figsize=(WIDTH_INCHES, STEP_INCHES * (len(steps) + 0.6)), layout="constrained")
        _draw_flow(drawn.subplots(), steps)
        spread = Figure(figsize=(10.5, 2.5), layout="constrained")
        _draw_distributions(list(spread.subplots(1, 4)), ingested)
        files = {"flow": folder / "flow.png", "distributions": folder / "distributions.png"}
        for name, figure in (("flow", drawn), ("distributions", spread)):
            figure.savefig(files[name], dpi=PIXELS_PER_INCH, metadata={"Software": None})
    return files


def _draw_flow(axes: Axes, steps: pd.DataFrame) -> None:
    """What is left after each step in a column of boxes; what the step takes beside it (after CONSORT 2010)."""
    axes.set(xlim=(0, 1), ylim=(-len(steps) + 0.4, 0.6))
    axes.axis("off")
    before = None
    for height, step in enumerate(steps.astype(object).to_dict("records")):
        counts = ", ".join(f"{step[unit]:,} {unit}" for unit in ("images", "exams", "patients"))
        axes.text(BOX_WIDTH / 2 + 0.01, -height, f"{step['step']}: {counts}", ha="center", va="center", fontsize=8,
                  bbox={"boxstyle": "round,pad=0.45", "facecolor": "white", "edgecolor": PRETRAINED})  # fmt: skip
        if before is not None:
            axes.annotate("", (BOX_WIDTH / 2, -height + 0.3), (BOX_WIDTH / 2, -height + 0.7),
                          arrowprops={"arrowstyle": "->", "color": INK})  # fmt: skip
            lost = f"left out: {before - step['images']:,} images"
            axes.text(0.99, -height + 0.5, lost, ha="right", va="center", fontsize=8, color=FINE_TUNED)
            axes.plot([BOX_WIDTH / 2, 0.76], [-height + 0.5] * 2, color="#cbd5e1", linewidth=1)
        before = step["images"]


def _draw_distributions(panels: list[Axes], ingested: pd.DataFrame) -> None:
    """Share of the frame that the box takes, contrast, height of the crop, spacing of the frame."""
    contrast = (ingested["breast_high"] - ingested["breast_low"]) / 65535
    shown = {
        "box, share of the frame": ingested["box_share"],
        "tissue, share of the grey range": contrast,
        "height of the crop, px": ingested["height_px"],
        "spacing of the frame, mm": ingested["spacing_mm"],
    }
    for axes, (title, values) in zip(panels, shown.items(), strict=True):
        known = values.dropna().astype(float)
        if known.empty:
            axes.text(0.5, 0.5, "not known", ha="center", va="center", transform=axes.transAxes, color=INK)
        else:
            axes.hist(known, bins=min(MOST_BINS, max(5, known.nunique())), color=PRETRAINED)
        axes.set(title=title, yticks=[])

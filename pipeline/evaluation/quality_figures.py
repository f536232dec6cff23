"""The figure of the quality page: how the crops are distributed."""

from pathlib import Path

import pandas as pd
from matplotlib import rc_context
from matplotlib.figure import Figure

from pipeline.evaluation.figures import INK, PIXELS_PER_INCH, PRETRAINED, STYLE
from pipeline.evaluation.quality_plots import QUANTITIES, bin_quantity

SIZE_INCHES = (11.5, 2.5)


def draw_distributions(ingested: pd.DataFrame, file: Path) -> Path:
    """Draws the histogram of each quantity side by side, byte-stable.

    Args:
        ingested: Ingested rows of tables.CROPS without the pixels, with box_share.
        file: PNG to write.

    Returns:
        file.
    """
    with rc_context(STYLE):
        figure = Figure(figsize=SIZE_INCHES, layout="constrained")
        for axes, quantity in zip(figure.subplots(1, len(QUANTITIES)), QUANTITIES.values(), strict=True):
            bins = bin_quantity(ingested, quantity)
            if bins.empty:
                axes.text(0.5, 0.5, "not known", ha="center", va="center", transform=axes.transAxes, color=INK)
            axes.bar(bins["value"], bins["images"], width=quantity.step, color=PRETRAINED)
            axes.set(yticks=[])
            axes.set_title(quantity.title, fontsize=9)
        figure.savefig(file, dpi=PIXELS_PER_INCH, metadata={"Software": None})
    return file

"""The distributions of the quality page as small CSV files, which `dvc plots diff` compares between two revisions."""

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from pipeline.evaluation.quality_rows import UNKNOWN

WHITE = 65535  # of the stored crops: unsigned 16-bit
MOST_CLASSES = 15  # bars that a plot of DVC's size shows with their names, for two revisions
SHARE_DECIMALS = 2  # of a percentage


class Quantity(NamedTuple):
    """What is measured of each crop.

    Attributes:
        title: What it is, with its unit.
        end: End of the last bin, which holds all beyond; the first begins at 0. Fixed, so that revisions compare.
        step: Width of a bin.
        measure: From rows of tables.CROPS with box_share; null where not known.
    """

    title: str
    end: float
    step: float
    measure: Callable[[pd.DataFrame], pd.Series]


QUANTITIES = {
    "box_share": Quantity("box, share of the frame", 1.0, 0.05, lambda rows: rows["box_share"]),
    "grey_low": Quantity("0.5 percentile of the breast", 1.0, 0.02, lambda rows: rows["breast_low"] / WHITE),
    "grey_high": Quantity("99.5 percentile of the breast", 1.0, 0.02, lambda rows: rows["breast_high"] / WHITE),
    "grey_contrast": Quantity(
        "tissue, share of the grey range", 1.0, 0.02, lambda rows: (rows["breast_high"] - rows["breast_low"]) / WHITE
    ),
    # 300 mm: the longer side of a 24 x 30 cm image receptor, the usual large format.
    "box_height_mm": Quantity(
        "height of the box, mm", 300.0, 10.0, lambda rows: rows["box_height_px"] * rows["spacing_mm"]
    ),
}


def write_quality_plots(rows: pd.DataFrame, found: dict[str, dict[str, int]], histograms: Path, counts: Path) -> None:
    """Writes histograms/<quantity>.csv and counts/<what>.csv.

    Args:
        rows: As from quality_rows.with_suspicion.
        found: As from quality_rows.count_all.
        histograms: Folder; value (middle of a bin), share_percent of the images where it is known, images. No file for
            a quantity that no image has.
        counts: Folder; value and images, for every count of quality.json.
    """
    ingested = rows[rows["status"] == "ingested"]
    tables = {histograms / name: bin_quantity(ingested, quantity) for name, quantity in QUANTITIES.items()}
    tables |= {counts / name: count_table(classes) for name, classes in found.items()}
    for folder in (histograms, counts):
        folder.mkdir(parents=True, exist_ok=True)
    for file, table in tables.items():
        if not table.empty:
            table.to_csv(file.with_suffix(".csv"), index=False, lineterminator="\n")


def bin_quantity(ingested: pd.DataFrame, quantity: Quantity) -> pd.DataFrame:
    """value (middle of each bin), share_percent and images; no row where the quantity is known of no image."""
    known = quantity.measure(ingested).dropna().to_numpy(dtype=np.float64)
    if not len(known):
        return pd.DataFrame(columns=["value", "share_percent", "images"])
    bins = round(quantity.end / quantity.step)
    # The small number keeps what lies on a border, such as 0.35 = 7 * 0.05, in the bin above it.
    place = np.clip(np.floor(known / quantity.step + 1e-6), 0, bins - 1).astype(int)
    images = np.bincount(place, minlength=bins)
    middles = ((np.arange(bins) + 0.5) * quantity.step).round(6)
    share = (100 * images / len(known)).round(SHARE_DECIMALS)
    return pd.DataFrame({"value": middles, "share_percent": share, "images": images})


def count_table(found: dict[str, int]) -> pd.DataFrame:
    """value and images, the most frequent classes by name, the rest as `other`.

    `unknown` is always there, if only with 0: DVC's bars begin at the least number of a plot.
    """
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    shown = {UNKNOWN: found.get(UNKNOWN, 0)} | dict(ordered[:MOST_CLASSES])
    rest = sum(found.values()) - sum(shown.values())
    shown |= {"other": shown.get("other", 0) + rest} if rest else {}
    return pd.DataFrame(sorted(shown.items()), columns=["value", "images"])

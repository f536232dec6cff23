"""The rows behind the quality page: every file of a cohort, how suspicious its crop is, and what there is to count."""

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from pipeline.tables import CROPS

PIXELS = ("crop", "thumbnail")
UNKNOWN = "unknown"  # the class of nulls


def read_geometry(crops: Path) -> pd.DataFrame:
    """Every row of a cohort's crops, without the pixels, and the part it lies in."""
    names = [name for name in CROPS.names if name not in PIXELS]
    parts = [pq.read_table(part, columns=names).to_pandas().assign(part=part.name) for part in sorted(crops.iterdir())]
    rows = pd.concat(parts, ignore_index=True)
    whole = [name for name in rows.columns if name.endswith("_px")]
    return pd.DataFrame(rows.astype(dict.fromkeys(whole, "Int32")))


def with_suspicion(rows: pd.DataFrame) -> pd.DataFrame:
    """Adds `flags` (a list) and `suspicion`: the number of flags, and how far the box is from the cohort's usual one.

    `unusual_side` is added where the chest wall does not lie on the side on which it lies in nine of ten images of this
    breast side: the image is mirrored, or its side is wrong.
    """
    share = rows["box_height_px"] * rows["box_width_px"] / (rows["frame_height_px"] * rows["frame_width_px"])
    left = (rows["chest_wall"] == "left").where(rows["chest_wall"].notna()).astype("Float64")
    usual = left.groupby(rows["laterality"]).transform("mean")
    unusual = (((usual > 0.9) & (left == 0)) | ((usual < 0.1) & (left == 1))).fillna(False)
    flags = rows["flag"].fillna("").map(lambda flag: [each for each in flag.split(";") if each])
    flags = pd.Series([[*f, "unusual_side"] if u else f for f, u in zip(flags, unusual, strict=True)], rows.index)
    spread = (share - share.median()).abs() / max(float(share.std()), 1e-6)
    return rows.assign(flags=flags, box_share=share, suspicion=flags.map(len) * 10 + spread.fillna(0))


def choose(rows: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """Ingested rows to show: the flagged ones by suspicion, at most two thirds of the page, then others at random."""
    ingested = rows[rows["status"] == "ingested"].sort_values(["suspicion", "image_id"], ascending=[False, True])
    flagged = ingested[ingested["flags"].map(len) > 0].head(count * 2 // 3)
    others = ingested[ingested["flags"].map(len) == 0]
    return pd.concat([flagged, others.sample(min(len(others), count - len(flagged)), random_state=seed)])


def count_all(rows: pd.DataFrame, images: pd.DataFrame) -> dict[str, dict[str, int]]:
    """Counts of files by status, reason, flag and tag; of the kept images by view and side, and density where known."""
    ingested = rows[rows["status"] == "ingested"]
    counts = {name: _counts(rows[name]) for name in ("status", "manufacturer", "photometric", "transfer_syntax")}
    counts["reason"] = count_reasons(rows)
    counts["flag"] = _counts(ingested["flags"].explode().dropna())
    counts["voi"] = _counts(ingested["voi"])
    counts["spacing_mm"] = _counts(ingested["spacing_mm"].map("{:.3f}".format, na_action="ignore"))
    counts["view"] = _counts(images["laterality"] + " " + images["view"])
    counts["vendor"] = _counts(images["vendor"])
    counts["density"] = _counts(images.loc[images["split"] != "test", "density"])
    return counts


def count_reasons(rows: pd.DataFrame) -> dict[str, int]:
    """How many files were left out for each reason, by its code, without details."""
    return _counts(rows["reason"].dropna().map(lambda reason: str(reason).partition(":")[0]))


def _counts(values: pd.Series) -> dict[str, int]:
    """How often each value occurs; nulls as UNKNOWN."""
    return {
        str(key): int(count) for key, count in values.astype(object).fillna(UNKNOWN).value_counts().sort_index().items()
    }

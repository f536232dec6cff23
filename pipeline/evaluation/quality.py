"""One page per cohort for the eye: what became of every file, and the crops that deserve a look first."""

import json
from html import escape
from pathlib import Path
from string import Template
from typing import Any

import pandas as pd
import pyarrow.parquet as pq

from pipeline.evaluation.html_parts import paragraph, picture, section
from pipeline.evaluation.quality_figures import write_quality_figures
from pipeline.evaluation.quality_html import contact_sheet, count_tables, problem_table
from pipeline.evaluation.samples import png_uri
from pipeline.tables import COHORT, CROPS, FLOW, PROBLEMS, read_table

TEMPLATE = Path(__file__).parent / "quality.html.template"
STYLE = Path(__file__).parent / "page.css"
SHOWN = 120  # crops on the page: the suspicious ones, then others at random
PIXELS = ("crop", "thumbnail")
SECTIONS = {
    "flow": "From files to the cohort",
    "problems": "What is wrong with the archive",
    "counts": "Counts",
    "distributions": "Distributions",
    "sheet": "Contact sheet",
}


def check_quality(name: str, problems: Path, crops: Path, cohort: Path, out: Path, seed: int) -> None:
    """Writes out/quality.html, its figures as PNG, and out/quality.json with the counts.

    Args:
        name: The cohort's name.
        problems: What is wrong with the archive (tables.PROBLEMS).
        crops: Folder with part-*.parquet (tables.CROPS).
        cohort: Folder with images.parquet (tables.COHORT, labels of the test split null) and flow.parquet.
        out: Folder to write.
        seed: Of the draw of crops without a flag.
    """
    rows = with_suspicion(read_geometry(crops))
    images, flow = read_table(cohort / "images.parquet", COHORT), read_table(cohort / "flow.parquet", FLOW)
    out.mkdir(parents=True, exist_ok=True)
    counts = count_all(rows, images)
    (out / "quality.json").write_text(json.dumps(counts, indent=1, sort_keys=True) + "\n")
    figures = write_quality_figures(rows, flow, counts, out)
    uris = {key: png_uri(file.read_bytes()) for key, file in figures.items()}
    shown = choose(rows, SHOWN, seed)
    blocks = {
        "flow": [picture(uris["flow"], "Files, exclusions in order, and what is left")],
        "problems": [problem_table(read_table(problems, PROBLEMS))],
        "counts": [count_tables(counts)],
        "distributions": [picture(uris["distributions"], "Histograms of box size, contrast, height and spacing")],
        "sheet": [
            paragraph(
                "Left: the whole frame with the box of the breast. Right: the crop as it is stored. Those that deserve"
                f" a look come first; {len(shown)} of {counts['status'].get('ingested', 0)} are shown."
            ),
            contact_sheet(shown, crops),
        ],
    }
    page = Template(TEMPLATE.read_text()).substitute(
        cohort=escape(name),
        style=STYLE.read_text(),
        summary=", ".join(f"{count:,} {status}" for status, count in sorted(counts["status"].items())),
        navigation="".join(f'<a href="#{anchor}">{title}</a>' for anchor, title in SECTIONS.items()),
        sections="".join(section(anchor, title, *blocks[anchor]) for anchor, title in SECTIONS.items()),
    )
    (out / "quality.html").write_text(page)


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


def count_all(rows: pd.DataFrame, images: pd.DataFrame) -> dict[str, Any]:
    """Counts of files by status, reason, flag and tag; of the kept images by view and side, and density where known."""
    ingested = rows[rows["status"] == "ingested"]
    counts = {name: _counts(rows[name]) for name in ("status", "manufacturer", "photometric", "transfer_syntax")}
    counts["reason"] = _counts(rows["reason"].dropna().map(lambda reason: str(reason).partition(":")[0]))
    counts["flag"] = _counts(ingested["flags"].explode().dropna())
    counts["voi"] = _counts(ingested["voi"])
    counts["view"] = _counts(images["laterality"] + " " + images["view"])
    counts["vendor"] = _counts(images["vendor"])
    counts["density"] = _counts(images.loc[images["split"] != "test", "density"])
    return counts


def _counts(values: pd.Series) -> dict[str, int]:
    """How often each value occurs; nulls as `unknown`."""
    return {str(key): int(count) for key, count in values.fillna("unknown").value_counts().sort_index().items()}

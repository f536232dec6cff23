"""The tables and the contact sheet of the quality page."""

from html import escape
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from pipeline.cohorts.problems import CURES
from pipeline.dicom.store import decode_crop
from pipeline.evaluation.flow_html import flow_figure
from pipeline.evaluation.html_parts import Row, number, paragraph, plain_heads, share, table
from pipeline.evaluation.quality_rows import count_reasons
from pipeline.evaluation.samples import crop_png, png, png_uri
from pipeline.sections import ProblemKind

CROP_PX = 150  # height on the page
BOX_COLOUR = (0, 165, 255)  # orange, in OpenCV's order
SCALE = 2  # thumbnails are enlarged before the box is drawn, so that its line is thin
TITLES = {
    "status": "What became of the files",
    "reason": "Why left out",
    "flag": "Flags",
    "view": "Kept, by side and view",
    "density": "Kept outside the test split, by density",
    "vendor": "Kept, by vendor",
    "manufacturer": "Manufacturer tag",
    "photometric": "Photometric interpretation",
    "transfer_syntax": "Transfer syntax",
    "voi": "VOI transformation",
    "spacing_mm": "Spacing of the frame, mm",
}
# Kinds of problems that keep a row or a file out of the catalog -> what their records are; the others keep theirs.
UNCATALOGUED: dict[ProblemKind, str] = {
    "row_without_file": "rows without a file",
    "row_without_image": "rows without an image",
    "file_without_row": "files without a row",
    "duplicate_image": "rows of an image that had one already",
    "unreadable_folder": "folders that cannot be read",
}


def quality_flow(flow: pd.DataFrame, problems: pd.DataFrame, rows: pd.DataFrame) -> str:
    """The cohort's flow, from the archive's tables and files to the splits.

    Args:
        flow: tables.FLOW, then the splits (flow_html.split_rows).
        problems: tables.PROBLEMS.
        rows: status and reason of every file that ingest met.
    """
    records = problems.groupby("kind")["records"].sum()
    uncatalogued = [f"{what}: {number(int(records[kind]))}" for kind, what in UNCATALOGUED.items() if kind in records]
    kept = int(records[~records.index.isin(list(UNCATALOGUED))].sum())
    caption = f"{number(kept)} records have a problem but stay in: see below." if kept else ""
    return flow_figure(flow, uncatalogued, count_reasons(rows[rows["status"] == "rejected"]), caption)


def problem_table(problems: pd.DataFrame) -> str:
    """What reading the archive's tables met."""
    if problems.empty:
        return paragraph("Nothing: every row has a file, every file a row, and every cell a value that can be.")
    rows = [
        Row(
            [
                escape(p["kind"]),
                escape(p["place"]),
                number(p["records"]),
                escape(", ".join(p["examples"])),
                CURES[p["kind"]],
            ]
        )
        for p in plain_rows(problems)
    ]
    heads = plain_heads("Kind", "Where", "Records", "For example", "What to do; what is done meanwhile")
    return table(heads, rows, "Problems that the profile does not call fatal.", words=5)


def count_tables(counts: dict[str, dict[str, int]]) -> str:
    """One small table per kind of count."""
    return '<div class="flows">' + "".join(_count_table(key, counts[key]) for key in TITLES if counts[key]) + "</div>"


def _count_table(key: str, found: dict[str, int]) -> str:
    total = sum(found.values())
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    rows = [Row([escape(name), number(count), share(count / total)]) for name, count in ordered]
    return table(plain_heads(TITLES[key], "images", "share"), rows, f"{number(total)} in all.")


def contact_sheet(shown: pd.DataFrame, crops: Path) -> str:
    """Frame and crop of each row, in the order of the rows."""
    pixels = _read_pixels(shown, crops)
    return '<div class="sheet">' + "".join(_card(row, pixels[row["image_id"]]) for row in plain_rows(shown)) + "</div>"


def _read_pixels(shown: pd.DataFrame, crops: Path) -> dict[str, dict[str, Any]]:
    """crop, codec and thumbnail of the shown images."""
    found = {}
    for part, rows in shown.groupby("part"):
        wanted = ("image_id", "in", rows["image_id"].tolist())
        columns = ["image_id", "crop", "codec", "thumbnail"]
        for row in pq.read_table(crops / str(part), columns=columns, filters=[wanted]).to_pylist():
            found[row["image_id"]] = row
    return found


def plain_rows(rows: pd.DataFrame) -> list[dict[Any, Any]]:
    """The rows as dictionaries of Python's own values."""
    return rows.astype(object).to_dict("records")


def _card(row: dict[str, Any], pixels: dict[str, Any]) -> str:
    """One image of the sheet."""
    badges = "".join(f'<span class="badge flagged">{escape(flag)}</span>' for flag in row["flags"])
    named = " ".join(str(each) for each in (row["laterality"], row["view"]) if pd.notna(each))
    stored = decode_crop(pixels["crop"], pixels["codec"])
    frame = png_uri(_framed(row, pixels["thumbnail"]))
    crop = png_uri(crop_png(stored, row["breast_low"], row["breast_high"], CROP_PX))
    kind = "look suspicious" if row["flags"] else "look"
    return (
        f'<article class="{kind}"><div class="pair"><img src="{frame}" alt="frame"><img src="{crop}" alt="crop">'
        f"</div>{badges}<p>{escape(named)} · {row['box_height_px']} × {row['box_width_px']} px of"
        f" {row['frame_height_px']} × {row['frame_width_px']}<br>{escape(row['image_id'])}</p></article>"
    )


def _framed(row: dict[str, Any], thumbnail: bytes) -> bytes:
    """The whole frame with the breast's box."""
    grey = cv2.imdecode(np.frombuffer(thumbnail, np.uint8), cv2.IMREAD_GRAYSCALE)
    grey = cv2.resize(grey, None, fx=SCALE, fy=SCALE, interpolation=cv2.INTER_CUBIC)
    picture = cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR)
    down, across = grey.shape[0] / row["frame_height_px"], grey.shape[1] / row["frame_width_px"]
    first = (int(row["box_left_px"] * across), int(row["box_top_px"] * down))
    last = (
        int((row["box_left_px"] + row["box_width_px"]) * across) - 1,
        int((row["box_top_px"] + row["box_height_px"]) * down) - 1,
    )
    cv2.rectangle(picture, first, last, BOX_COLOUR, 1)
    return png(picture)

"""The outlines of INbreast's findings: AllXML/<File Name>.xml, property lists that OsiriX exports.

Source: Moreira et al., Academic Radiology 2012, https://doi.org/10.1016/j.acra.2011.09.014.
"""

import math
import plistlib
from pathlib import Path

import pandas as pd

from pipeline.cohorts.adapters.cells import FARTHEST_PX
from pipeline.cohorts.problems import Problems
from pipeline.tables import FINDINGS

FOLDER = "AllXML"
LARGEST_BYTES = 16_000_000  # an outline of 100,000 points has 4 MB: larger, and it is no outline of a finding
LONGEST_NAME = 40  # as in the table adapter: longer, and it is free text


def read_outlines(release: Path, image: pd.Series, problems: Problems) -> pd.DataFrame:
    """Reads the outlines of every image; images without a finding have no file.

    Args:
        release: Folder that holds AllXML/<File Name>.xml.
        image: File names, by the row of the sheet.
        problems: Takes the files that are no outlines.

    Returns:
        Rows of tables.FINDINGS, one per outline; kind as published, misspellings included.
    """
    rows, illegible = [], []
    for row, name in image.drop_duplicates().items():
        file = release / FOLDER / f"{name}.xml"
        if not file.is_file():
            continue
        try:
            rows += [(name, kind, None, None, *box) for kind, box in _outlines(file)]
        except Exception:  # whatever a broken file raises
            illegible.append(f"the image of line {int(str(row)) + 2}")
    problems.note("unknown_value", f"{FOLDER}: expected a property list of outlines in pixels, (x, y)", illegible)
    return pd.DataFrame(rows, columns=FINDINGS.names)


def _outlines(file: Path) -> list[tuple[str, tuple[int | None, ...]]]:
    """Name and box of every outline. plistlib refuses entities and fetches no document type.

    Raises:
        Exception: of any kind, if the file is no property list of outlines.
    """
    if file.stat().st_size > LARGEST_BYTES:
        raise ValueError("too large")
    with file.open("rb") as stream:
        published = plistlib.load(stream, fmt=plistlib.FMT_XML)
    outlines = [roi for image in published["Images"] for roi in image["ROIs"]]
    if any(len(roi["Name"]) > LONGEST_NAME for roi in outlines):
        raise ValueError("a name as long as a sentence")
    return [(roi["Name"].strip(), _box(roi.get("Point_px", []))) for roi in outlines]


def _box(points: list[str]) -> tuple[int | None, ...]:
    """top, left, height and width of the pixels in which the points `(x, y)` lie; null without a point."""
    if not points:
        return None, None, None, None
    pairs = [[float(number) for number in point.strip("() ").split(",")] for point in points]
    if not all(abs(number) <= FARTHEST_PX for pair in pairs for number in pair):
        raise ValueError("out of range")
    left, top = (math.floor(min(axis)) for axis in zip(*pairs, strict=True))
    right, bottom = (math.floor(max(axis)) + 1 for axis in zip(*pairs, strict=True))
    return top, left, bottom - top, right - left

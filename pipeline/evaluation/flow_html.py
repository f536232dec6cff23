"""The flow of a cohort as a figure after CONSORT 2010: what remains in a column, what each step takes beside it."""

from collections.abc import Mapping, Sequence
from html import escape
from itertools import groupby
from typing import Any, NamedTuple

import pandas as pd

from pipeline.evaluation.html_parts import number
from pipeline.tables import SPLITS

UNITS = ("images", "exams", "patients")  # in the figure; tables.FLOW counts breasts too
KEYS = {"images": "image_id", "breasts": "breast_id", "exams": "exam_id", "patients": "patient_id"}
SPLIT, VIEW_KIND = "split: ", "not "  # how steps of that sort begin
# Step of tables.FLOW -> title of what it leaves out, title of what remains.
TITLES = {
    "met by ingest": ("Not met by ingest", "Met by ingest"),
    "readable": ("Rejected: not readable", "Readable"),
    "side known": ("Side not known", "Side known"),
    "view CC or MLO": ("View neither CC nor MLO", "View CC or MLO"),
    "no implant": ("Implant", "Without implant"),
}
VIEW_KIND_TITLES = ("No ordinary view", "Ordinary views")
NOTE = "An exam or a patient counts as left out when no image of it remains."


class Box(NamedTuple):
    """One box of the figure, in plain text.

    Attributes:
        kind: `kept`, what remains, or `lost`, what an exclusion takes.
        title: What it holds.
        counts: By unit; empty where not known.
        items: What it is made of, one a line.
    """

    kind: str
    title: str
    counts: Mapping[str, int]
    items: Sequence[str] = ()


def flow_figure(flow: pd.DataFrame, uncatalogued: Sequence[str], rejected: Mapping[str, int], caption: str) -> str:
    """The figure as HTML. Its boxes grow with their text; on a narrow screen the column moves to the left.

    Args:
        flow: step, images, exams and patients: what is left after each step, then of each split (`split: <name>`).
        uncatalogued: What was left out before anything was catalogued, one a line.
        rejected: Files that could not be read, by code; empty where not known.
        caption: HTML that begins the text below the figure.
    """
    is_split = flow["step"].str.startswith(SPLIT)
    steps, splits = flow[~is_split], flow[is_split].to_dict("records")
    boxes = [*_before_catalog(uncatalogued), *_boxes(steps, rejected)]
    body = "".join(f'<li class="{box.kind}"><div>{_content(box)}</div></li>' for box in boxes)
    if splits:
        parts = [Box("kept", _titled(str(row["step"]).removeprefix(SPLIT)), _count(row)) for row in splits]
        body += '<li class="splits">' + "".join(f"<div>{_content(part)}</div>" for part in parts) + "</li>"
    idle = ", ".join(steps["step"][steps["images"].astype(int).diff() == 0])
    remark = f" Steps that left nothing out: {escape(idle)}." if idle else ""
    return f'<figure class="consort"><ol>{body}</ol><figcaption>{caption} {NOTE}{remark}</figcaption></figure>'


def split_rows(images: pd.DataFrame) -> pd.DataFrame:
    """step (`split: <name>`), images, breasts, exams and patients of each split that tables.COHORT holds."""
    found = [(split, rows) for split in SPLITS if len(rows := images[images["split"] == split])]
    counted = [
        {"step": SPLIT + split} | {unit: rows[key].nunique() for unit, key in KEYS.items()} for split, rows in found
    ]
    return pd.DataFrame(counted, columns=["step", *KEYS])


def _before_catalog(uncatalogued: Sequence[str]) -> list[Box]:
    """What the catalog was made of, and what did not get into it; nothing where all of it did."""
    if not uncatalogued:
        return []
    return [Box("kept", "The archive's tables and files", {}), Box("lost", "Not catalogued", {}, uncatalogued)]


def _boxes(steps: pd.DataFrame, rejected: Mapping[str, int]) -> list[Box]:
    """A pair of boxes per step that takes images; steps that follow each other under one title share theirs."""
    first, *others = steps.to_dict("records")
    left = _count(first)
    boxes = [Box("kept", _titled(str(first["step"])), left)]
    for (lost, kept), group in groupby(others, key=lambda step: _titles(str(step["step"]))):
        together, before = list(group), left
        left = _count(together[-1])
        if before != left:
            items = _items(together, before["images"]) if lost == VIEW_KIND_TITLES[0] else []
            items = _by_code(rejected) if together[0]["step"] == "readable" else items
            taken = {unit: before[unit] - left[unit] for unit in UNITS}
            boxes += [Box("lost", lost, taken, items), Box("kept", kept, left)]
    if len(boxes) == 1:
        boxes += [Box("lost", "Nothing left out", {}), boxes[0]]
    return [*boxes[:-1], boxes[-1]._replace(title="In the cohort")]


def _titles(step: str) -> tuple[str, str]:
    """Titles of what a step leaves out and of what remains."""
    return VIEW_KIND_TITLES if step.startswith(VIEW_KIND) else TITLES.get(step, (f"Left out by: {step}", _titled(step)))


def _titled(words: str) -> str:
    """With a capital letter, the others as they are."""
    return words[:1].upper() + words[1:]


def _items(steps: Sequence[dict[Any, Any]], images: int) -> list[str]:
    """How many of so many images each view kind took."""
    taken = {}
    for step in steps:
        taken[str(step["step"]).removeprefix(VIEW_KIND)] = images - int(step["images"])
        images = int(step["images"])
    return _by_code(taken)


def _by_code(images: Mapping[str, int]) -> list[str]:
    """One line per code, the most frequent first."""
    ordered = sorted(images.items(), key=lambda item: (-item[1], item[0]))
    return [f"{code.replace('_', ' ')}: {number(count)}" for code, count in ordered if count]


def _count(row: dict[Any, Any]) -> dict[str, int]:
    """A step's counts."""
    return {unit: int(row[unit]) for unit in UNITS}


def _content(box: Box) -> str:
    """Title, counts and items of a box."""
    units = [f"{number(count)} {unit[:-1] if count == 1 else unit}" for unit, count in box.counts.items()]
    counts = "<p>" + " ·</span> ".join(f"<span>{unit}" for unit in units) + "</span></p>" if units else ""
    items = "".join(f"<li>{escape(item)}</li>" for item in box.items)
    return f"<b>{escape(box.title)}</b>{counts}" + (f"<ul>{items}</ul>" if items else "")

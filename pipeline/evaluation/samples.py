"""A handful of training breasts with both views and the report that pretraining read, for the eye to judge."""

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from pipeline.dicom.store import decode_crop
from pipeline.evaluation.inputs import EvaluationInputs
from pipeline.tables import VIEWS

HEIGHT_PX = 260  # on the page; enough to see the outline and the coarse texture


class Sample(NamedTuple):
    """One breast: its views as PNG data URIs by view name, its report and who wrote it (llm or template)."""

    laterality: str
    views: dict[str, str]
    report: str
    origin: str


def sample_breasts(inputs: EvaluationInputs, cohort: str, count: int, seed: int) -> list[Sample]:
    """Breasts of the training split with both views, drawn alternately by origin and by whether there is a finding.

    Args:
        inputs: Where everything lies.
        cohort: A pretraining cohort.
        count: How many.
        seed: Of the draw.
    """
    images, reports = inputs.read_images(cohort), inputs.read_reports(cohort)
    train = images[(images["split"] == "train") & images["view"].isin(VIEWS)].sort_values("image_id")
    train = train.drop_duplicates(["breast_id", "view"])
    paired = train.groupby("breast_id").filter(lambda rows: len(rows) == len(VIEWS))
    drawn = _draw(paired, reports, count, seed)
    shown = paired[paired["breast_id"].isin(drawn["breast_id"])]
    pictures = _pictures(inputs.crop_parts(cohort), shown["image_id"].tolist())
    return [
        Sample(str(views["laterality"].iloc[0]), _by_view(views, pictures), str(row.report), str(row.origin))
        for row in drawn.itertuples()
        if (views := shown[shown["breast_id"] == row.breast_id])["image_id"].isin(list(pictures)).all()
    ]


def _draw(paired: pd.DataFrame, reports: pd.DataFrame, count: int, seed: int) -> pd.DataFrame:
    """Rows of reports: different texts, round robin over (origin, finding or none), shuffled by the seed."""
    findings = paired.groupby("breast_id")[["mass", "calcification"]].max().any(axis=1, skipna=True)
    known = reports[reports["breast_id"].isin(findings.index)].drop_duplicates("report_id")
    known = known.sort_values("breast_id").iloc[np.random.default_rng(seed).permutation(len(known))]
    known = known.assign(has_finding=findings.loc[known["breast_id"]].to_numpy())
    turn = known.groupby(["origin", "has_finding"]).cumcount()
    return known.assign(turn=turn).sort_values(["turn", "origin", "has_finding"], kind="stable").head(count)


def _pictures(parts: Sequence[Path], image_ids: Sequence[str]) -> dict[str, str]:
    """PNG data URIs of the stored crops by image_id, windowed to the grey values of the breast."""
    columns = ["image_id", "crop", "codec", "breast_low", "breast_high"]
    found = {}
    for part in parts:
        rows = pq.read_table(part, columns=columns, filters=[("image_id", "in", list(image_ids))]).to_pylist()
        for row in rows:
            crop = decode_crop(row["crop"], row["codec"])
            found[row["image_id"]] = png_uri(crop_png(crop, row["breast_low"], row["breast_high"], HEIGHT_PX))
    return found


def crop_png(crop: np.ndarray, low: float, high: float, height_px: int) -> bytes:
    """A crop reduced to this height, low to high stretched over 8 bits, as PNG."""
    width = max(1, round(crop.shape[1] * height_px / crop.shape[0]))
    small = cv2.resize(crop, (width, height_px), interpolation=cv2.INTER_AREA).astype(np.float32)
    return png(np.clip((small - low) / max(high - low, 1.0) * 255, 0, 255).astype(np.uint8))


def png(picture: np.ndarray) -> bytes:
    """An 8-bit picture as PNG, as small as it gets."""
    return cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()


def png_uri(content: bytes) -> str:
    """A PNG as a data URI, so that the page needs no other file."""
    return "data:image/png;base64," + base64.b64encode(content).decode("ascii")


def _by_view(views: pd.DataFrame, pictures: dict[str, str]) -> dict[str, str]:
    """CC first, then MLO."""
    images = views.set_index("view")["image_id"]
    return {view: pictures[images[view]] for view in VIEWS}

"""Packs prepared crops into shards: Parquet of 8-bit PNG, one patient in one shard, one breast in one row group."""

import hashlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import UInt8

from pipeline.dicom.store import decode_crop
from pipeline.sections import Pack
from pipeline.shards.prepare import prepare
from pipeline.tables import COHORT, SHARD, read_table

# measurements.md, Loading: random access costs 2 ms at 16 rows per row group, 18 ms at 256.
ROW_GROUP_ROWS = 16
# measurements.md, Storing: PNG level 1 with the UP filter encodes in 17 ms and decodes in 8.
_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
_CODEC = "png"
_ORDER = ["patient_id", "exam_id", "breast_id", "view", "image_id"]
_SCALES = ["frame_low", "frame_high", "breast_low", "breast_high"]
_KEYS = [name for name in SHARD.names if name not in ("codec", "image")]


def pack(crops: Path, cohort: Path, out: Path, settings: Pack, splits: Sequence[str], workers: int) -> None:
    """Writes out/shard-000.parquet and so on (tables.SHARD), byte-stable, images only.

    A shard holds the patients whose hash names it, sorted by patient, exam, breast and view. At any time a worker
    holds one row group of 16-bit crops and the 8-bit images of one shard.

    Args:
        crops: Folder with part-*.parquet (tables.CROPS).
        cohort: Folder with images.parquet (tables.COHORT).
        out: Folder to write.
        settings: Section `pack`.
        splits: Splits to pack.
        workers: Processes, one shard each.

    Raises:
        ValueError: an image of the cohort has no crop.
    """
    images = read_table(cohort / "images.parquet", COHORT)
    images = locate(images[images["split"].isin(list(splits))][_KEYS], crops)
    shard = images["patient_id"].map(lambda patient: shard_of(patient, settings.shards))
    out.mkdir(parents=True, exist_ok=True)
    width = max(3, len(str(settings.shards - 1)))
    joblib.Parallel(n_jobs=min(workers, settings.shards))(
        joblib.delayed(_write_shard)(images[shard == number], crops, out / f"shard-{number:0{width}}.parquet", settings)
        for number in range(settings.shards)
    )


def shard_of(patient_id: str, shards: int) -> int:
    """The shard of a patient: a keyed hash modulo their number, so that other patients do not matter."""
    digest = hashlib.blake2b(patient_id.encode(), key=b"shard", digest_size=8).digest()
    return int.from_bytes(digest, "big") % shards


def locate(images: pd.DataFrame, crops: Path) -> pd.DataFrame:
    """Adds to each image the part and row group that hold its crop; no crop is read.

    Raises:
        ValueError: an image has no crop.
    """
    places = []
    for part in sorted(crops.glob("part-*.parquet")):
        file = pq.ParquetFile(part)
        for group in range(file.num_row_groups):
            ids = file.read_row_group(group, columns=["image_id", "status"]).to_pandas()
            ids = ids.loc[ids["status"] == "ingested", ["image_id"]]
            places.append(ids.assign(part=part.name, group=group))
    found = pd.concat(places) if places else pd.DataFrame(columns=["image_id", "part", "group"])
    located = images.merge(found.astype({"image_id": pd.StringDtype()}), on="image_id", how="left", validate="1:1")
    if (lost := located["part"].isna()).any():
        raise ValueError(
            f"{crops}: image {located['image_id'][lost].iloc[0]} of the cohort has no ingested crop"
            f" ({int(lost.sum())} such images); rerun ingest and filter"
        )
    return located


def encode_png(image: UInt8[np.ndarray, "height_px width_px"]) -> bytes:
    """8-bit grey PNG, level 1, UP filter: the same bytes every time."""
    return bytes(cv2.imencode(".png", image, _PNG)[1])


def group_rows(breast_id: Sequence[str], most: int) -> Iterator[slice]:
    """Cuts sorted rows into row groups of at most `most` rows, never inside a breast.

    A breast with more images than `most` has a row group of its own.

    >>> [(s.start, s.stop) for s in group_rows(["a", "a", "b", "b", "c", "c"], 5)]
    [(0, 4), (4, 6)]
    """
    ids = list(breast_id)
    cuts = [row for row in range(1, len(ids)) if ids[row] != ids[row - 1]] + [len(ids)]
    start = 0
    for cut, following in zip(cuts, [*cuts[1:], None], strict=True):
        if cut > start and (following is None or following - start > most):
            yield slice(start, cut)
            start = cut


def _write_shard(images: pd.DataFrame, crops: Path, file: Path, settings: Pack) -> None:
    """Prepares the images of one shard, part by part, and writes them in order."""
    cv2.setNumThreads(1)  # workers are the parallelism
    encoded: dict[str, bytes] = {}
    wanted = set(images["image_id"])
    for part, group in sorted(set(zip(images["part"], images["group"], strict=True))):
        encoded |= _prepare_group(crops / part, group, wanted, settings)
    rows = images[_KEYS].sort_values(_ORDER)
    rows = rows.assign(codec=_CODEC, image=rows["image_id"].map(encoded))
    table = pa.Table.from_pandas(rows[SHARD.names], schema=SHARD, preserve_index=False).replace_schema_metadata(None)
    described = [name for name in SHARD.names if name != "image"]
    with pq.ParquetWriter(
        file,
        SHARD,
        compression="NONE",
        use_dictionary=described,
        write_statistics=described,
        store_schema=False,
        write_page_checksum=True,
    ) as writer:
        for span in group_rows(rows["breast_id"].tolist(), ROW_GROUP_ROWS):
            writer.write_table(table.slice(span.start, span.stop - span.start))


def _prepare_group(part: Path, group: int, wanted: set[str], settings: Pack) -> dict[str, bytes]:
    """image_id -> prepared PNG of the wanted images in one row group."""
    rows = pq.ParquetFile(part).read_row_group(group, columns=["image_id", "codec", "crop", *_SCALES]).to_pylist()
    return {row["image_id"]: _prepare_row(row, settings) for row in rows if row["image_id"] in wanted}


def _prepare_row(row: dict[str, Any], settings: Pack) -> bytes:
    """The prepared PNG of one row of tables.CROPS."""
    scales = {name: row[name] for name in _SCALES}
    try:
        return encode_png(prepare(decode_crop(row["crop"], row["codec"]), settings=settings, **scales))
    except ValueError as error:
        raise ValueError(f"image {row['image_id']}: {error}") from error

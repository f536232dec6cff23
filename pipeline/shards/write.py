"""Packs prepared crops into shards: Parquet of grey PNG, one patient in one shard, one breast in one row group."""

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
from jaxtyping import UInt8, UInt16

from pipeline.dicom.store import decode_crop
from pipeline.sections import Pack
from pipeline.shards.prepare import Place, is_mirrored, prepare
from pipeline.tables import COHORT, SHARD, read_table

# measurements.md, Loading: random access costs 2 ms at 16 rows per row group, 18 ms at 256.
ROW_GROUP_ROWS = 16
# Level 1 with the UP filter (measurements.md, Storing); matching runs only is 12 % faster than zlib's default, and the
# eight films at 1520 x 912 take 331 instead of 381 KB.
_PNG = [cv2.IMWRITE_PNG_COMPRESSION, 1, cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_UP]
_PNG += [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]
_CODEC = "png"
_ORDER = ["patient_id", "exam_id", "breast_id", "view", "image_id"]
_SCALES = ["frame_low", "frame_high", "breast_low", "breast_high"]
_MADE = ("mirrored", "codec", "image")  # columns of a shard that are made here, not read from the cohort
_KEYS = [name for name in SHARD.names if name not in _MADE]


def pack(crops: Path, cohort: Path, out: Path, settings: Pack, splits: Sequence[str], workers: int) -> None:
    """Writes out/shard-000.parquet and so on (tables.SHARD), byte-stable, images only.

    A shard holds the patients whose hash names it, sorted by patient, exam, breast and view. At any time a worker
    holds one row group of crops and the PNGs of one shard.

    Args:
        crops: Folder with part-*.parquet (tables.CROPS).
        cohort: Folder with images.parquet (tables.COHORT).
        out: Folder to write.
        settings: Section `pack` with its preparation.
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


def encode_png(image: UInt8[np.ndarray, "height_px width_px"] | UInt16[np.ndarray, "height_px width_px"]) -> bytes:
    """Grey PNG of 8 or 16 bits, level 1, UP filter: the same bytes every time."""
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
    encoded: dict[str, tuple[bool, bytes]] = {}
    wanted = set(images["image_id"])
    for part, group in sorted(set(zip(images["part"], images["group"], strict=True))):
        encoded |= _prepare_group(crops / part, group, wanted, settings)
    rows = images[_KEYS].sort_values(_ORDER)
    mirrored, image = ([encoded[image_id][made] for image_id in rows["image_id"]] for made in (0, 1))
    rows = rows.assign(mirrored=np.array(mirrored, dtype=bool), codec=_CODEC, image=image)
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


def _prepare_group(part: Path, group: int, wanted: set[str], settings: Pack) -> dict[str, tuple[bool, bytes]]:
    """image_id -> whether mirrored, and prepared PNG, of the wanted images in one row group."""
    columns = ["image_id", "codec", "crop", *_SCALES, *Place._fields]
    rows = pq.ParquetFile(part).read_row_group(group, columns=columns).to_pylist()
    return {row["image_id"]: _prepare_row(row, settings) for row in rows if row["image_id"] in wanted}


def _prepare_row(row: dict[str, Any], settings: Pack) -> tuple[bool, bytes]:
    """Whether mirrored, and the prepared PNG, of one row of tables.CROPS."""
    scales = {name: row[name] for name in _SCALES}
    place = Place(**{name: row[name] for name in Place._fields})
    try:
        image = prepare(decode_crop(row["crop"], row["codec"]), settings=settings, place=place, **scales)
        return is_mirrored(settings, place), encode_png(image)
    except ValueError as error:
        raise ValueError(f"image {row['image_id']}: {error}") from error

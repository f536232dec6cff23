"""Reads shards: an index without pixels, random access by its rows, and a pass in file order."""

import os
import threading
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32, Int64, UInt8

from pipeline.errors import InputError
from pipeline.tables import SHARD, STEPS_16_BIT

_INDEXED = [name for name in SHARD.names if name not in ("codec", "image")]
_TEXT = [name for name in _INDEXED if name != "mirrored"]
# Row groups of PNG bytes that a reader keeps unless told: 8 x 16 images of 0.5 MB (measurements.md) are 64 MB.
_KEPT_ROW_GROUPS = 8
_ALL = slice(None)


def index_shards(folder: Path, splits: Sequence[str]) -> pd.DataFrame:
    """Lists the images of every shard under a folder; no pixels are read.

    Args:
        folder: Searched with all its subfolders for shard-*.parquet.
        splits: Splits to list.

    Returns:
        The columns of tables.SHARD but codec and image, with file (relative to folder), row_group and row (within
        the row group), in file order; index 0, 1, 2 and so on.

    Raises:
        InputError: no shard is found, a shard cannot be read, or two shards hold an image of the same id.
    """
    files = sorted(folder.rglob("shard-*.parquet"))
    if not files:
        raise InputError(f"{folder}: expected shard-*.parquet, found none; run the pack stages (dvc repro)")
    index = pd.concat([_index_file(folder, file) for file in files], ignore_index=True)
    if (twice := index["image_id"].duplicated()).any():
        raise InputError(
            f"{folder}: image {index['image_id'][twice].iloc[0]}: expected each id once, found it in"
            f" {int(twice.sum()) + 1} rows; give the cohorts' archives distinct ids"
        )
    return index[index["split"].isin(list(splits))].reset_index(drop=True)


class ShardImages:
    """Random access to the images of shards; its threads share one cache of row groups.

    May be pickled and forked: each process has a cache of its own, and no file stays open between two reads.
    """

    def __init__(self, folder: Path, kept: int = _KEPT_ROW_GROUPS) -> None:
        self._cached = RowGroupCache(folder, kept)

    @property
    def cache(self) -> "RowGroupCache":
        """This process's cache: in one that came over a fork, a thread left behind may have held the lock."""
        if self._cached.process != os.getpid():
            self._cached = RowGroupCache(self._cached.folder, self._cached.kept)
        return self._cached

    def read(
        self, index: pd.DataFrame, rows: Int64[np.ndarray, " n"] | slice = _ALL
    ) -> UInt8[np.ndarray, "n h w"] | Float32[np.ndarray, "n h w"]:
        """Decodes images in the order of their rows; all are of one size and depth.

        Args:
            index: Some rows of index_shards.
            rows: Positions in index; cheaper than taking these rows of all its columns first.

        Returns:
            Grey values 0 to 255: whole ones of 8-bit images, with fractions (steps of 1/257) of 16-bit images.

        Raises:
            InputError: a shard is corrupt, or of another size or depth; the message names file and row group.
            ValueError: there is no row.
        """
        images: np.ndarray | None = None
        places = list(zip(*(index[name].iloc[rows].tolist() for name in ("file", "row_group", "row")), strict=True))
        for number, (file, group, row) in enumerate(places):
            image = self._decode(file, group, row)
            images = np.empty((len(places), *image.shape), image.dtype) if images is None else images
            if (image.shape, image.dtype) != (images.shape[1:], images.dtype):
                expected = f"{images.dtype} image of {images.shape[1:]} pixels"
                raise _corrupt(file, group, expected, f"{image.dtype} of {image.shape}")
            images[number] = image
        if images is None:
            raise ValueError("no rows to read")
        return images

    def __getstate__(self) -> tuple[Path, int]:
        return self._cached.folder, self._cached.kept

    def __setstate__(self, state: tuple[Path, int]) -> None:
        self._cached = RowGroupCache(*state)

    def _decode(self, file: str, group: int, row: int) -> UInt8[np.ndarray, "h w"] | Float32[np.ndarray, "h w"]:
        """One image, 0 to 255."""
        encoded = self.cache.get(file, group)
        if row >= len(encoded):
            raise _corrupt(file, group, f"at least {row + 1} rows", str(len(encoded)))
        image: np.ndarray | None = None
        if encoded[row].size:
            image = cv2.imdecode(np.frombuffer(encoded[row], np.uint8), cv2.IMREAD_UNCHANGED)
        if image is None or image.dtype not in (np.uint8, np.uint16) or image.ndim != 2:
            raise _corrupt(file, group, f"a grey PNG in row {row}", "other bytes")
        return image if image.dtype == np.uint8 else image.astype(np.float32) / np.float32(STEPS_16_BIT)


class RowGroupCache:
    """PNG bytes of the row groups that one process used last.

    The lock is held to look up, not to read: who comes first reads, who wants the same row group meanwhile waits for
    that, and others go on.

    process: Its id. kept: How many row groups stay. reads, read_bytes: How many were read so far, and their PNG bytes.
    """

    def __init__(self, folder: Path, kept: int) -> None:
        self.folder, self.kept, self.process = folder, kept, os.getpid()
        self.reads = self.read_bytes = 0
        self._lock = threading.Lock()
        self._groups: OrderedDict[tuple[str, int], Future[list[pa.Buffer]]] = OrderedDict()
        self._footers: dict[str, pq.FileMetaData] = {}

    def get(self, file: str, group: int) -> list[pa.Buffer]:
        """The PNG bytes of one row group's images."""
        with self._lock:
            found = self._groups.get((file, group))
            reading = Future() if found is None else found
            self._groups[file, group] = reading
            self._groups.move_to_end((file, group))
            if len(self._groups) > self.kept:
                self._groups.popitem(last=False)
        if found is None:
            self._fill(reading, file, group)
        return reading.result()

    def _fill(self, reading: "Future[list[pa.Buffer]]", file: str, group: int) -> None:
        """Reads a row group for all who wait for it; after an error the next one tries again."""
        try:
            images = self._read(file, group)
        except BaseException as error:
            with self._lock:
                self._groups.pop((file, group), None)
            reading.set_exception(error)
            return
        with self._lock:
            self.reads += 1
            self.read_bytes += sum(image.size for image in images)
        reading.set_result(images)

    def _read(self, file: str, group: int) -> list[pa.Buffer]:
        """PNG bytes of one row group, from disk.

        The page's checksum is not verified, that would take as long as the reading itself: a PNG has its own of every
        chunk, which decoding verifies.
        """
        path, footer = self.folder / file, self._footers.get(file)
        try:
            with pq.ParquetFile(path, metadata=footer) as shard:
                self._footers[file] = shard.metadata
                rows = shard.read_row_group(group, columns=["image"], use_threads=False)
        except (OSError, IndexError, pa.ArrowException) as error:
            raise _corrupt(file, group, "readable Parquet", type(error).__name__) from error
        return [image.as_buffer() for image in rows["image"]]  # views: a copy into bytes would hold Python's lock


def iterate(
    folder: Path, splits: Sequence[str], batch: int
) -> Iterator[tuple[pd.DataFrame, UInt8[np.ndarray, "n h w"] | Float32[np.ndarray, "n h w"]]]:
    """Yields the images of all shards in file order, as (rows of index_shards, images) of at most `batch` rows."""
    index, images = index_shards(folder, splits), ShardImages(folder)
    for start in range(0, len(index), batch):
        rows = index.iloc[start : start + batch]
        yield rows, images.read(rows)


def _index_file(folder: Path, file: Path) -> pd.DataFrame:
    """Index of one shard, all splits."""
    name = file.relative_to(folder).as_posix()
    try:
        shard = pq.ParquetFile(file, page_checksum_verification=True)
        rows: pd.DataFrame = shard.read(columns=_INDEXED).to_pandas().astype(dict.fromkeys(_TEXT, "string"))
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{name}: expected a shard, found {type(error).__name__}; delete it and pack again") from error
    lengths = [shard.metadata.row_group(group).num_rows for group in range(shard.num_row_groups)]
    group = np.repeat(np.arange(len(lengths)), lengths)
    within = np.concatenate([np.arange(length) for length in lengths]) if lengths else np.arange(0)
    return rows.assign(file=name, row_group=group, row=within)


def _corrupt(file: str, group: int, expected: str, found: str) -> InputError:
    """The error of a shard that no longer holds what was written."""
    return InputError(
        f"{file}: row group {group}: expected {expected}, found {found}; delete the file and pack again"
        " (dvc repro --force pack_pretrain pack_evaluate)"
    )

"""Reads shards: an index without pixels, random access by its rows, and a pass in file order."""

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Float32, UInt8

from pipeline.errors import InputError
from pipeline.tables import SHARD, STEPS_16_BIT

_INDEXED = [name for name in SHARD.names if name not in ("codec", "image")]
_TEXT = [name for name in _INDEXED if name != "mirrored"]
# Row groups of PNG bytes that a reader keeps: 8 x 16 images of 0.5 MB (measurements.md) are 64 MB per worker.
_KEPT_ROW_GROUPS = 8


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
    """Random access to the images of shards; may be pickled and forked, each process opens files by itself."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._forget()

    def read(self, index_rows: pd.DataFrame) -> UInt8[np.ndarray, "n h w"] | Float32[np.ndarray, "n h w"]:
        """Decodes the images of these rows of index_shards, in their order; all are of one size and depth.

        Returns:
            Grey values 0 to 255: whole ones of 8-bit images, with fractions (steps of 1/257) of 16-bit images.

        Raises:
            InputError: a shard is corrupt, or of another size or depth; the message names file and row group.
            ValueError: there is no row.
        """
        if index_rows.empty:
            raise ValueError("no rows to read")
        places = zip(index_rows["file"], index_rows["row_group"], index_rows["row"], strict=True)
        images = [self._decode(str(file), int(group), int(row)) for file, group, row in places]
        for image, file, group in zip(images, index_rows["file"], index_rows["row_group"], strict=True):
            if (image.shape, image.dtype) != (images[0].shape, images[0].dtype):
                expected = f"{images[0].dtype} image of {images[0].shape} pixels"
                raise _corrupt(str(file), int(group), expected, f"{image.dtype} of {image.shape}")
        return np.stack(images)

    def __getstate__(self) -> dict[str, Path]:
        return {"folder": self.folder}

    def __setstate__(self, state: dict[str, Path]) -> None:
        self.folder = state["folder"]
        self._forget()

    def _forget(self) -> None:
        """Starts with no open file: those of a parent process share its read position."""
        self._process = os.getpid()
        self._files: dict[str, pq.ParquetFile] = {}
        self._groups: OrderedDict[tuple[str, int], list[bytes]] = OrderedDict()

    def _decode(self, file: str, group: int, row: int) -> UInt8[np.ndarray, "h w"] | Float32[np.ndarray, "h w"]:
        """One image, 0 to 255."""
        encoded = self._row_group(file, group)
        if row >= len(encoded):
            raise _corrupt(file, group, f"at least {row + 1} rows", str(len(encoded)))
        image: np.ndarray | None = cv2.imdecode(np.frombuffer(encoded[row], np.uint8), cv2.IMREAD_UNCHANGED)
        if image is None or image.dtype not in (np.uint8, np.uint16) or image.ndim != 2:
            raise _corrupt(file, group, f"a grey PNG in row {row}", "other bytes")
        return image if image.dtype == np.uint8 else image.astype(np.float32) / np.float32(STEPS_16_BIT)

    def _row_group(self, file: str, group: int) -> list[bytes]:
        """PNG bytes of one row group, from the few that were read last or from disk."""
        if self._process != os.getpid():
            self._forget()
        if (file, group) not in self._groups:
            self._groups[file, group] = self._read_group(file, group)
            if len(self._groups) > _KEPT_ROW_GROUPS:
                self._groups.popitem(last=False)
        self._groups.move_to_end((file, group))
        return self._groups[file, group]

    def _read_group(self, file: str, group: int) -> list[bytes]:
        """PNG bytes of one row group, from disk, checksums verified."""
        try:
            if file not in self._files:
                self._files[file] = pq.ParquetFile(self.folder / file, page_checksum_verification=True)
            images: list[bytes] = self._files[file].read_row_group(group, columns=["image"])["image"].to_pylist()
        except (OSError, IndexError, pa.ArrowException) as error:
            raise _corrupt(file, group, "readable Parquet", type(error).__name__) from error
        return images


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
        shard = pq.ParquetFile(file)
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

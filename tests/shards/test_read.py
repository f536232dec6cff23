"""One cache of row groups for all threads of a process: each read once, bounded, counted, no lock while reading."""

import multiprocessing
import os
import pickle
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipeline.errors import InputError
from pipeline.shards import read as module
from pipeline.shards.read import ShardImages, index_shards
from pipeline.tables import SHARD, write_table

GROUPS, ROWS = 6, 4
WAIT_S = 30


def image_of(number: int) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 256, (5, 7)).astype(np.uint8)


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    """Two shards of three row groups of four images."""
    for file in range(2):
        numbers = range(file * 12, (file + 1) * 12)
        rows = pd.DataFrame({"image_id": [f"i{number:02d}" for number in numbers]})
        rows["image"] = [cv2.imencode(".png", image_of(number))[1].tobytes() for number in numbers]
        rows = rows.assign(breast_id="b", exam_id="e", patient_id="p", laterality="L", view="CC", split="train")
        rows = rows.assign(mirrored=False, codec="png")
        write_table(rows, tmp_path / f"shard-{file:03d}.parquet", SHARD, row_group_size=ROWS)
    return tmp_path


class Gate:
    """Stops this process at the reading of one row group until it is opened; notes what is read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, row_group: int) -> None:
        self.read: list[int] = []
        self.reached, self.opened = threading.Event(), threading.Event()
        original, process = module.RowGroupCache._read, os.getpid()

        def wait(cache: module.RowGroupCache, file: str, group: int) -> list[bytes]:
            self.read.append(group)
            if group == row_group and os.getpid() == process:
                self.reached.set()
                assert self.opened.wait(WAIT_S)
            return original(cache, file, group)

        monkeypatch.setattr(module.RowGroupCache, "_read", wait)


def test_threads_read_what_one_by_one_reading_gives(shards: Path) -> None:
    index, images = index_shards(shards, ["train"]), ShardImages(shards, kept=2)
    rows = [index.sample(5, random_state=seed) for seed in range(60)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(images.read, rows))
    for some, read in zip(rows, found, strict=True):
        np.testing.assert_array_equal(read, [image_of(int(name[1:])) for name in some["image_id"]])


def test_rows_are_positions_in_the_index_whatever_its_labels(shards: Path) -> None:
    index = index_shards(shards, ["train"]).sort_values("image_id", ascending=False)
    read = ShardImages(shards).read(index, np.array([3, 0, 20, 3]))
    np.testing.assert_array_equal(read, [image_of(23 - row) for row in (3, 0, 20, 3)])


def test_a_row_group_is_read_once_and_counted(shards: Path) -> None:
    index, images = index_shards(shards, ["train"]), ShardImages(shards)
    assert (images.cache.reads, images.cache.read_bytes) == (0, 0)
    images.read(index)
    images.read(index.iloc[::-1])
    stored = [pq.read_table(file, columns=["image"])["image"].to_pylist() for file in sorted(shards.glob("*.parquet"))]
    assert images.cache.reads == GROUPS
    assert images.cache.read_bytes == sum(len(png) for file in stored for png in file)


def test_no_more_row_groups_stay_than_asked(shards: Path) -> None:
    """Least recently used goes: of row groups 0 1 2 0 3 0 1, kept 3, only 1 is read twice."""
    index, images = index_shards(shards, ["train"]), ShardImages(shards, kept=3)
    for group in (0, 1, 2, 0, 3, 0, 1):
        images.read(index.iloc[[group * ROWS]])
        assert len(images.cache._groups) <= 3
    assert images.cache.reads == 5


def test_who_comes_second_waits_and_others_go_on(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index, images = index_shards(shards, ["train"]), ShardImages(shards)
    gate = Gate(monkeypatch, row_group=1)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(images.read, index.iloc[[4]])
        assert gate.reached.wait(WAIT_S)
        second = pool.submit(images.read, index.iloc[[5]])
        other = pool.submit(images.read, index.iloc[[0]])
        np.testing.assert_array_equal(other.result(WAIT_S)[0], image_of(0))
        assert not first.done() and not second.done()
        gate.opened.set()
        np.testing.assert_array_equal(first.result(WAIT_S)[0], image_of(4))
        np.testing.assert_array_equal(second.result(WAIT_S)[0], image_of(5))
    assert sorted(gate.read) == [0, 1]


def test_an_error_reaches_all_who_wait_and_is_not_kept(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index, images = index_shards(shards, ["train"]), ShardImages(shards)
    gate = Gate(monkeypatch, row_group=1)
    file = shards / "shard-000.parquet"
    content = file.read_bytes()
    with ThreadPoolExecutor(2) as pool:
        reading = [pool.submit(images.read, index.iloc[[4]])]
        assert gate.reached.wait(WAIT_S)
        reading.append(pool.submit(images.read, index.iloc[[4]]))
        file.write_bytes(content[:100])
        gate.opened.set()
        for one in reading:
            with pytest.raises(InputError, match=r"shard-000\.parquet: row group 1: expected readable Parquet.*pack"):
                one.result(WAIT_S)
    file.write_bytes(content)
    np.testing.assert_array_equal(images.read(index.iloc[[4]])[0], image_of(4))
    assert images.cache.reads == 1


def test_a_shard_that_is_gone_or_shorter_is_named(shards: Path) -> None:
    index, images = index_shards(shards, ["train"]), ShardImages(shards)
    images.read(index.iloc[[0]])
    (shards / "shard-001.parquet").unlink()
    with pytest.raises(InputError, match="expected readable Parquet, found FileNotFoundError"):
        images.read(index.iloc[[12]])
    with pytest.raises(InputError, match="row group 7: expected readable Parquet"):
        images.read(index.iloc[[0]].assign(row_group=7))
    (shards / "shard-000.parquet").write_bytes((shards / "shard-000.parquet").read_bytes()[:100])
    with pytest.raises(InputError, match="row group 1: expected readable Parquet"):
        images.read(index.iloc[[4]])
    with pytest.raises(InputError, match="expected at least 5 rows, found 4"):
        images.read(index.iloc[[0]].assign(row=4))
    with pytest.raises(ValueError, match="no rows to read"):
        images.read(index.iloc[:0])


def test_no_file_stays_open(shards: Path) -> None:
    index, images = index_shards(shards, ["train"]), ShardImages(shards)
    images.read(index)
    held = [path for path in Path("/proc/self/fd").iterdir() if path.is_symlink() and shards in path.readlink().parents]
    assert not held


def _in_child(read: Callable[[pd.DataFrame], np.ndarray], rows: pd.DataFrame, queue: "multiprocessing.Queue[bytes]"):
    queue.put(read(rows).tobytes())


def test_a_fork_in_the_middle_of_a_read_does_not_hang(shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The child has a copy of the lock and of a future that no thread of its own will ever fulfil."""
    index, images = index_shards(shards, ["train"]), ShardImages(shards)
    gate = Gate(monkeypatch, row_group=1)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(images.read, index.iloc[[4]])
        assert gate.reached.wait(WAIT_S)
        context = multiprocessing.get_context("fork")
        queue = context.Queue()
        with images.cache._lock:
            child = context.Process(target=_in_child, args=(images.read, index.iloc[[4]], queue))
            child.start()
        assert queue.get(timeout=WAIT_S) == image_of(4).tobytes()
        child.join(WAIT_S)
        gate.opened.set()
        reading.result(WAIT_S)


def test_a_pickled_reader_keeps_folder_and_bound_but_no_images(shards: Path) -> None:
    index, images = index_shards(shards, ["train"]), ShardImages(shards, kept=5)
    expected = images.read(index)
    pickled = pickle.dumps(images)
    assert len(pickled) < 400
    again = pickle.loads(pickled)
    assert (again.cache.kept, again.cache.reads) == (5, 0)
    np.testing.assert_array_equal(again.read(index), expected)

"""Every unit exactly once over steps and ranks; windows of row groups, each read once and shared by the ranks."""

import threading
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.shards.read import index_shards
from pipeline.tables import SHARD, write_table
from pipeline.training.dataset import PairedImages
from pipeline.training.order import epoch_batches, epoch_steps, kept_row_groups, row_groups
from pipeline.training.reader import ImageReader, ahead

FILES, GROUPS, ROWS, WINDOW = 4, 48, 8, 64  # the fixture: 4 shards of 48 row groups of 8 images; three windows
NOTHING = np.zeros(0, np.int64)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of many row groups, on a breast of two views each time; an image shows its number."""
    folder = tmp_path_factory.mktemp("shards")
    for file in range(FILES):
        numbers = range(file * GROUPS * ROWS, (file + 1) * GROUPS * ROWS)
        rows = pd.DataFrame({"image_id": [f"i{number * 389 % 1536:04d}" for number in numbers]})
        rows["image"] = [cv2.imencode(".png", np.full((2, 3), int(name[1:]) % 251, np.uint8))[1].tobytes()
                         for name in rows["image_id"]]  # fmt: skip
        rows["breast_id"] = [f"b{number // 2:04d}" for number in numbers]
        rows["view"] = [("CC", "MLO")[number % 2] for number in numbers]
        rows = rows.assign(exam_id="e", patient_id="p", laterality="L", split="train", mirrored=False, codec="png")
        write_table(rows, folder / f"shard-{file:03d}.parquet", SHARD, row_group_size=ROWS)
    return folder


def pairs_of(shards: Path) -> PairedImages:
    """The images sorted by id, as training has them: neighbours lie in different row groups."""
    images = index_shards(shards, ["train"]).sort_values("image_id", ignore_index=True)
    return PairedImages._make([images, *[NOTHING] * (len(PairedImages._fields) - 1)])  # all that reading needs


def groups_of_ranks(row_group: np.ndarray, batch: int, world: int, window: int) -> list[set[int]]:
    """The row groups that each rank reads in an epoch."""
    ranks = [epoch_batches(row_group, batch, world, rank, 0, 0, window) for rank in range(world)]
    return [set(row_group[np.concatenate(steps)].tolist()) for steps in ranks]


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    st.lists(st.integers(1, 5), min_size=8, max_size=60),
    st.integers(2, 20),
    st.integers(1, 4),
    st.integers(0, 5),
    st.integers(1, 70),
)
def test_every_unit_once_over_all_ranks(sizes: list[int], batch: int, world: int, epoch: int, window: int):
    row_group = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes))
    units = len(row_group)
    ranks = [epoch_batches(row_group, batch, world, rank, 1, epoch, window) for rank in range(world)]
    assert {len(steps) for steps in ranks} == {epoch_steps(units, batch, world)}
    assert sorted(np.concatenate([part for steps in ranks for part in steps])) == list(range(units))
    lengths = [len(part) for steps in ranks for part in steps]
    assert max(lengths) <= batch
    assert min(lengths) >= 1
    steps = [np.concatenate([steps[step] for steps in ranks]) for step in range(len(ranks[0]))]
    assert max(map(len, steps)) - min(map(len, steps)) <= 1
    whole = epoch_batches(row_group, batch * world, 1, 0, 1, epoch, window)
    assert [set(step.tolist()) for step in steps] == [set(step.tolist()) for step in whole]


def test_the_order_changes_with_epoch_and_seed():
    for window in (2, 50):
        row_group = np.arange(50) // 4
        first = np.concatenate(epoch_batches(row_group, 8, 1, 0, 1, 0, window))
        for seed, epoch in ((1, 1), (2, 0)):
            assert (np.concatenate(epoch_batches(row_group, 8, 1, 0, seed, epoch, window)) != first).any()


@pytest.mark.parametrize(("units", "seed", "epoch"), [(18, 3, 0), (574, 0, 11), (1148, 7, 2)])
def test_one_window_is_a_plain_permutation(units: int, seed: int, epoch: int):
    """Whatever the row groups: what was trained before there were windows stays as it was."""
    expected = np.random.default_rng([seed, epoch, 0]).permutation(units)
    for row_group in (np.arange(units) // 7, np.arange(units)[::-1] // 16, np.zeros(units, np.int64)):
        found = epoch_batches(row_group, 16, 1, 0, seed, epoch)
        expected_steps = np.array_split(expected, -(-units // 16))
        assert [step.tolist() for step in found] == [step.tolist() for step in expected_steps]


def test_a_window_is_finished_before_the_next_begins():
    row_group = np.random.default_rng(1).permutation(np.arange(4 * 100) // 4)  # 100 row groups of 4 units
    order = row_group[np.concatenate(epoch_batches(row_group, 8, 1, 0, 5, 0, window=30))]
    windows = [set(order[start : start + 100].tolist()) for start in range(0, 400, 100)]  # 4 of 25, not 3 of 30 and 10
    assert [len(window) for window in windows] == [25] * 4
    assert len(set.union(*windows)) == 100
    other = row_group[np.concatenate(epoch_batches(row_group, 8, 1, 0, 5, 1, window=30))]
    assert set(other[:100].tolist()) not in windows  # the row groups are permuted anew


def test_a_window_is_mixed():
    """Units of one row group are as far apart as a shuffle of the window puts them: a third of it on average."""
    row_group = np.arange(2 * 64 * 8) // 8
    order = row_group[np.concatenate(epoch_batches(row_group, 8, 1, 0, 0, 0, window=64))]
    where = [np.flatnonzero(order == group) for group in range(128)]
    apart = np.mean([np.abs(places[:, None] - places).sum() / (8 * 7) for places in where])
    assert apart == pytest.approx(512 / 3, rel=0.1)
    assert np.mean(order[1:] == order[:-1]) < 3 / 64


@pytest.mark.parametrize("world", [2, 4, 8, 16])
def test_ranks_share_a_window_by_row_groups(world: int):
    """Two windows of 64 row groups of 4 units, steps of 32: 2 from each of the 16 strata of 4 row groups."""
    row_group = np.random.default_rng(2).permutation(np.arange(2 * 64 * 4) // 4)
    ranks = groups_of_ranks(row_group, 32 // world, world, window=64)
    assert [len(groups) for groups in ranks] == [128 // world] * world
    assert len(set.union(*ranks)) == 128


def test_uneven_row_groups_are_read_little_more_than_once():
    sizes = np.random.default_rng(3).integers(6, 9, 1024)
    row_group = np.repeat(np.arange(1024), sizes)
    read = [len(groups) for groups in groups_of_ranks(row_group, 8, 8, window=512)]
    assert sum(read) < 1.3 * 1024
    assert max(read) / 2 < kept_row_groups(8, 512) < 512 / 4
    steps = epoch_batches(row_group, 64, 1, 0, 0, 0, 512)
    dealt = [set(row_group[np.concatenate([step[rank::8] for step in steps])].tolist()) for rank in range(8)]
    assert sum(map(len, dealt)) > 4 * 1024  # without regard to row groups


def test_too_few_units():
    with pytest.raises(InputError, match="3 breasts or images for 2 ranks"):
        epoch_steps(3, 8, 2)
    with pytest.raises(InputError, match="1 leaves no negatives"):
        epoch_steps(30, 1, 2)


def test_row_groups_are_numbered_in_file_order(shards: Path):
    images = index_shards(shards, ["train"])
    expected = np.arange(FILES * GROUPS * ROWS) // ROWS
    assert row_groups(images).tolist() == expected.tolist()
    shuffled = images.sample(frac=1, random_state=0)
    assert row_groups(shuffled).tolist() == expected[shuffled.index].tolist()


@pytest.mark.parametrize(("world", "workers"), [(1, 1), (1, 3), (4, 1), (4, 2)])
def test_an_epoch_reads_each_row_group_about_once(shards: Path, world: int, workers: int):
    pairs = pairs_of(shards)
    group = row_groups(pairs.images)
    readers = [ImageReader(shards, world, WINDOW) for _ in range(world)]
    for rank, reader in enumerate(readers):
        steps = epoch_batches(group, 8, world, rank, seed=0, epoch=0, window=WINDOW)
        read = ahead(partial(reader.read, pairs), steps, workers)
        for images, rows in zip(read, steps, strict=True):
            assert images[:, 0, 0].tolist() == [int(name[1:]) % 251 for name in pairs.images["image_id"][rows]]
    reads = sum(reader.shards.cache.reads for reader in readers)
    assert FILES * GROUPS <= reads <= 1.1 * FILES * GROUPS
    assert max(reader.shards.cache.reads for reader in readers) <= 1.2 * FILES * GROUPS / world


def test_a_random_order_reads_row_groups_many_times(shards: Path):
    """What the windows are for: the same cache under a permutation of all units."""
    pairs, reader = pairs_of(shards), ImageReader(shards, 1, WINDOW)
    for rows in epoch_batches(row_groups(pairs.images), 8, 1, 0, seed=0, epoch=0, window=FILES * GROUPS):
        reader.read(pairs, rows)
    assert reader.shards.cache.reads > 4 * FILES * GROUPS


@pytest.mark.parametrize("workers", [1, 3])
def test_ahead_keeps_the_order_and_works_elsewhere(workers: int):
    made = list(ahead(lambda n: (n, threading.current_thread() is threading.main_thread()), range(20), workers))
    assert made == [(n, False) for n in range(20)]


def test_ahead_passes_errors_on():
    with pytest.raises(ZeroDivisionError):
        list(ahead(lambda n: 1 / n, [2, 1, 0], 2))

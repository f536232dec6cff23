"""Every unit exactly once over steps and ranks; views, swaps and shared work as promised."""

import threading
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import InputError
from pipeline.tables import SHARD, read_table
from pipeline.training.batch import ImageReader, ahead, collate, draw_units, epoch_batches, epoch_steps
from pipeline.training.dataset import PairedImages, read_pairs


@pytest.fixture(scope="module")
def pairs(inputs: Path) -> PairedImages:
    return read_pairs(inputs / "shards", inputs / "text", ["screening"], "train")


@settings(max_examples=60, deadline=None, derandomize=True)
@given(st.integers(8, 200), st.integers(2, 20), st.integers(1, 4), st.integers(0, 5))
def test_every_unit_once_over_all_ranks(units: int, batch: int, world: int, epoch: int):
    ranks = [epoch_batches(units, batch, world, rank, 1, epoch) for rank in range(world)]
    assert {len(steps) for steps in ranks} == {epoch_steps(units, batch, world)}
    assert sorted(np.concatenate([part for steps in ranks for part in steps])) == list(range(units))
    sizes = [len(part) for steps in ranks for part in steps]
    assert max(sizes) <= batch
    assert min(sizes) >= 1
    whole = epoch_batches(units, batch * world, 1, 0, 1, epoch)
    for step, expected in enumerate(whole):
        assert np.concatenate([steps[step] for steps in ranks]).tolist() == expected.tolist()


def test_the_order_changes_with_epoch_and_seed():
    first = np.concatenate(epoch_batches(50, 8, 1, 0, seed=1, epoch=0))
    for seed, epoch in ((1, 1), (2, 0)):
        assert (np.concatenate(epoch_batches(50, 8, 1, 0, seed, epoch)) != first).any()


def test_too_few_units():
    with pytest.raises(InputError, match="3 breasts or images for 2 ranks"):
        epoch_steps(3, 8, 2)
    with pytest.raises(InputError, match="1 leaves no negatives"):
        epoch_steps(30, 1, 2)


def test_breasts_show_their_views(pairs: PairedImages):
    draw = draw_units(pairs, True, 0.5, seed=0, epoch=0)
    image = pairs.images
    assert len(draw.paired) == 18
    for unit in range(18):
        rows = [draw.paired[unit], draw.cc[unit], draw.mlo[unit]]
        assert image["breast_id"][rows].nunique() == 1
        if image["breast_id"][rows[0]] == "b003":
            assert not draw.both[unit]
            assert rows[0] == rows[1] == rows[2]
        else:
            assert draw.both[unit]
            assert image["view"][rows[1:]].tolist() == ["CC", "MLO"]
            assert rows[0] in rows[1:]
    assert len(set(image["view"][draw.paired])) == 2


@pytest.mark.parametrize(("probability", "view"), [(0.0, "CC"), (1.0, "MLO")])
def test_swap_probability(pairs: PairedImages, probability: float, view: str):
    draw = draw_units(pairs, True, probability, seed=0, epoch=0)
    assert set(pairs.images["view"][draw.paired[draw.both]]) == {view}


def test_one_of_several_images_per_view_is_drawn(pairs: PairedImages):
    seen = set()
    for epoch in range(12):
        draw = draw_units(pairs, True, 0.5, seed=0, epoch=epoch)
        unit = int(np.flatnonzero(pairs.images["breast_id"][draw.cc] == "b005")[0])
        seen.add(pairs.images["image_id"][draw.cc[unit]])
    assert seen == {"i005CC0", "i005CC1"}


def test_units_of_clip_are_images(pairs: PairedImages):
    draw = draw_units(pairs, False, 0.5, seed=0, epoch=0)
    assert draw.paired.tolist() == list(range(36))
    assert not draw.both.any()


def test_collate_reads_images_and_reports_once(pairs: PairedImages, inputs: Path):
    draw = draw_units(pairs, True, 0.5, seed=0, epoch=0)
    units = np.array([0, 7, 14, 3])  # breasts 0, 7 and 14 share report r0; breast 3 has one view
    batch = collate(pairs, ImageReader(inputs / "shards"), draw, units, text_tokens=8)
    assert len(batch.images) == 7
    assert len(batch.states) == 2
    assert batch.both.tolist() == [True, True, True, False]
    shards = [read_table(inputs / f"shards/screening/shard-00{n}.parquet", SHARD) for n in range(2)]
    stored = {i: b for shard in shards for i, b in zip(shard["image_id"], shard["image"], strict=True)}
    for places, rows in ((batch.paired, draw.paired), (batch.cc, draw.cc), (batch.mlo, draw.mlo)):
        for place, row in zip(places.tolist(), rows[units], strict=True):
            assert batch.keys[place] == row
            png = stored[pairs.images["image_id"][row]]
            expected = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_UNCHANGED)
            assert np.array_equal(batch.images[place].numpy(), expected)
    for unit, row in enumerate(draw.paired[units]):
        state = pairs.states[pairs.report[row]]
        assert np.array_equal(batch.states[batch.text[unit], : len(state)].numpy(), state)
        assert batch.report[unit] == pairs.report[row]
        assert batch.breast[unit] == pairs.breast[row]


@pytest.mark.parametrize("workers", [1, 3])
def test_ahead_keeps_the_order_and_works_elsewhere(workers: int):
    made = list(ahead(lambda n: (n, threading.current_thread() is threading.main_thread()), range(20), workers))
    assert made == [(n, False) for n in range(20)]


def test_ahead_passes_errors_on():
    with pytest.raises(ZeroDivisionError):
        list(ahead(lambda n: 1 / n, [2, 1, 0], 2))

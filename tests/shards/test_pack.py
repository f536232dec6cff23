"""pack and read on crops that the tests write themselves: who lies where, byte equality, corruption."""

import multiprocessing
import pickle
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from pipeline.dicom.store import CODEC, encode_crop
from pipeline.errors import InputError
from pipeline.sections import Pack
from pipeline.shards.prepare import Place, prepare
from pipeline.shards.read import ShardImages, index_shards, iterate
from pipeline.shards.write import ROW_GROUP_ROWS, group_rows, pack, shard_of
from pipeline.tables import COHORT, CROPS, SHARD, write_table

SETTINGS = Pack(
    preparation="mv_mlm",
    height_px=48,
    width_px=32,
    resize="stretch",
    grey="stored",
    headroom=1.0,
    threshold=40,
    threshold_use="zero",
    mirror="none",
    bits=8,
    shards=4,
)
MIRAI = SETTINGS.model_copy(
    update={"resize": "frame", "grey": "frame", "threshold_use": "mask_only", "mirror": "chest_wall_right", "bits": 16}
)
SPLITS = ("train", "validation", "test")
ALL = [f"p{number}" for number in range(40)]


def images_of(patients: list[str]) -> pd.DataFrame:
    """Two exams for every fourth patient, an extra CC for every fifth, no MLO on the right for every third."""
    rows = []
    for number, patient in ((int(name[1:]), name) for name in patients):
        for exam in range(2 if number % 4 == 0 else 1):
            views = [("L", "CC"), ("L", "MLO"), ("R", "CC")]
            views += [("L", "CC")] * (number % 5 == 0) + [("R", "MLO")] * (number % 3 != 0)
            for index, (side, view) in enumerate(views):
                exam_id = f"{patient}-e{exam}"
                rows.append(
                    (patient, exam_id, f"{exam_id}-{side}", f"{exam_id}-{index}", side, view, SPLITS[number % 3])
                )
    names = ["patient_id", "exam_id", "breast_id", "image_id", "laterality", "view", "split"]
    return pd.DataFrame(rows, columns=names)


def crop_of(image_id: str) -> np.ndarray:
    """Noise that depends on the image's id alone, of a size of its own."""
    rng = np.random.default_rng(list(image_id.encode()))
    return rng.integers(0, 4096, (50 + rng.integers(30), 40 + rng.integers(20))).astype(np.uint16)


def scales_of(crop: np.ndarray) -> dict[str, float]:
    low, high = np.percentile(crop, [0.5, 99.5]).astype(np.float32)
    return {"frame_low": 0.0, "frame_high": 4095.0, "breast_low": float(low), "breast_high": float(high)}


def place_of(image_id: str) -> Place:
    """A place that depends on the image's id alone; chest walls on both sides."""
    number = sum(image_id.encode())
    return Place("left" if number % 2 else "right", 200, 150, number % 60, number % 50, 120, 90)


def write_inputs(folder: Path, patients: list[str]) -> tuple[Path, Path]:
    """Crops in two parts, and the cohort's table; returns both folders."""
    images = images_of(patients)
    rows = images[["image_id", "patient_id", "laterality", "view"]].copy()
    crops = {image_id: crop_of(image_id) for image_id in rows["image_id"]}
    rows["crop"] = [encode_crop(crop) for crop in crops.values()]
    rows = rows.join(pd.DataFrame([scales_of(crop) for crop in crops.values()]))
    rows = rows.join(pd.DataFrame([place_of(image_id) for image_id in crops]))
    rows = rows.assign(status="ingested", codec=CODEC)
    rows = rows.assign(**{name: None for name in CROPS.names if name not in rows})
    rejected = rows.iloc[:1].assign(image_id="rejected", status="rejected", crop=None)
    for part in range(2):
        inside = rows[rows["patient_id"].map(lambda name, part=part: int(name[1:]) % 2 == part)]
        table = pd.concat([inside, rejected]) if part else inside
        write_table(table, folder / "crops" / f"part-{part:03d}.parquet", CROPS, row_group_size=7)
    cohort = images.assign(cohort="c")
    cohort = cohort.assign(**{name: None for name in COHORT.names if name not in cohort})
    write_table(cohort, folder / "cohort" / "images.parquet", COHORT)
    return folder / "crops", folder / "cohort"


def packed(
    folder: Path,
    patients: list[str] = ALL,
    splits: tuple[str, ...] = SPLITS,
    workers: int = 1,
    settings: Pack = SETTINGS,
) -> Path:
    pack(*write_inputs(folder, patients), folder / "shards", settings, splits, workers)
    return folder / "shards"


def read_bytes(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(folder.iterdir())}


def test_row_groups_hold_whole_breasts_in_order(tmp_path: Path) -> None:
    shards = packed(tmp_path)
    assert sorted(file.name for file in shards.iterdir()) == [f"shard-00{n}.parquet" for n in range(4)]
    seen: list[str] = []
    for number, file in enumerate(sorted(shards.iterdir())):
        shard = pq.ParquetFile(file)
        assert shard.schema_arrow.equals(SHARD)
        groups = [shard.read_row_group(group).to_pandas() for group in range(shard.num_row_groups)]
        assert all(0 < len(group) <= ROW_GROUP_ROWS for group in groups)
        breasts = [set(group["breast_id"]) for group in groups]
        assert sum(map(len, breasts)) == len(set().union(*breasts))  # no breast in two row groups
        rows = pd.concat(groups)
        order = rows[["patient_id", "exam_id", "breast_id", "view", "image_id"]]
        assert order.equals(order.sort_values(list(order.columns)))
        assert {shard_of(patient, 4) for patient in rows["patient_id"]} == {number}
        assert set(rows["codec"]) == {"png"}
        seen += rows["image_id"].tolist()
    assert sorted(seen) == sorted(images_of(ALL)["image_id"])


def test_image_column_is_plain_and_without_statistics(tmp_path: Path) -> None:
    group = pq.ParquetFile(packed(tmp_path) / "shard-000.parquet").metadata.row_group(0)
    image = group.column(SHARD.names.index("image"))
    assert image.compression == "UNCOMPRESSED"
    assert not image.has_dictionary_page
    assert not image.is_stats_set


def test_one_and_two_workers_write_the_same_bytes(tmp_path: Path) -> None:
    assert read_bytes(packed(tmp_path / "a")) == read_bytes(packed(tmp_path / "b", workers=2))


def test_new_patients_change_only_the_shards_they_fall_in(tmp_path: Path) -> None:
    new = [f"p{number}" for number in range(40, 45)]
    before, after = read_bytes(packed(tmp_path / "a")), read_bytes(packed(tmp_path / "b", ALL + new))
    touched = {f"shard-00{shard_of(patient, 4)}.parquet" for patient in new}
    assert {name for name in after if after[name] != before[name]} == touched
    assert len(touched) < 4  # otherwise this test shows nothing


def test_only_the_asked_splits_are_packed(tmp_path: Path) -> None:
    shards = packed(tmp_path, splits=("train", "validation"))
    images = images_of(ALL)
    found = index_shards(shards, SPLITS)
    assert set(found["split"]) == {"train", "validation"}
    assert set(found["image_id"]) == set(images["image_id"][images["split"] != "test"])


def test_reading_gives_what_prepare_gave(tmp_path: Path) -> None:
    shards = packed(tmp_path)
    rows = index_shards(shards, ["test"]).sample(frac=1, random_state=0)
    assert set(rows["split"]) == {"test"}
    read = ShardImages(shards).read(rows)
    expected = [prepare(crop_of(name), **scales_of(crop_of(name)), settings=SETTINGS) for name in rows["image_id"]]
    np.testing.assert_array_equal(read, np.stack(expected))


def test_nothing_is_mirrored_by_default(tmp_path: Path) -> None:
    mirrored = index_shards(packed(tmp_path, ALL[:6]), SPLITS)["mirrored"]
    assert mirrored.dtype == bool and not mirrored.any()


def test_mirrored_images_are_marked_and_16_bits_are_read_as_0_to_255(tmp_path: Path) -> None:
    shards = packed(tmp_path, ALL[:6], settings=MIRAI)
    rows = index_shards(shards, SPLITS)
    walls = rows["image_id"].map(lambda name: place_of(name).chest_wall)
    assert set(walls) == {"left", "right"}
    assert rows["mirrored"].tolist() == (walls == "left").tolist()
    found = ShardImages(shards).read(rows)
    assert found.dtype == np.float32 and found.min() == 0 and 200 < found.max() <= 255
    plain = MIRAI.model_copy(update={"mirror": "none"})
    for image, name, is_mirrored in zip(found, rows["image_id"], rows["mirrored"], strict=True):
        crop = crop_of(name)
        expected = prepare(crop, **scales_of(crop), settings=plain, place=place_of(name)) / 257
        np.testing.assert_allclose(image, expected[:, ::-1] if is_mirrored else expected, rtol=1e-6)
    assert read_bytes(shards) == read_bytes(packed(tmp_path / "again", ALL[:6], settings=MIRAI))


def test_shards_of_two_depths_cannot_be_read_together(tmp_path: Path) -> None:
    packed(tmp_path / "both" / "a", ALL[:2])
    packed(tmp_path / "both" / "b", ALL[2:4], settings=SETTINGS.model_copy(update={"bits": 16}))
    with pytest.raises(InputError, match=r"expected uint8 image of .48, 32. pixels, found float32"):
        ShardImages(tmp_path / "both").read(index_shards(tmp_path / "both", SPLITS))


def test_iterate_passes_once_in_file_order(tmp_path: Path) -> None:
    shards = packed(tmp_path)
    index, batches = index_shards(shards, SPLITS), list(iterate(shards, SPLITS, 11))
    assert [len(rows) for rows, _ in batches[:-1]] == [11] * (len(batches) - 1)
    pd.testing.assert_frame_equal(pd.concat([rows for rows, _ in batches]), index)
    images = np.concatenate([images for _, images in batches])
    np.testing.assert_array_equal(images, ShardImages(shards).read(index))


def test_index_looks_into_the_folders_of_all_cohorts(tmp_path: Path) -> None:
    packed(tmp_path / "both" / "a", ALL[:6])
    packed(tmp_path / "both" / "b", ALL[6:12])
    found = index_shards(tmp_path / "both", SPLITS)
    assert set(found["patient_id"]) == set(ALL[:12])
    assert {str(file).split("/")[0] for file in found["file"]} == {"a", "b"}
    packed(tmp_path / "both" / "c", ALL[:1])
    with pytest.raises(InputError, match="p0-e0-0: expected each id once"):
        index_shards(tmp_path / "both", SPLITS)


def _read_in_child(images: ShardImages, rows: pd.DataFrame, queue: "multiprocessing.Queue[bytes]") -> None:
    queue.put(images.read(rows).tobytes())


def test_reader_survives_pickling_and_forking(tmp_path: Path) -> None:
    shards = packed(tmp_path)
    rows, images = index_shards(shards, SPLITS).iloc[::9], ShardImages(shards)
    expected = images.read(rows).tobytes()
    assert pickle.loads(pickle.dumps(images)).read(rows).tobytes() == expected
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_read_in_child, args=(images, rows, queue))
    child.start()
    assert queue.get(timeout=60) == expected
    child.join()


def test_no_damage_to_pixels_goes_unnoticed(tmp_path: Path) -> None:
    """Flipped bits, among them those of every length, and zeroed sectors: an error that names the place, or no change.

    What changes nothing lies in a page's header or after the last pixel.
    """
    shards = packed(tmp_path)
    rows = index_shards(shards, SPLITS)
    rows = rows[(rows["file"] == "shard-001.parquet") & (rows["row_group"] == 1)]
    file = shards / "shard-001.parquet"
    pixels, content = ShardImages(shards).read(rows).tobytes(), file.read_bytes()
    pages = pq.ParquetFile(file).metadata.row_group(1).column(SHARD.names.index("image"))
    start, stop = pages.data_page_offset, pages.data_page_offset + pages.total_compressed_size
    lengths = [found.start() - 4 for found in re.finditer(b"\x89PNG", content) if start < found.start() < stop]
    rng, silent = np.random.default_rng(0), 0
    masks = [(at, (1 << bit).to_bytes(4, "little")) for at in lengths for bit in range(32)]
    masks += [(int(at), bytes([1 << rng.integers(8)])) for at in rng.integers(start, stop, 400)]
    places = [*rng.integers(start, stop, 40).tolist(), *lengths]  # of no length: an empty image
    sectors = [slice(at, min(at + size, stop)) for at in places for size in (4, 512)]
    masks += [(sector.start, content[sector]) for sector in sectors]  # xor with itself is zero
    assert len(lengths) == len(rows)
    for at, mask in masks:
        damaged = bytearray(content)
        damaged[at : at + len(mask)] = bytes(a ^ b for a, b in zip(content[at:], mask, strict=False))
        file.write_bytes(damaged)
        try:
            assert ShardImages(shards).read(rows).tobytes() == pixels, (at, mask[:4])
            silent += 1
        except InputError as error:
            assert re.search(r"shard-001\.parquet: row group 1: .*pack again", str(error)), error
    assert silent < len(masks) / 50


def test_damaged_labels_are_named(tmp_path: Path) -> None:
    shards = packed(tmp_path)
    file = shards / "shard-001.parquet"
    column = pq.ParquetFile(file).metadata.row_group(0).column(SHARD.names.index("split"))
    content = bytearray(file.read_bytes())
    content[content.index(b"train", column.dictionary_page_offset)] ^= 1  # "urain": still valid Parquet
    file.write_bytes(content)
    with pytest.raises(InputError, match=r"shard-001\.parquet: expected a shard, found OSError"):
        index_shards(shards, SPLITS)


def test_truncated_and_missing_shards_are_named(tmp_path: Path) -> None:
    shards = packed(tmp_path)
    file = shards / "shard-002.parquet"
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(InputError, match=r"shard-002\.parquet: expected a shard"):
        index_shards(shards, SPLITS)
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="expected shard-"):
        index_shards(tmp_path / "empty", SPLITS)


def test_an_image_without_a_crop_is_an_error(tmp_path: Path) -> None:
    crops, cohort = write_inputs(tmp_path, ALL[:4])
    (crops / "part-001.parquet").unlink()
    with pytest.raises(ValueError, match="p1-e0-0 of the cohort has no ingested crop"):
        pack(crops, cohort, tmp_path / "shards", SETTINGS, SPLITS, 1)


def test_more_shards_than_patients_leaves_empty_readable_shards(tmp_path: Path) -> None:
    shards = packed(tmp_path, ALL[:1])
    assert len(list(shards.iterdir())) == 4
    assert len(index_shards(shards, SPLITS)) == len(images_of(ALL[:1]))


def test_a_breast_with_many_images_gets_a_row_group_of_its_own() -> None:
    breasts = ["a"] * 2 + ["b"] * 20 + ["c"] * 2 + ["d"]
    assert [(s.start, s.stop) for s in group_rows(breasts, 16)] == [(0, 2), (2, 22), (22, 25)]
    assert list(group_rows([], 16)) == []

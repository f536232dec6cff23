"""From an archive to Parquet parts: every file one row, whatever is wrong with it; resumable; byte-stable."""

import os
import re
import signal
import time
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from pydicom.uid import HTJ2KLossless, JPEG2000Lossless, JPEGLosslessSV1, RLELossless

from pipeline.dicom import ingest as ingest_module
from pipeline.dicom.image import CataloguedFile, rejected_row
from pipeline.dicom.ingest import ingest
from pipeline.dicom.store import decode_crop, kept_row, part_of
from pipeline.dicom.workers import finish_files
from pipeline.errors import InputError
from pipeline.sections import Exclusion, Ingest
from pipeline.tables import CROPS, read_table

SETTINGS = Ingest(max_px=200, exclude=list(get_args(Exclusion)), max_rejected_fraction=1.0, seconds_per_file=120)


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    monkeypatch.setenv("PIPELINE_SCRATCH", str(tmp_path / "scratch"))


@pytest.fixture
def newly_kept(tmp_path):
    """Tells the images whose rows were written since it was asked last; what is kept is not decoded again."""
    known = {}

    def images() -> list[str]:
        found = {path: path.stat().st_mtime_ns for path in (tmp_path / "scratch").rglob("*.arrow")}
        new = [path for path, written in found.items() if known.get(path) != written]
        known.update(found)
        return sorted(kept_row(path)["image_id"] for path in new)

    return images


def rows_of(out) -> pd.DataFrame:
    parts = [read_table(path, CROPS).assign(part=n) for n, path in enumerate(sorted(out.iterdir()))]
    return pd.concat(parts).set_index("image_id", drop=False)


def test_rows_hold_crop_geometry_and_grey_statistics(tmp_path, archive, mammogram, breast):
    files = {f"a{n}": mammogram(breast(right=n % 2 == 1), ImageLaterality="LR"[n % 2]) for n in range(6)}
    root, catalog = archive(files)
    ingest(root, catalog, tmp_path / "out", SETTINGS, workers=1)
    assert [path.name for path in sorted((tmp_path / "out").iterdir())] == [f"part-{n:03d}.parquet" for n in range(16)]
    rows = rows_of(tmp_path / "out")
    assert sorted(rows.index) == sorted(files) and (rows["status"] == "ingested").all()
    assert rows["reason"].isna().all() and rows["flag"].isna().all()
    for row in rows.itertuples():
        crop = decode_crop(row.crop, row.codec)
        assert crop.shape == (row.height_px, row.width_px) and max(crop.shape) == 200
        assert row.part == part_of(row.patient_id)
        assert (row.frame_height_px, row.frame_width_px) == (320, 256)
        assert (
            row.frame_low
            == 0
            < row.breast_low
            < row.breast_high
            <= row.frame_high
            == round(breast().max() / 4095 * 65535)
        )
        assert (row.laterality, row.view) == ("LR"[int(row.image_id[1]) % 2], "CC")
    for _, part in rows.groupby("part"):
        assert part["image_id"].is_monotonic_increasing


def test_bad_files_become_rows_with_a_reason(tmp_path, archive, mammogram, breast):
    whole = tmp_path / "whole.dcm"
    truncated = {}
    for name, syntax in (("raw", ""), ("rle", RLELossless), ("j2k", JPEG2000Lossless), ("ljpeg", JPEGLosslessSV1)):
        mammogram(breast(), *([syntax] if syntax else [])).save_as(whole, enforce_file_format=True)
        truncated[f"cut-{name}"] = whole.read_bytes()[: whole.stat().st_size * 2 // 3]
    files = {
        "good": mammogram(breast()),
        "text": b"image_id,label\n1,2\n" * 40,
        "empty": b"",
        "header-only": whole.read_bytes()[:300],
        "garbage": mammogram(breast(), HTJ2KLossless, PixelData=b"\xfe\xff\x00\xe0\x00\x00\x00\x00" + b"\x07" * 400),
        "short": mammogram(breast(), PixelData=b"\0" * 1000),
        "blank": mammogram(np.full((64, 64), 5, np.uint16)),
        "raw": mammogram(breast(), PresentationIntentType="FOR PROCESSING"),
        "gone": b"x",
        "grown": b"x",
        **truncated,
    }
    root, catalog = archive(files)
    (root / "gone.dcm").unlink()
    (root / "grown.dcm").write_bytes(b"xx")
    ingest(root, catalog, tmp_path / "out", SETTINGS, workers=1)
    rows = rows_of(tmp_path / "out")
    assert len(rows) == len(files)
    assert rows.loc["good", "status"] == "ingested"
    assert tuple(rows.loc["raw", ["status", "reason"]]) == ("excluded", "for_processing")
    codes = rows[rows["status"] == "rejected"]["reason"].str.partition(":")[0].to_dict()
    cut = {name: codes.pop(name) for name in truncated}
    assert set(cut.values()) <= {"no_pixels", "pixel_length", "unreadable", "decode"}
    assert codes == {
        "text": "not_dicom",
        "empty": "not_dicom",
        "header-only": "no_pixels",
        "garbage": "decode",
        "short": "pixel_length",
        "blank": "blank",
        "gone": "missing",
        "grown": "size",
    }
    assert rows.loc[rows["status"] != "ingested", "crop"].isna().all()


def test_tags_that_contradict_the_catalog_are_flagged_and_the_catalog_wins(tmp_path, archive, mammogram, breast):
    root, catalog = archive({"a": mammogram(breast(), ViewPosition="MLO")})
    ingest(root, catalog, tmp_path / "out", SETTINGS, workers=1)
    row = rows_of(tmp_path / "out").loc["a"]
    assert (row["flag"], row["view"], row["status"]) == ("view_differs", "CC", "ingested")


def test_resuming_decodes_only_what_is_missing(tmp_path, archive, mammogram, breast, newly_kept):
    files = {f"a{n}": mammogram(breast()) for n in range(4)}
    root, catalog = archive(files)
    ingest(root, catalog, tmp_path / "one", SETTINGS, workers=1)
    assert newly_kept() == [f"a{n}" for n in range(4)]
    root, catalog = archive(files | {"b": mammogram(breast(), ViewPosition="CC", Manufacturer="SIEMENS")})
    ingest(root, catalog, tmp_path / "two", SETTINGS, workers=1)
    assert newly_kept() == ["b"]
    assert len(rows_of(tmp_path / "two")) == 5
    os.utime(root / "a1.dcm", (1, 1))
    ingest(root, catalog, tmp_path / "three", SETTINGS, workers=1)
    assert newly_kept() == ["a1"], "a file that changed in place is read again"
    ingest(root, catalog, tmp_path / "four", SETTINGS.model_copy(update={"max_px": 100}), workers=1)
    assert len(newly_kept()) == 5, "another size of crop is another result"
    ingest(root, catalog, tmp_path / "five", SETTINGS.model_copy(update={"seconds_per_file": 60}), workers=1)
    assert newly_kept() == [], "another limit is the same result"


def test_two_runs_write_the_same_bytes(tmp_path, archive, mammogram, breast, monkeypatch):
    files = {f"a{n}": mammogram(breast(), RLELossless) for n in range(3)}
    root, catalog = archive(files | {"bad": b"text" * 99})
    for name, workers in (("one", 1), ("two", 2)):
        monkeypatch.setenv("PIPELINE_SCRATCH", str(tmp_path / name / "scratch"))
        ingest(root, catalog, tmp_path / name / "out", SETTINGS, workers=workers)
    for path in (tmp_path / "one" / "out").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / "out" / path.name).read_bytes()


def test_too_many_rejected_files_are_an_input_error(tmp_path, archive, mammogram, breast):
    root, catalog = archive({"good": mammogram(breast()), "bad": b"not an image" * 20})
    with pytest.raises(InputError) as caught:
        ingest(root, catalog, tmp_path / "out", SETTINGS.model_copy(update={"max_rejected_fraction": 0.4}), workers=1)
    message = str(caught.value)
    for part in ("1 of 2 files", "0.4", "not_dicom (1)", "bad: not_dicom", "max_rejected_fraction"):
        assert part in message
    ingest(root, catalog, tmp_path / "out", SETTINGS.model_copy(update={"max_rejected_fraction": 0.5}), workers=1)


def test_without_a_catalog(tmp_path, archive):
    with pytest.raises(InputError, match="no catalog"):
        ingest(tmp_path, tmp_path, tmp_path / "out", SETTINGS, workers=1)


def crash():
    os.kill(os.getpid(), signal.SIGKILL)


def hang():
    time.sleep(60)


def loop():
    """For ages in C, without giving the interpreter back."""
    re.match("(a+)+$", "a" * 90 + "b")


@pytest.mark.parametrize(
    ("decode", "workers", "code"),
    [(crash, 2, "decoder_crash"), (crash, 1, "decoder_crash"), (hang, 2, "timeout"), (loop, 1, "timeout")],
)
def test_a_decoder_that_ends_its_process_or_never_returns_costs_one_file(tmp_path, decode, workers, code):
    files = [CataloguedFile(f"i{n}", "p", "L", "CC", f"i{n}.dcm", 1, None) for n in range(6)]
    kept = {file.image_id: tmp_path / "kept" / f"{file.image_id}.arrow" for file in files}

    def make_row(file):
        if file.image_id == "i3":
            decode()
        return rejected_row(file, "") | {"status": "ingested", "reason": None}

    rejected = finish_files(files, kept, make_row, workers, seconds_per_file=1)
    assert {name: row["reason"].partition(":")[0] for name, row in rejected.items()} == {"i3": code}
    assert all(path.exists() for name, path in kept.items() if name != "i3")
    assert sorted(path.suffix for path in (tmp_path / "kept").iterdir()) == [".arrow"] * 5, "no mark is left"


def test_the_limit_is_of_each_file_not_of_them_all(tmp_path):
    files = [CataloguedFile(f"i{n}", "p", "L", "CC", f"i{n}.dcm", 1, None) for n in range(6)]
    kept = {file.image_id: tmp_path / "kept" / f"{file.image_id}.arrow" for file in files}

    def make_row(file):
        time.sleep(0.5)
        return rejected_row(file, "") | {"status": "ingested", "reason": None}

    assert finish_files(files, kept, make_row, workers=1, seconds_per_file=2) == {}


def test_a_file_that_takes_too_long_is_a_row(tmp_path, archive, mammogram, breast, monkeypatch):
    image_row = ingest_module.image_row

    def slow(root, file, settings):
        if file.image_id == "slow":
            hang()
        return image_row(root, file, settings)

    monkeypatch.setattr(ingest_module, "image_row", slow)
    root, catalog = archive({"slow": mammogram(breast()), "good": mammogram(breast())})
    ingest(root, catalog, tmp_path / "out", SETTINGS.model_copy(update={"seconds_per_file": 4}), workers=2)
    rows = rows_of(tmp_path / "out")
    assert tuple(rows.loc["slow", ["status", "reason"]]) == (
        "rejected", "timeout: the decoder was still at work after ingest.seconds_per_file",
    )  # fmt: skip
    assert rows.loc["good", "status"] == "ingested"

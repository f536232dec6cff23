"""acquire, catalog, ingest, filter and pack on a small synthetic archive of each layout."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.cohorts.acquire import acquire
from pipeline.cohorts.catalog import catalog
from pipeline.cohorts.filters import filter_cohort
from pipeline.cohorts.source import archive_root
from pipeline.dicom.ingest import ingest
from pipeline.params import read_params
from pipeline.sections import Archive, Ingest, Pack
from pipeline.shards.read import iterate
from pipeline.shards.write import pack
from pipeline.tables import CATALOG, COHORT, FLOW, SHARD, SPLITS, read_table

PATIENTS = 20
SEED = 5
INGEST = Ingest(max_px=200, exclude=[], max_rejected_fraction=0.05, seconds_per_file=120)
ROOT = Path(__file__).resolve().parents[2]


def run_chain(adapter: str, raw: Path, data: Path) -> None:
    """All stages after acquire, up to the shards, with the demo's settings but small images."""
    run, profile = read_params(ROOT)
    outs = {name: data / name for name in ("catalog", "crops", "cohort", "sealed", "annotations", "shards")}
    catalog("demo", archive_of(adapter), archive_root(raw), outs["catalog"])
    ingest(archive_root(raw), outs["catalog"], outs["crops"], INGEST, 1)
    filter_cohort(*list(outs.values())[:5], run.filter, SEED)
    small = Pack(**{**profile.pack.model_dump(), "height_px": 64, "width_px": 40, "shards": 3})
    pack(outs["crops"], outs["cohort"], outs["shards"], small, SPLITS, 1)


def archive_of(adapter: str) -> Archive:
    return Archive(
        adapter=adapter, root=None, patients=PATIENTS, columns={}, extra=[], identifiers="published", fatal=[]
    )


@pytest.mark.parametrize("adapter", ["table", "vindr", "rsna"])
def test_chain_is_consistent_and_byte_stable(adapter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    acquire("demo", archive_of(adapter), SEED, tmp_path / "raw")
    for name in ("a", "b"):
        monkeypatch.setenv("PIPELINE_SCRATCH", str(tmp_path / "scratch" / name))
        run_chain(adapter, tmp_path / "raw", tmp_path / name)
    files = [file.relative_to(tmp_path / "a") for file in sorted((tmp_path / "a").rglob("*.parquet"))]
    changed = [
        str(file) for file in files if (tmp_path / "a" / file).read_bytes() != (tmp_path / "b" / file).read_bytes()
    ]
    assert len(files) >= 10
    assert not changed
    check(tmp_path / "a", adapter)


def check(data: Path, adapter: str) -> None:
    """What the tables of a chain say about each other."""
    catalogued = read_table(data / "catalog" / "images.parquet", CATALOG)
    cohort = read_table(data / "cohort" / "images.parquet", COHORT)
    flow = read_table(data / "cohort" / "flow.parquet", FLOW)
    assert catalogued["patient_id"].nunique() == PATIENTS
    assert flow["images"].iloc[0] == len(catalogued)
    assert flow["images"].iloc[-1] == len(cohort) > 0.8 * len(catalogued)
    assert cohort["age_years"].notna().mean() > 0.9
    batches = list(iterate(data / "shards", SPLITS, 32))
    rows, images = pd.concat([rows for rows, _ in batches]), np.concatenate([images for _, images in batches])
    assert set(rows.columns) == {*SHARD.names, "file", "row_group", "row"} - {"codec", "image"}
    assert sorted(rows["image_id"]) == sorted(cohort["image_id"])
    assert images.shape == (len(cohort), 64, 40)
    assert ((images > 0).mean(axis=(1, 2)) > 0.1).all()  # a breast fills part of every image
    assert (images.max(axis=(1, 2)) > 160).all()  # the 99.5th percentile is 204 before the image is reduced
    training = cohort[cohort["split"] == "train"]
    known = {"table": ["mass", "malignant", "years_followed"], "vindr": ["mass", "density"], "rsna": ["malignant"]}
    assert training[known[adapter]].notna().all().all()
    assert training[known[adapter][0]].nunique() == 2

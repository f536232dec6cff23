"""A private archive whose ids, paths and tags are full of identifiers: none is in any byte of any output or message."""

from pathlib import Path

import numpy as np
import pandas as pd
import pydicom
import pytest

from pipeline.cohorts.catalog import catalog
from pipeline.cohorts.filters import filter_cohort
from pipeline.cohorts.phantom import write_archive
from pipeline.dicom.ingest import ingest
from pipeline.errors import InputError
from pipeline.evaluation.quality import check_quality
from pipeline.params import read_params
from pipeline.sections import Archive

ROOT = Path(__file__).resolve().parents[2]
NAME, NUMBER, DAY = "QQZZX", "77410993", "19131113"
RACE = "American Indian or Alaska Native"
KEYED = Archive(adapter="table", root="unused", patients=None, columns={}, extra=[], identifiers="keyed", fatal=[])


def write_private_archive(root: Path) -> None:
    """Synthetic breasts under names, numbers and dates: in folders, file names, the table's ids and every text tag."""
    write_archive("table", patients=3, seed=4, root=root, processes=1)
    table = pd.read_csv(root / "images.csv", dtype=str)
    patients = {old: f"{NUMBER}{n}" for n, old in enumerate(table["patient_id"].unique())}
    for index, row in table.iterrows():
        target = Path(f"{NAME}_{row['patient_id']}", f"{DAY}_{index}.dcm")
        (root / target).parent.mkdir(exist_ok=True)
        dataset = pydicom.dcmread(root / row["image_path"])
        for keyword in ("PatientName", "StudyDescription", "InstitutionName", "ImageComments", "ProtocolName"):
            setattr(dataset, keyword, NAME)
        dataset.PatientID, dataset.PatientBirthDate, dataset.StudyDate = NUMBER, DAY, DAY
        dataset.save_as(root / target)
        (root / row["image_path"]).unlink()
        table.loc[index, "image_path"] = target.as_posix()
    table["exam_id"] = DAY + "-" + table["exam_id"]
    table["patient_id"] = table["patient_id"].map(patients)
    table.loc[0, "density"], table.loc[1, "view"], table.loc[3, "view"] = NAME, None, NAME
    table["vendor"] = f"{NAME} {DAY}"
    table["race"] = RACE
    table.loc[0, "race"] = NAME
    table.to_csv(root / "images.csv", index=False)
    (root / f"{NAME}_stray.dcm").write_bytes(b"stray" * 50)
    (root / table.loc[2, "image_path"]).write_bytes(NAME.encode() * 100)


def test_no_identifier_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PIPELINE_SCRATCH", str(tmp_path / "scratch"))
    monkeypatch.setenv("PIPELINE_PSEUDONYM_KEY", "5e" * 32)
    run, profile = read_params(ROOT)
    (tmp_path / "raw").mkdir()
    write_private_archive(tmp_path / "raw")
    capfd.readouterr()
    out = tmp_path / "out"
    catalog("mine", KEYED, tmp_path / "raw", out / "catalog")
    errors = []
    with pytest.raises(InputError) as fatal:
        catalog(
            "mine", KEYED.model_copy(update={"fatal": ["unknown_value", "file_without_row"]}), tmp_path / "raw", out
        )
    errors.append(str(fatal.value))
    strict = profile.ingest.model_copy(update={"max_rejected_fraction": 0.0})
    with pytest.raises(InputError) as rejected:
        ingest(tmp_path / "raw", out / "catalog", out / "crops", strict, workers=1)
    errors.append(str(rejected.value))
    lenient = profile.ingest.model_copy(update={"max_rejected_fraction": 1.0})
    ingest(tmp_path / "raw", out / "catalog", out / "crops", lenient, workers=2)
    filter_cohort(*(out / n for n in ("catalog", "crops", "cohort", "sealed", "annotations")), run.filter, run.seed)
    problems = out / "catalog" / "problems.parquet"
    check_quality(
        "mine", problems, out / "crops", out / "cohort", out / "quality", out / "bins", out / "counts", run.seed
    )

    captured = capfd.readouterr()
    said = "\n".join([*errors, captured.out, captured.err, caplog.text])
    assert "unknown_value" in said and "file_without_row" in said and "not_dicom" in said
    written = [path for folder in (out, tmp_path / "scratch") for path in folder.rglob("*") if path.is_file()]
    assert len(written) > 25
    traces = [NAME, NUMBER, DAY, "".join(chr(ord(c) + 32) for c in NAME)]
    for trace in traces:
        assert trace not in said
        for path in written:
            assert trace not in path.name
            assert trace.encode() not in path.read_bytes(), f"{trace} in {path.name}"
    tables = [(path, pd.read_parquet(path)) for path in written if path.suffix == ".parquet"]
    assert not any(trace in str(value) for _, rows in tables for name in rows for value in rows[name]
                   if not isinstance(value, bytes | np.ndarray) for trace in traces)  # fmt: skip
    told = {path.parent.name for path, rows in tables if any(RACE in map(str, rows[name]) for name in rows)}
    assert told - {"sealed"} == {"catalog"}, "race is for the subgroups of the test images"
    images = pd.read_parquet(out / "cohort" / "images.parquet")
    assert len(images) > 8 and images["patient_id"].nunique() == 3, "the patients are still told apart"

"""Finding boxes of a dataset lie where its lesions are in the stored crop, and come back to the frame."""

from pathlib import Path

import pandas as pd
import pytest

from pipeline.cohorts.catalog import catalog
from pipeline.cohorts.phantom import lesion_maps, write_archive
from pipeline.dicom.geometry import PixelBox, to_crop, to_frame
from pipeline.dicom.ingest import ingest
from pipeline.dicom.store import decode_crop
from pipeline.sections import Archive, Ingest
from pipeline.tables import CROPS, FINDINGS, read_table

VINDR = Archive(adapter="vindr", root="unused", patients=None, columns={}, extra=[], identifiers="published", fatal=[])


def test_boxes_of_vindr_map_to_the_crop_and_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIPELINE_SCRATCH", str(tmp_path / "scratch"))
    write_archive("vindr", patients=12, seed=3, root=tmp_path / "raw", processes=1)
    catalog("vindr", VINDR, tmp_path / "raw", tmp_path / "catalog")
    settings = Ingest(max_px=300, exclude=[], max_rejected_fraction=0.0, seconds_per_file=120)
    ingest(tmp_path / "raw", tmp_path / "catalog", tmp_path / "crops", settings, workers=1)
    findings = read_table(tmp_path / "catalog" / "findings.parquet", FINDINGS)
    crops = pd.concat([read_table(part, CROPS) for part in (tmp_path / "crops").iterdir()]).set_index("image_id")
    lesions = lesion_maps("vindr", patients=12, seed=3)
    lesions = lesions[lesions["present"]].assign(image_id=lesions["path"].map(lambda path: Path(path).stem))
    kinds = {"Mass": "mass", "Suspicious Calcification": "calcification"}
    assert len(findings) > 8
    for finding in findings.itertuples():
        row = crops.loc[finding.image_id].to_dict()
        box = PixelBox(finding.top_px, finding.left_px, finding.height_px, finding.width_px)
        mapped = to_crop(box, row)
        assert to_frame(mapped, row) == pytest.approx(box, abs=1e-3)
        crop = decode_crop(row["crop"], row["codec"])
        centre = (int(mapped.top + mapped.height / 2), int(mapped.left + mapped.width / 2))
        assert crop[centre] > row["frame_low"], "the middle of the box is breast, not blanked air"
        places = lesions[(lesions["image_id"] == finding.image_id) & (lesions["kind"] == kinds[finding.kind])]
        inside = [
            box.top <= row_px <= box.top + box.height and box.left <= column_px <= box.left + box.width
            for row_px, column_px in zip(places["row"], places["column"], strict=True)
        ]
        assert any(inside), "the box holds the lesion that the phantom drew"

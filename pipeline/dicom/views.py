"""Which breast and which view an image shows, and which images are none of an ordinary view, told by their tags."""

from pydicom import Dataset

from pipeline.dicom.attributes import attribute, code_values, first_text, texts
from pipeline.sections import Exclusion
from pipeline.tables import VIEWS

# PS3.4 B.5: storage SOP classes that are never a two-dimensional image for presentation.
FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.2.1"
TOMOSYNTHESIS = "1.2.840.10008.5.1.4.1.1.13.1.3"
# PS3.16 CID 4014 (views), in SNOMED CT and in the retired SNOMED-RT codes that older devices write.
VIEW_CODES = {"399162004": "CC", "R-10242": "CC", "399368009": "MLO", "R-10226": "MLO"}
SPECIMEN_CODES = ("127457009", "G-8310")
# PS3.16 CID 4015 (view modifiers): those after which an image shows a part of the breast, or a breast pulled off its
# implant. Rolled views, nipple in profile and anterior compression show the whole breast and stay.
MODIFIER_CODES: dict[str, Exclusion] = {
    "399163009": "magnification", "R-102D6": "magnification",
    "399055006": "spot_compression", "R-102D7": "spot_compression",
    "399209000": "implant_displaced", "R-102D5": "implant_displaced",
    "399011000": "partial_view", "R-102D1": "partial_view",  # axillary tail
    "442580003": "partial_view", "R-40AB2": "partial_view",  # axillary tissue
    "399161006": "partial_view", "R-102D2": "partial_view",  # cleavage
    "442593008": "partial_view", "R-40ABE": "partial_view",  # infra-mammary fold
    "399110001": "partial_view", "R-102C2": "partial_view",  # tangential
}  # fmt: skip
# ACR's labels (MQCM) join prefix, view and suffix; vendors write them into ViewPosition as one word.
PREFIXES: dict[str, Exclusion | None] = {"": None, "M": "magnification", "S": "spot_compression"}
SUFFIXES: dict[str, Exclusion | None] = {
    "": None, "RL": None, "RM": None, "RS": None, "RI": None,
    "ID": "implant_displaced", "AT": "partial_view", "TAN": "partial_view", "CV": "partial_view",
}  # fmt: skip
# ACR MQCM's labels of views that are neither CC nor MLO, as tables write them.
PARTS = ("AT", "CV", "TAN", "AX")  # which codes write as modifiers
OTHER_VIEWS = ("ML", "LM", "LMO", "XCCL", "XCCM", "XCC", "FB", "SIO", "ISO", *PARTS)
POSITIONS = {
    f"{prefix}{view}{suffix}": (view, before or after)
    for view in ("CC", "MLO")
    for prefix, before in PREFIXES.items()
    for suffix, after in SUFFIXES.items()
}
# PS3.3 C.8.11.7.1.4, values 3 and 4 of Image Type (0008,0008).
IMAGE_TYPES: dict[str, Exclusion] = {
    "GENERATED_2D": "synthetic_2d",
    "TOMO": "tomosynthesis", "TOMO_PROJ": "tomosynthesis",
    "STEREO_SCOUT": "stereo", "STEREO_MINUS": "stereo", "STEREO_PLUS": "stereo",
    "PREFIRE_MINUS": "biopsy", "PREFIRE_PLUS": "biopsy", "POSTFIRE_MINUS": "biopsy", "POSTFIRE_PLUS": "biopsy",
}  # fmt: skip
# PS3.3 C.7.6.1.1.1: rows run to the anterior and columns to the medial side in the usual display of a left breast.
ORIENTATIONS = {("A", "R"): "L", ("A", "FR"): "L", ("P", "L"): "R", ("P", "FL"): "R"}
# Contact mammography magnifies by less than 1.1; magnification views begin at 1.4 (21 CFR 900.12(b)(6)).
MAGNIFIED = 1.4


def laterality(dataset: Dataset) -> str | None:
    """The side, L or R, from the first place that names one; None where none does."""
    return next(iter(_sides(dataset)), None)


def view(dataset: Dataset) -> str | None:
    """CC, MLO or `other` from the first place that names a view; None where none does."""
    return next(iter(_views(dataset)), None)


def _sides(dataset: Dataset) -> list[str]:
    """L or R from every place that names a side, the one to believe first.

    In this order: ImageLaterality, Laterality, FrameLaterality, ViewPosition (`RCC`), PatientOrientation.
    """
    found = [first_text(dataset, "ImageLaterality"), first_text(dataset, "Laterality"), _frame_laterality(dataset)]
    position = first_text(dataset, "ViewPosition") or ""
    if position not in POSITIONS and position[1:] in POSITIONS:
        found.append(position[0])
    orientation = texts(dataset, "PatientOrientation")
    found.append(ORIENTATIONS.get((orientation[0], orientation[1])) if len(orientation) == 2 else None)
    return [side for side in found if side in ("L", "R")]


def _views(dataset: Dataset) -> list[str]:
    """CC, MLO or `other` from every place that names a view, the one to believe first.

    In this order: ViewCodeSequence, ViewPosition, PatientOrientation, where CBIS-DDSM writes it.
    """
    names = [VIEW_CODES.get(code, "other") for code in code_values(dataset, "ViewCodeSequence")[:1]]
    position, orientation = first_text(dataset, "ViewPosition"), first_text(dataset, "PatientOrientation")
    names += [_position(position)[0]] if position else []
    return names + [word for word in (orientation,) if word in VIEWS]


def contradictions(dataset: Dataset) -> list[str]:
    """Flags of a file whose own tags name two sides, or two views.

    A part of the breast (axillary tail, cleavage) is a view of its own in one place and a modifier of CC or MLO in the
    other: beside it, as beside a word that names no view at all, `other` contradicts nothing.
    """
    codes, word = code_values(dataset, "ViewCodeSequence"), first_text(dataset, "ViewPosition")
    partial = (bool(word) and (word in PARTS or named_view(str(word)) is None)) or bool(
        set(codes) & MODIFIER_CODES.keys()
    )
    views = set(_views(dataset)) - ({"other"} if partial else set())
    named = {"laterality_within_file": set(_sides(dataset)), "view_within_file": views}
    return [flag for flag, names in named.items() if len(names) > 1]


def exclusions(dataset: Dataset) -> list[Exclusion]:
    """Every reason to leave the image out that its tags give, in a fixed order."""
    return [reason for reason in (_kind(dataset), _acquisition(dataset), *_partial(dataset)) if reason]


def _kind(dataset: Dataset) -> Exclusion | None:
    """What is no two-dimensional mammogram for presentation."""
    sop_class = str(attribute(dataset, "SOPClassUID") or "")
    if first_text(dataset, "Modality") not in (None, "MG"):
        return "not_mammography"
    if sop_class == TOMOSYNTHESIS:
        return "tomosynthesis"
    if int(attribute(dataset, "NumberOfFrames") or 1) > 1:
        return "multi_frame"
    if sop_class == FOR_PROCESSING or first_text(dataset, "PresentationIntentType") == "FOR PROCESSING":
        return "for_processing"
    return None


def _acquisition(dataset: Dataset) -> Exclusion | None:
    """Specimens, images of an intervention, and images computed from tomosynthesis."""
    codes = code_values(dataset, "ViewCodeSequence")
    named = (first_text(dataset, "ViewPosition") or "", first_text(dataset, "BodyPartExamined") or "")
    if set(codes) & set(SPECIMEN_CODES) or attribute(dataset, "SpecimenDescriptionSequence"):
        return "specimen"
    if any("SPECIMEN" in text for text in named):
        return "specimen"
    kinds = [IMAGE_TYPES[value] for value in texts(dataset, "ImageType")[2:] if value in IMAGE_TYPES]
    return "synthetic_2d" if "synthetic_2d" in kinds else kinds[0] if kinds else None


def _partial(dataset: Dataset) -> list[Exclusion]:
    """Views of part of the breast: view modifiers, the word in ViewPosition, magnification (0018,1114), PartialView."""
    reasons: list[Exclusion | None] = []
    for item in attribute(dataset, "ViewCodeSequence") or ():
        reasons += [MODIFIER_CODES.get(code) for code in code_values(item, "ViewModifierCodeSequence")]
    reasons.append(_position(first_text(dataset, "ViewPosition") or "")[1])
    if _number(attribute(dataset, "EstimatedRadiographicMagnificationFactor")) >= MAGNIFIED:
        reasons.append("magnification")
    if first_text(dataset, "PartialView") == "YES":
        reasons.append("partial_view")
    return [reason for reason in dict.fromkeys(reasons) if reason]


def _number(value: object) -> float:
    """A number, 0 where there is none."""
    try:
        return float(str(value))
    except ValueError:
        return 0.0


def named_view(word: str) -> str | None:
    """The view that a word of a table names, CC and MLO also behind a side or with a modifier; None if it names none.

    >>> named_view("LCC"), named_view("MLO"), named_view("XCCL"), named_view("ROE JANE")
    ('CC', 'MLO', 'XCCL', None)
    """
    if word in OTHER_VIEWS:
        return word
    named, _ = _position(word)
    return None if named == "other" else named


def _position(word: str) -> tuple[str, Exclusion | None]:
    """View and reason in one word of ViewPosition, with or without a side in front.

    >>> _position("MLO"), _position("RCC"), _position("CCID"), _position("XCCL")
    (('MLO', None), ('CC', None), ('CC', 'implant_displaced'), ('other', None))
    """
    if word not in POSITIONS and word[:1] in ("L", "R"):
        word = word[1:]
    return POSITIONS.get(word, ("other", None))


def _frame_laterality(dataset: Dataset) -> str | None:
    """FrameLaterality (0020,9072) of the shared functional groups (PS3.3 C.7.6.16.2.8)."""
    for group in attribute(dataset, "SharedFunctionalGroupsSequence") or ():
        for anatomy in group.get("FrameAnatomySequence") or ():
            return str(anatomy.get("FrameLaterality", "")).strip().upper()
    return None

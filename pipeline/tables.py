"""The data contract: the Arrow schema of every table that crosses a stage border.

Keys everywhere: `cohort`, `patient_id`, `exam_id`, `exam_day` (days since the patient's first exam),
`breast_id` (exam + laterality), `image_id`. A label that is null is unknown, never negative.
Files are byte-stable: no timestamps, host names or wall times, no library versions in the metadata.
"""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

LATERALITIES = ("L", "R")
VIEWS = ("CC", "MLO")
SPLITS = ("train", "validation", "test")
DENSITIES = ("A", "B", "C", "D")
# The categories of US records (OMB, Statistical Policy Directive No. 15, 1997), and two for whom none of them fits.
RACES = (
    "American Indian or Alaska Native",
    "Asian",
    "Black or African American",
    "Native Hawaiian or Other Pacific Islander",
    "White",
    "Multiple",
    "Other",
)
# Columns that are labels of some task; `filter` seals them for the test split.
IMAGE_LABELS = ("mass", "calcification", "malignant", "density", "birads")
EXAM_LABELS = ("years_to_cancer", "years_followed")

_IDS = [
    ("cohort", pa.string()),
    ("patient_id", pa.string()),
    ("exam_id", pa.string()),
    ("exam_day", pa.int32()),
    ("breast_id", pa.string()),
    ("image_id", pa.string()),
    ("laterality", pa.string()),
    ("view", pa.string()),
]
_KNOWN_BEFORE_READING = [
    ("age_years", pa.float32()),
    ("implant", pa.bool_()),
    ("vendor", pa.string()),
]
_LABELS = [
    ("mass", pa.bool_()),
    ("calcification", pa.bool_()),
    ("malignant", pa.bool_()),
    ("density", pa.string()),
    ("birads", pa.int8()),
    ("years_to_cancer", pa.float32()),
    ("years_followed", pa.float32()),
]

# catalog -> ingest, filter. One row per image that the dataset's own tables name and whose file exists.
# path: relative to the archive's root, encrypted where the archive's identifiers are keyed.
# exclusion: why the dataset's own tables say the image is no ordinary view (a value of sections.Exclusion), or null.
# extra: further annotations that reports may speak of, as a JSON object with sorted keys, or null.
# race: of RACES, of the patient, as the dataset's own tables tell it. Beside the catalog only SEALED has it, so that
# nothing that trains or writes reports can read it.
# mass, calcification, malignant: seen in (or, where the dataset annotates breasts, of the breast in) this image.
# years_to_cancer, years_followed: per exam, counted from the exam; null where the dataset has no follow-up.
CATALOG = pa.schema(
    [
        *_IDS,
        ("path", pa.string()),
        ("size_bytes", pa.int64()),
        *_KNOWN_BEFORE_READING,
        *_LABELS,
        ("race", pa.string()),
        ("source_split", pa.string()),
        ("exclusion", pa.string()),
        ("extra", pa.string()),
    ]
)

# catalog -> whoever studies lesions. One row per finding that the dataset marks in an image; image_id as in CATALOG.
# kind: in the dataset's own words; pathology: malignant or benign where a biopsy told; box: in pixels of the full
# frame, null where the dataset marks none. pipeline/dicom/geometry.py maps boxes to the crop and back.
FINDINGS = pa.schema(
    [
        ("image_id", pa.string()),
        ("kind", pa.string()),
        ("birads", pa.int8()),
        ("pathology", pa.string()),
        ("top_px", pa.float32()),
        ("left_px", pa.float32()),
        ("height_px", pa.float32()),
        ("width_px", pa.float32()),
    ]
)

# catalog -> evaluate. What is wrong with the archive: see pipeline/cohorts/problems.py.
PROBLEMS = pa.schema(
    [
        ("kind", pa.string()),
        ("place", pa.string()),
        ("records", pa.int64()),
        ("examples", pa.list_(pa.string())),
    ]
)

# ingest -> filter, pack_*. One row per catalogued file, whatever became of it.
# status: ingested, excluded (with reason) or rejected (with reason). Pixel boxes are (top, left, height, width)
# in the pixels of the full frame; crop is unsigned 16-bit, compressed by `codec`, size height_px x width_px, its
# pixels square; never mirrored. chest_wall: the side of the frame on which it lies. spacing_mm: distance of two rows of
# the frame; crop_spacing_mm: of two pixels of the crop. scale_rows, scale_columns: crop pixels per frame pixel
# (pipeline/dicom/geometry.py maps positions). voi: which VOI transformation was applied, out of how many.
# laterality, view: as catalogued, else as the tags say; flag: what a person should look at, separated by `;`.
# thumbnail: the whole frame as a small 8-bit PNG, so small (3 mm a pixel) that text in it cannot be read.
# frame_low, frame_high: least and greatest display value of the whole frame; breast_low, breast_high: the 0.5 and
# 99.5 percentile inside the breast; all on the grey scale of the stored crop.
CROPS = pa.schema(
    [
        ("image_id", pa.string()),
        ("patient_id", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("crop", pa.binary()),
        ("codec", pa.string()),
        ("height_px", pa.int32()),
        ("width_px", pa.int32()),
        ("frame_height_px", pa.int32()),
        ("frame_width_px", pa.int32()),
        ("box_top_px", pa.int32()),
        ("box_left_px", pa.int32()),
        ("box_height_px", pa.int32()),
        ("box_width_px", pa.int32()),
        ("scale_rows", pa.float64()),
        ("scale_columns", pa.float64()),
        ("spacing_mm", pa.float32()),
        ("crop_spacing_mm", pa.float32()),
        ("chest_wall", pa.string()),
        ("voi", pa.string()),
        ("frame_low", pa.float32()),
        ("frame_high", pa.float32()),
        ("breast_low", pa.float32()),
        ("breast_high", pa.float32()),
        ("flag", pa.string()),
        ("thumbnail", pa.binary()),
        ("laterality", pa.string()),
        ("view", pa.string()),
        ("manufacturer", pa.string()),
        ("photometric", pa.string()),
        ("transfer_syntax", pa.string()),
    ]
)

# filter -> pack_*, embed, probe, ... One row per image kept. Labels of the test split are null here.
COHORT = pa.schema([*_IDS, ("split", pa.string()), *_KNOWN_BEFORE_READING, *_LABELS])

# filter -> evaluate, and no other stage. The same columns and race, test split only, labels present.
SEALED = COHORT.append(pa.field("race", pa.string()))

# filter -> write_reports_*. One row per breast: the annotation subset C, findings merged over views by union.
# The file development.parquet holds the train and validation splits, test.parquet the test split.
ANNOTATIONS = pa.schema(
    [
        ("cohort", pa.string()),
        ("patient_id", pa.string()),
        ("exam_id", pa.string()),
        ("breast_id", pa.string()),
        ("split", pa.string()),
        ("laterality", pa.string()),
        ("views", pa.string()),
        ("age_band", pa.string()),
        ("implant", pa.bool_()),
        ("vendor", pa.string()),
        ("density", pa.string()),
        ("birads", pa.int8()),
        ("mass", pa.bool_()),
        ("calcification", pa.bool_()),
        ("extra", pa.string()),
    ]
)

# filter -> evaluate. How many images, breasts, exams and patients each exclusion leaves, in order.
FLOW = pa.schema(
    [
        ("step", pa.string()),
        ("images", pa.int64()),
        ("breasts", pa.int64()),
        ("exams", pa.int64()),
        ("patients", pa.int64()),
    ]
)

# write_reports_* -> encode_text_*, review_reports, evaluate. One row per (breast, annotation_set).
# variant: which of the prompt's reports the breast got; origin: llm or template; attempts: generations that were spent
# on it; codes: audit codes of those that failed, in order, then `budget` if the cap on generations was used up.
REPORTS = pa.schema(
    [
        ("breast_id", pa.string()),
        ("patient_id", pa.string()),
        ("split", pa.string()),
        ("annotation_set", pa.string()),
        ("report_id", pa.string()),
        ("prompt_id", pa.string()),
        ("variant", pa.int16()),
        ("report", pa.string()),
        ("origin", pa.string()),
        ("attempts", pa.int8()),
        ("codes", pa.list_(pa.string())),
    ]
)

# write_reports_* -> review_reports, evaluate. One row per distinct (prompt_id, variant); no identifier.
# facts: what the row holds, as a JSON object with sorted keys; tokens: generated in all attempts; raws: the raw output
# of every attempt, in order; breasts: how many carry this report; the others as in REPORTS.
DRAFTS = pa.schema(
    [
        ("prompt_id", pa.string()),
        ("variant", pa.int16()),
        ("annotation_set", pa.string()),
        ("facts", pa.string()),
        ("prompt", pa.string()),
        ("report_id", pa.string()),
        ("report", pa.string()),
        ("origin", pa.string()),
        ("attempts", pa.int8()),
        ("tokens", pa.int32()),
        ("codes", pa.list_(pa.string())),
        ("raws", pa.list_(pa.string())),
        ("breasts", pa.int32()),
    ]
)

# encode_text_* -> pretrain, retrieve, forgetting, fuse. One row per distinct report; states is float32, row-major
# [tokens, width], of the frozen text encoder's last layer, padding removed. In the folder of the table's facts: one row
# per distinct set of facts, named by its prompt, and one state per fact in the place of a token.
TEXT_STATES = pa.schema(
    [("report_id", pa.string()), ("tokens", pa.int32()), ("width", pa.int32()), ("states", pa.binary())]
)

# encode_text_* -> pretrain, retrieve, forgetting, for a text encoder that learns. One row per distinct report.
TEXTS = pa.schema([("report_id", pa.string()), ("report", pa.string())])

# encode_text_* -> pretrain, retrieve, forgetting, fuse. Which report belongs to which breast (no text in it); reports
# with the same prompt_id state the same facts.
TEXT_KEYS = pa.schema(
    [
        ("breast_id", pa.string()),
        ("patient_id", pa.string()),
        ("split", pa.string()),
        ("report_id", pa.string()),
        ("prompt_id", pa.string()),
    ]
)

# pack_* -> pretrain, embed, finetune. Images only; both views of a breast lie in one row group.
# image: a grey PNG of 8 or 16 bits, black to white. mirrored: the image is turned left to right against the crop, as
# the preparation asks (pipeline/shards/prepare.py); positions mirror with it.
# STEPS_16_BIT: a 16-bit pixel is this many times the 8-bit one of the same grey (65535 / 255).
STEPS_16_BIT = 257
SHARD = pa.schema(
    [
        ("image_id", pa.string()),
        ("breast_id", pa.string()),
        ("exam_id", pa.string()),
        ("patient_id", pa.string()),
        ("laterality", pa.string()),
        ("view", pa.string()),
        ("split", pa.string()),
        ("mirrored", pa.bool_()),
        ("codec", pa.string()),
        ("image", pa.binary()),
    ]
)

# embed -> probe, zero_shot, retrieve, risk, forgetting; finetune -> forgetting. backbone: global average of the
# feature map [C]; embedding: unit-norm output of the image tower's Tr module (null for an encoder that has none
# trained).
FEATURES = pa.schema(
    [
        ("image_id", pa.string()),
        ("breast_id", pa.string()),
        ("exam_id", pa.string()),
        ("patient_id", pa.string()),
        ("laterality", pa.string()),
        ("view", pa.string()),
        ("split", pa.string()),
        ("backbone", pa.list_(pa.float32())),
        ("embedding", pa.list_(pa.float32())),
    ]
)

# every task stage -> evaluate. score: higher means more of the label (probability, logit or expected grade).
# image_id is null for exam-level rows; horizon_years is 0 unless the score is a risk within that many years.
PREDICTIONS = pa.schema(
    [
        ("image_id", pa.string()),
        ("breast_id", pa.string()),
        ("exam_id", pa.string()),
        ("patient_id", pa.string()),
        ("task", pa.string()),
        ("method", pa.string()),
        ("encoder", pa.string()),
        ("fraction", pa.float32()),
        ("seed", pa.int32()),
        ("split", pa.string()),
        ("horizon_years", pa.int8()),
        ("score", pa.float32()),
    ]
)


def read_table(path: Path, schema: pa.Schema) -> pd.DataFrame:
    """Reads one Parquet file and checks its columns against the contract.

    Raises:
        ValueError: a column is missing, superfluous or of another type.
    """
    table = pq.read_table(path)
    if not table.schema.equals(schema, check_metadata=False):
        raise ValueError(
            f"{path}: expected the columns {schema.names}, found {table.schema.names}"
            f" ({_first_difference(table.schema, schema)}); rerun the stage that wrote it"
        )
    rows: pd.DataFrame = table.to_pandas(types_mapper=_NULLABLE.get)
    return rows


def write_table(rows: pd.DataFrame, path: Path, schema: pa.Schema, **parquet: object) -> None:
    """Writes rows as Parquet with exactly the columns and types of the contract, byte-stable.

    Args:
        rows: Must hold every column of schema; others are refused.
        path: File to write; its folder is made.
        schema: One of this module's schemas.
        **parquet: Passed to pyarrow's writer (compression, row_group_size, ...).

    Raises:
        ValueError: a column is missing or superfluous, or a value does not fit its type.
    """
    missing, extra = set(schema.names) - set(rows.columns), set(rows.columns) - set(schema.names)
    if missing or extra:
        raise ValueError(f"{path}: columns missing {sorted(missing)}, superfluous {sorted(extra)}")
    try:
        table = pa.Table.from_pandas(rows[schema.names], schema=schema, preserve_index=False)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ValueError(f"{path}: a value does not fit the contract: {error}") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.replace_schema_metadata(None), path, store_schema=False, **parquet)


# pandas' nullable types, so that a boolean or integer label with unknown values stays boolean or integer.
_NULLABLE = {
    pa.bool_(): pd.BooleanDtype(),
    pa.int8(): pd.Int8Dtype(),
    pa.int32(): pd.Int32Dtype(),
    pa.int64(): pd.Int64Dtype(),
    pa.string(): pd.StringDtype(),
}


def _first_difference(found: pa.Schema, expected: pa.Schema) -> str:
    """Names the first column where two schemas differ."""
    for name in expected.names:
        if name not in found.names:
            return f"{name} is missing"
        if found.field(name).type != expected.field(name).type:
            return f"{name} is {found.field(name).type}, not {expected.field(name).type}"
    return f"superfluous: {sorted(set(found.names) - set(expected.names))}"

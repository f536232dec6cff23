"""From catalogued images to a cohort: exclusions with counts, splits by patient, sealed test labels, annotations."""

from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq

from pipeline.cohorts.breasts import merge_breasts
from pipeline.cohorts.flow import apply_in_order
from pipeline.cohorts.splits import split_patients
from pipeline.errors import InputError
from pipeline.sections import Filter
from pipeline.tables import (
    ANNOTATIONS,
    CATALOG,
    COHORT,
    EXAM_LABELS,
    FLOW,
    IMAGE_LABELS,
    SEALED,
    VIEWS,
    read_table,
    write_table,
)


def filter_cohort(
    catalog: Path,
    crops: Path,
    cohort_out: Path,
    sealed_out: Path,
    annotations_out: Path,
    settings: Filter,
    seed: int,
) -> None:
    """Writes the cohort, its flow, the sealed test labels and the annotations of every breast.

    Args:
        catalog: Folder with images.parquet (tables.CATALOG).
        crops: Folder with part-*.parquet (tables.CROPS).
        cohort_out: Gets images.parquet (tables.COHORT, labels of the test split null) and flow.parquet (tables.FLOW).
        sealed_out: Gets labels.parquet (tables.SEALED: the test split with its labels and race).
        annotations_out: Gets development.parquet (train, validation) and test.parquet (tables.ANNOTATIONS).
        settings: Section `filter`.
        seed: Seed of the splits.

    Raises:
        InputError: no image is left.
    """
    outcomes = read_outcomes(crops)
    catalogued = with_tags(read_table(catalog / "images.parquet", CATALOG), outcomes)
    kept, flow = apply_in_order(catalogued, _conditions(catalogued, outcomes, settings.exclude_implants))
    if kept.empty:
        raise InputError(
            f"filter: expected images after all exclusions, found none; {_last_loss(flow)};"
            f" check that step's column, or the `filter` section of params.yaml"
        )
    images = _split(kept, settings, seed).sort_values("image_id")
    write_table(flow, cohort_out / "flow.parquet", FLOW)
    write_table(seal(images)[COHORT.names], cohort_out / "images.parquet", COHORT)
    write_table(images[images["split"] == "test"], sealed_out / "labels.parquet", SEALED)
    breasts = merge_breasts(images.assign(extra=kept["extra"]), settings.age_band_years)
    is_test = breasts["split"] == "test"
    write_table(breasts[~is_test], annotations_out / "development.parquet", ANNOTATIONS)
    write_table(breasts[is_test], annotations_out / "test.parquet", ANNOTATIONS)


def read_outcomes(crops: Path) -> pd.DataFrame:
    """What ingest found out about every file it met, by image_id; no pixels are read.

    Columns: status; reason (its code, without details); laterality and view, of the catalog or else of the tags.
    """
    names = ["image_id", "status", "reason", "laterality", "view"]
    parts = [pq.read_table(part, columns=names).to_pandas() for part in sorted(crops.glob("part-*.parquet"))]
    if not parts:
        raise ValueError(f"{crops}: no part-*.parquet; run ingest first")
    rows: pd.DataFrame = pd.concat(parts).astype(pd.StringDtype()).set_index("image_id")
    rows["reason"] = rows["reason"].str.partition(":")[0]
    return rows


def with_tags(catalogued: pd.DataFrame, outcomes: pd.DataFrame) -> pd.DataFrame:
    """The catalog with side and view from the DICOM tags where the dataset's tables do not tell."""
    image = catalogued["image_id"]
    side, view = (catalogued[name].fillna(image.map(outcomes[name])) for name in ("laterality", "view"))
    return catalogued.assign(laterality=side, view=view, breast_id=catalogued["exam_id"] + "-" + side)


def seal(images: pd.DataFrame) -> pd.DataFrame:
    """The same images, with every label of the test split null."""
    labels = [*IMAGE_LABELS, *EXAM_LABELS]
    sealed = images.copy()
    sealed[labels] = sealed[labels].mask(sealed["split"] == "test")
    return sealed


def _conditions(
    catalogued: pd.DataFrame, outcomes: pd.DataFrame, exclude_implants: bool
) -> list[tuple[str, pd.Series]]:
    """The exclusions in order: what each step keeps. Several images of one view are kept; unknown implants too."""
    status, reason = (catalogued["image_id"].map(outcomes[name]) for name in ("status", "reason"))
    excluded = status == "excluded"
    return [
        ("met by ingest", status.notna()),
        ("readable", (status != "rejected").fillna(False)),
        *((f"not {code}", ~(excluded & (reason == code)).fillna(False)) for code in sorted(set(reason[excluded]))),
        ("side known", catalogued["laterality"].notna()),
        ("view CC or MLO", catalogued["view"].isin(VIEWS).fillna(False)),
        *([("no implant", ~catalogued["implant"].fillna(False))] if exclude_implants else []),
    ]


def _split(kept: pd.DataFrame, settings: Filter, seed: int) -> pd.DataFrame:
    """Adds the split of each patient and keeps the columns of tables.SEALED."""
    split = split_patients(
        kept["patient_id"], kept["source_split"], settings.test_fraction, settings.validation_fraction, seed
    )
    columns: list[str] = SEALED.names
    return kept.assign(split=split)[columns]


def _last_loss(flow: pd.DataFrame) -> str:
    """Which step took the last images."""
    empty = int((flow["images"] == 0).to_numpy().argmax())
    before = flow["images"].iloc[max(empty - 1, 0)]
    return f"step {flow['step'].iloc[empty]!r} left none of {before}"

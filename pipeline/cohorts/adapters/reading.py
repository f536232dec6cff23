"""What an adapter returns, and the columns that adapters build alike."""

import json
from collections.abc import Mapping
from typing import NamedTuple

import pandas as pd

from pipeline.cohorts.adapters.cells import Cells
from pipeline.errors import InputError
from pipeline.sections import Archive
from pipeline.tables import CATALOG, FINDINGS


class Reading(NamedTuple):
    """What an adapter reads.

    Attributes:
        images: The columns of tables.CATALOG but cohort and size_bytes, one row per image.
        findings: The columns of tables.FINDINGS; an image_id as in images.
        others: Relative paths of image files that are no mammograms of their own, such as lesion masks.
    """

    images: pd.DataFrame
    findings: pd.DataFrame
    others: frozenset[str] = frozenset()


def refuse_options(archive: Archive) -> None:
    """Raises an InputError if a profile renames or adds columns of a dataset whose layout is fixed."""
    if named := sorted({*archive.columns, *archive.extra}):
        raise InputError(
            f"archives: columns, extra: expected none for adapter {archive.adapter}, whose tables are fixed by its"
            f" owners; found {', '.join(named)}; empty them, or use adapter table"
        )


def unknown(index: pd.Index, dtype: str) -> pd.Series:
    """A column of nulls, for what a dataset does not tell."""
    return pd.Series(pd.NA, index=index, dtype=dtype)


def with_unknown(images: pd.DataFrame) -> pd.DataFrame:
    """The images with every column of tables.CATALOG that their dataset does not tell, as nulls."""
    told = {"cohort", "size_bytes", *images.columns}  # the first two are the catalog's own
    return images.assign(**{name: unknown(images.index, "object") for name in CATALOG.names if name not in told})


def agreed_race(table: Cells, race: pd.Series, patient_id: pd.Series) -> pd.Series:
    """Race by patient_id, of a table whose rows may repeat it; unknown where a patient's rows differ."""
    differs = race.notna() & (race.groupby(patient_id).transform("nunique") > 1)
    table.note(differs, "race", "one race per patient", "contradiction")
    return race.mask(differs).groupby(patient_id).first()


def breast_ids(exam_id: pd.Series, laterality: pd.Series) -> pd.Series:
    """`<exam>-<L or R>`; null where the side is unknown."""
    return exam_id + "-" + laterality


def extra_of(columns: Mapping[str, pd.Series]) -> pd.Series:
    """Further annotations, a JSON object per row with sorted keys; null where no column knows anything.

    >>> extra_of({"site": pd.Series(["2", None]), "biopsy": pd.Series([None, None])}).tolist()
    ['{"site": "2"}', <NA>]
    """
    rows = pd.DataFrame(dict(columns)).astype(object)
    known = rows.apply(lambda row: {str(name): str(value) for name, value in row.items() if pd.notna(value)}, axis=1)
    return known.map(lambda row: json.dumps(row, sort_keys=True) if row else pd.NA).astype(pd.StringDtype())


def no_findings() -> pd.DataFrame:
    """The findings of a dataset that marks none."""
    return pd.DataFrame(columns=FINDINGS.names)

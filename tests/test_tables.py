"""The data contract refuses what does not fit, keeps unknown labels unknown and writes the same bytes twice."""

from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest

from pipeline import tables
from pipeline.tables import CATALOG, COHORT, FLOW, read_table, write_table


def cohort_rows() -> pd.DataFrame:
    rows = pd.DataFrame({name: [None, None] for name in COHORT.names})
    return rows.assign(
        image_id=["a", "b"], mass=pd.array([True, None], "boolean"), birads=pd.array([4, None], "Int8"), exam_day=0
    )


def test_unknown_labels_stay_unknown(tmp_path: Path) -> None:
    write_table(cohort_rows(), tmp_path / "t.parquet", COHORT)
    rows = read_table(tmp_path / "t.parquet", COHORT)
    assert rows["mass"].tolist() == [True, pd.NA]
    assert rows["birads"].tolist() == [4, pd.NA]
    assert rows["birads"].dtype == "Int8"


def test_same_rows_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write_table(cohort_rows(), tmp_path / name, COHORT)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_a_missing_or_superfluous_column_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"missing \['mass'\], superfluous \['lump'\]"):
        write_table(cohort_rows().rename(columns={"mass": "lump"}), tmp_path / "t.parquet", COHORT)


def test_a_value_of_another_type_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not fit the contract"):
        write_table(cohort_rows().assign(birads="four"), tmp_path / "t.parquet", COHORT)


def test_a_file_of_another_contract_is_refused(tmp_path: Path) -> None:
    write_table(cohort_rows(), tmp_path / "t.parquet", COHORT)
    with pytest.raises(ValueError, match="path is missing"):
        read_table(tmp_path / "t.parquet", CATALOG)
    with pytest.raises(ValueError, match="step is missing"):
        read_table(tmp_path / "t.parquet", FLOW)


def test_race_is_in_the_catalog_and_the_sealed_labels_alone() -> None:
    """What trains, packs, writes reports or captions reads neither of the two."""
    schemas = {name: schema for name, schema in vars(tables).items() if isinstance(schema, pa.Schema)}
    assert {"COHORT", "ANNOTATIONS", "SHARD", "REPORTS", "FEATURES"} < schemas.keys()
    assert {name for name, schema in schemas.items() if "race" in schema.names} == {"CATALOG", "SEALED"}

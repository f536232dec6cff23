"""Tables as text cells, and cells as typed columns: what is out of range is noted, and unknown."""

from pathlib import Path

import pandas as pd
import pytest

from pipeline.cohorts.adapters.cells import Cells, read_cells
from pipeline.cohorts.adapters.reading import breast_ids, extra_of, no_findings, refuse_options, unknown
from pipeline.cohorts.problems import Problem, Problems
from pipeline.errors import InputError
from pipeline.sections import Archive
from pipeline.tables import FINDINGS

ROWS = pd.DataFrame({"Key": ["007", "8"], "Grade": ["4.0", ""]})
# What any spreadsheet writes for these rows.
EDITIONS = {
    "commas.csv": b"Key,Grade\n007,4.0\n8,\n",
    "semicolons.csv": b"Key;Grade\r\n007;4.0\r\n8;\r\n",
    "byte_order_mark.csv": b"\xef\xbb\xbfKey,Grade\n007,4.0\n8,\n",
    "padded.csv": b" Key , Grade\n 007 , 4.0 \n8 ,   \n",
    "quoted.csv": b'"Key","Grade"\n"007","4.0"\n"8",""\n',
    "short_row.csv": b"Key,Grade\n007,4.0\n8\n",
}


def cells_of(**columns: list[str]) -> Cells:
    """One table of these columns, and nothing wrong yet."""
    return Cells("t.csv", pd.DataFrame(columns), {}, Problems())


def plain(values: pd.Series) -> list[object]:
    """A column as a list, null as None."""
    return [None if pd.isna(value) else value for value in values]


@pytest.mark.parametrize("name", EDITIONS)
def test_every_edition_of_a_csv_gives_the_same_cells(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(EDITIONS[name])
    table = read_cells(tmp_path, name, ["Key", "Grade"], Problems())
    assert plain(table.text("Key")) == ["007", "8"]
    assert plain(table.text("Grade")) == ["4.0", None]


def test_parquet_and_excel_give_the_same_cells(tmp_path: Path) -> None:
    ROWS.to_parquet(tmp_path / "t.parquet")
    ROWS.to_excel(tmp_path / "t.xlsx", index=False)
    for name in ("t.parquet", "t.xlsx"):
        table = read_cells(tmp_path, name, ["Key", "Grade"], Problems())
        assert plain(table.text("Key")) == ["007", "8"]
        assert plain(table.text("Grade")) == ["4.0", None]


def test_numbers_booleans_and_nulls_of_typed_tables_are_read(tmp_path: Path) -> None:
    typed = pd.DataFrame({"n": [1, None], "whole": [12, 13], "yes": [True, False], "t": [None, "x"]})
    typed.to_parquet(tmp_path / "t.parquet")
    typed.to_excel(tmp_path / "t.xlsx", index=False)
    for name in ("t.parquet", "t.xlsx"):
        table = read_cells(tmp_path, name, list(typed), Problems())
        assert plain(table.number("n", 0, 9)) == [1, None]
        assert plain(table.whole("whole", 0, 99)) == [12, 13]
        assert plain(table.boolean("yes")) == [True, False]
        assert plain(table.text("t")) == [None, "x"]
        assert table.problems.found == []


def test_latin_1_is_read_where_utf_8_is_not(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("Gerät,Alter\nÄ,1\n".encode("latin-1"))
    assert plain(read_cells(tmp_path, "t.csv", ["Gerät"], Problems()).text("Gerät")) == ["Ä"]


@pytest.mark.parametrize(
    "content", [b"", b"\n\n", b"a,b\n1,2,3,4\n1\n", b"\x89PNG\x00\xff", b"Key,Grade\n007,4.0,\n8,,\n"]
)
def test_what_is_no_table_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InputError, match=r"^t\.csv: .*restore"):
        read_cells(tmp_path, "t.csv", ["Key"], Problems())


def test_rows_longer_than_the_header_do_not_shift_the_columns(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"Key,Grade\n007,4.0,x\n8,2,x\n")
    with pytest.raises(InputError, match=r"t\.csv: not a table"):  # not: Key 4.0, Grade x
        read_cells(tmp_path, "t.csv", ["Key", "Grade"], Problems())


@pytest.mark.parametrize("name", ["t.xlsx", "t.xls", "t.parquet"])
def test_broken_binary_tables_are_refused(tmp_path: Path, name: str) -> None:
    for content in (b"", b"PK\x03\x04broken", b"PAR1broken"):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match="not a table"):
            read_cells(tmp_path, name, ["Key"], Problems())


def test_missing_tables_columns_and_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"^t\.csv: not found in the archive's root; check"):
        read_cells(tmp_path, "t.csv", ["Key"], Problems())
    (tmp_path / "t.csv").write_text("Key,Grade\n")
    with pytest.raises(InputError, match="found no rows"):
        read_cells(tmp_path, "t.csv", ["Key"], Problems())
    (tmp_path / "t.csv").write_text("Key,Grade\n1,2\n")
    with pytest.raises(InputError, match="column Alter is missing; expected Key, Alter; found Key, Grade; restore it"):
        read_cells(tmp_path, "t.csv", ["Key", "age"], Problems(), {"age": "Alter"})


def test_renamed_columns_are_read_and_named_as_the_table_names_them(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("Alter\n50\nalt\n")
    table = read_cells(tmp_path, "t.csv", ["age"], Problems(), {"age": "Alter"})
    assert plain(table.number("age", 0, 120)) == [50, None]
    assert table.problems.found == [
        Problem("unknown_value", "t.csv, column Alter: expected a number from 0 to 120, or empty", 1, ["line 3: 'alt'"])
    ]


def test_a_key_is_in_every_row() -> None:
    assert plain(cells_of(k=["a", "b"]).key("k")) == ["a", "b"]
    with pytest.raises(InputError, match=r"t\.csv: line 3, column k: expected a value in every row, .*2 such rows"):
        cells_of(k=["a", "", ""]).key("k")


# reader, cells, values, what was expected, lines noted
READERS = [
    (lambda t: t.choice("c", ("L", "R")), ["L", "", "X", "l"], ["L", None, None, None], "one of L, R, or empty",
     ["line 4: 'X'", "line 5: 'l'"]),
    (lambda t: t.coded("c", {"1": "one", "2": None}), ["1", "2", "3", ""], ["one", None, None, None],
     "one of 1, 2, or empty", ["line 4: '3'"]),
    (lambda t: t.number("c", 0, 120), ["0", "120", "1e1", "-1", "121", "soon", "nan", "inf", ""],
     [0, 120, 10, None, None, None, None, None, None], "a number from 0 to 120, or empty",
     ["line 5: '-1'", "line 6: '121'", "line 7: 'soon'", "line 8: 'nan'", "line 9: 'inf'"]),
    (lambda t: t.whole("c", 0, 6), ["0", "6.0", "2.5", "7", "x", ""], [0, 6, None, None, None, None],
     "a whole number from 0 to 6, or empty", ["line 4: '2.5'", "line 5: '7'", "line 6: 'x'"]),
    (lambda t: t.boolean("c"), ["1", "0.0", "True", "FALSE", "", "-1", "no"],
     [True, False, True, False, None, None, None], "1, 0, True, False, or empty", ["line 7: '-1'", "line 8: 'no'"]),
    (lambda t: t.matched("c", "DENSITY ([A-D])", "DENSITY A to D"), ["DENSITY A", "", "DENSITY E", "DENSITY AB"],
     ["A", None, None, None], "DENSITY A to D", ["line 4: 'DENSITY E'", "line 5: 'DENSITY AB'"]),
]  # fmt: skip


@pytest.mark.parametrize(("reader", "cells", "values", "expected", "lines"), READERS)
def test_what_is_out_of_range_is_noted_and_unknown(reader, cells, values, expected, lines) -> None:
    table = cells_of(c=cells)
    assert plain(reader(table)) == values
    assert table.problems.found == [
        Problem("unknown_value", f"t.csv, column c: expected {expected}", len(lines), lines)
    ]


@pytest.mark.parametrize(("reader", "cells", "values", "expected", "lines"), READERS)
def test_empty_cells_are_unknown_and_no_problem(reader, cells, values, expected, lines) -> None:
    table = cells_of(c=["", "", ""])
    assert plain(reader(table)) == [None] * 3
    assert table.problems.found == []


def test_five_examples_are_kept_of_many() -> None:
    table = cells_of(c=["x"] * 9)
    table.choice("c", ("L", "R"))
    assert [(problem.records, len(problem.examples)) for problem in table.problems.found] == [(9, 5)]


@pytest.mark.parametrize(
    "secret", ["2020-05-17", "17.05.2020", "4711-0815", "a remark of the reader about the patient", "1.2.826.0.1"]
)
def test_dates_ids_and_free_text_are_never_repeated(secret: str) -> None:
    table = cells_of(c=[secret])
    table.choice("c", ("L", "R"))
    assert table.problems.found[0].examples == [f"line 2: a cell of {len(secret)} characters"]


@pytest.mark.parametrize("kind", ["row_without_image", "duplicate_image"])
def test_ids_are_never_repeated_however_short(kind) -> None:
    table = cells_of(c=["Roe", "ok"])
    table.note(pd.Series([True, False]), "c", "an image", kind)
    assert table.problems.found == [
        Problem(kind, "t.csv, column c: expected an image", 1, ["line 2: a cell of 3 characters"])
    ]


def test_further_annotations_are_json_with_sorted_keys() -> None:
    extra = extra_of({"b": pd.Series(["2", None, "x"]), "a": pd.Series([None, None, "ä"])})
    assert plain(extra) == ['{"b": "2"}', None, '{"a": "\\u00e4", "b": "x"}']


def test_a_breast_without_a_side_has_no_id() -> None:
    side = pd.Series(["L", None], dtype="string")
    assert plain(breast_ids(pd.Series(["e1", "e1"], dtype="string"), side)) == ["e1-L", None]


def test_unknown_columns_and_findings_have_the_contract_s_shape() -> None:
    assert plain(unknown(pd.Index([3, 4]), "boolean")) == [None, None]
    assert unknown(pd.Index([3]), "boolean").dtype == "boolean"
    assert list(no_findings().columns) == FINDINGS.names
    assert no_findings().empty


@pytest.mark.parametrize("options", [{"columns": {"age": "Alter"}}, {"extra": ["age"]}])
def test_fixed_layouts_take_no_options(options: dict[str, object]) -> None:
    fixed = {"adapter": "rsna", "root": "unused", "patients": None, "identifiers": "published", "fatal": []}
    refuse_options(Archive(**fixed, columns={}, extra=[]))
    with pytest.raises(InputError, match=r"columns, extra: expected none for adapter rsna, .*; found age; empty"):
        refuse_options(Archive(**{"columns": {}, "extra": [], **fixed, **options}))

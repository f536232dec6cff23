"""The published numbers reach the report complete and as printed."""

import csv

import pytest

from pipeline.evaluation.published import FILE, data_set, metric, published_table, task_setting


@pytest.mark.parametrize(
    ("number", "column", "rows"),
    [(1, task_setting, 9), (2, task_setting, 12), (3, task_setting, 7), (4, metric, 5), (5, data_set, 13)],
)
def test_every_number_of_a_table_has_its_cell(number: int, column, rows: int) -> None:
    table = published_table(number, column)
    with FILE.open(newline="") as stream:
        printed = [record["value"] for record in csv.DictReader(stream) if record["table"] == str(number)]
    assert len(table) == rows
    assert sorted(value for cells in table.values() for value in cells.values()) == sorted(printed)


def test_cells_of_known_rows() -> None:
    cells = published_table(1, task_setting)[("MV-CLIP + Tr", "efficientnet_b5")]
    assert cells["mass lp_10"] == "0.7083"
    assert cells["calcification ft_100"] == "0.9812"
    assert published_table(4, metric)[("RN+Tr MV-CLIP", "resnet34")] == {
        "c_index": "0.73",
        "auc_2y": "0.76",
        "auc_5y": "0.69",
    }


def test_two_numbers_for_one_cell_are_refused() -> None:
    with pytest.raises(ValueError, match="two numbers"):
        published_table(5, lambda record: "one column")

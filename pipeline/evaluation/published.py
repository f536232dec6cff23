"""The published numbers that stand beside ours as reference: every table of the MV-MLM paper, as printed."""

import csv
from collections.abc import Callable
from pathlib import Path

FILE = Path(__file__).parent / "published_results.csv"
# Row heading (method, encoder) -> column -> number as printed.
PublishedTable = dict[tuple[str, str], dict[str, str]]


def published_table(number: int, column: Callable[[dict[str, str]], str]) -> PublishedTable:
    """One table of the paper, rows in the paper's order.

    Args:
        number: 1 to 5.
        column: Names the column of a CSV row, for example from its task and setting.

    Raises:
        ValueError: two numbers fall into one cell.
    """
    rows: PublishedTable = {}
    with FILE.open(newline="") as stream:
        for record in csv.DictReader(stream):
            if record["table"] != str(number):
                continue
            cells = rows.setdefault((record["method"], record["encoder"]), {})
            if column(record) in cells:
                raise ValueError(f"table {number}: two numbers for {column(record)} of {record['method']}")
            cells[column(record)] = record["value"]
    return rows


def task_setting(record: dict[str, str]) -> str:
    """`mass lp_10`: tables 1 to 3."""
    method, _, fraction = record["setting"].partition("_")
    return f"{record['task']} {method}_{round(100 * float(fraction))}"


def metric(record: dict[str, str]) -> str:
    """`c_index`, `auc_2y`, `auc_5y`: table 4."""
    return record["metric"]


def data_set(record: dict[str, str]) -> str:
    """`private 1` to `private 3`: table 5."""
    return record["dataset"]

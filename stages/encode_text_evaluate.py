"""Runs the frozen text encoder over the evaluation reports of each annotation set, and the facts of one of them."""

from pathlib import Path

from pipeline.errors import run_stage
from pipeline.models.encode_facts import encode_facts
from pipeline.models.encode_reports import encode_reports
from pipeline.params import read_params


def main(reports: str, full: str, pre_reading: str, tabular: str) -> None:
    text = read_params().profile.text
    encode_reports(Path(reports, "full"), Path(full), text)
    encode_reports(Path(reports, "pre_reading"), Path(pre_reading), text)
    encode_facts(Path(reports, "pre_reading"), Path(tabular), text)


if __name__ == "__main__":
    run_stage(main)

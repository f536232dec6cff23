"""Runs the frozen text encoder once over each distinct report of pretraining."""

from pathlib import Path

from pipeline.errors import run_stage
from pipeline.models.encode_reports import encode_reports
from pipeline.params import read_params


def main(reports: str, out: str) -> None:
    encode_reports(Path(reports), Path(out), read_params().profile.text)


if __name__ == "__main__":
    run_stage(main)

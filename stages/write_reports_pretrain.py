"""Writes a checked pseudo report for every breast of the train and validation splits."""

from pathlib import Path

from pipeline.errors import run_stage
from pipeline.params import read_params
from pipeline.reports.write import ReportRequest, write_reports


def main(cohort: str, annotations: str, out: str) -> None:
    params = read_params()
    request = ReportRequest((Path(annotations),), Path(out), "full", tuple(params.profile.annotations[cohort]))
    write_reports([request], params.run.reports, params.profile.llm, params.run.seed)


if __name__ == "__main__":
    run_stage(main)

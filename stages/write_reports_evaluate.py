"""Writes test breasts' full reports (for retrieval) and every breast's report of what is known before reading."""

from pathlib import Path

from pipeline.errors import run_stage
from pipeline.params import read_params
from pipeline.reports.prompt import PRE_READING_KEYS
from pipeline.reports.write import ReportRequest, write_reports


def main(cohort: str, annotations: str, full: str, pre_reading: str) -> None:
    params = read_params()
    development, test = Path(annotations, "development.parquet"), Path(annotations, "test.parquet")
    requests = [
        ReportRequest((test,), Path(full), "full", tuple(params.profile.annotations[cohort])),
        ReportRequest((development, test), Path(pre_reading), "pre_reading", PRE_READING_KEYS),
    ]
    write_reports(requests, params.run.reports, params.profile.llm, params.run.seed)


if __name__ == "__main__":
    run_stage(main)

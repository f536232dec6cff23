"""Writes the page on the pseudo reports of all cohorts."""

from pathlib import Path

from pipeline.errors import run_stage
from pipeline.evaluation.reports_page import review_reports


def main(reports: str, out: str) -> None:
    review_reports(Path(reports), Path(out))


if __name__ == "__main__":
    run_stage(main)

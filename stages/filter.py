"""Excludes, splits by patient, seals the test labels and keeps the annotation subset of every breast."""

from pathlib import Path

from pipeline.cohorts.filters import filter_cohort
from pipeline.errors import run_stage
from pipeline.params import read_params


def main(catalog: str, crops: str, cohort: str, sealed: str, annotations: str) -> None:
    run = read_params().run
    filter_cohort(Path(catalog), Path(crops), Path(cohort), Path(sealed), Path(annotations), run.filter, run.seed)


if __name__ == "__main__":
    run_stage(main)

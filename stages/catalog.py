"""Reads one dataset as its owners publish it into the canonical table."""

from pathlib import Path

from pipeline.cohorts.catalog import catalog
from pipeline.cohorts.source import archive_root
from pipeline.errors import run_stage
from pipeline.params import read_params


def main(cohort: str, raw: str, out: str) -> None:
    params = read_params()
    catalog(cohort, params.profile.archives[cohort], archive_root(Path(raw)), Path(out))


if __name__ == "__main__":
    run_stage(main)

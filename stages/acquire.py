"""Writes the synthetic archive of one cohort, or records where its real archive is."""

from pathlib import Path

from pipeline.cohorts.acquire import acquire
from pipeline.errors import run_stage
from pipeline.params import read_params


def main(cohort: str, out: str) -> None:
    params = read_params()
    acquire(cohort, params.profile.archives[cohort], params.run.seed, Path(out))


if __name__ == "__main__":
    run_stage(main)

"""Writes who is in which split for version control; refuses test patients that are learned from anywhere."""

from pathlib import Path

from pipeline.cohorts.manifest import write_manifests
from pipeline.errors import run_stage
from pipeline.params import read_params


def main(cohorts: str, out: str) -> None:
    params = read_params()
    write_manifests(Path(cohorts), params.run.cohorts, params.profile.archives, Path(out))


if __name__ == "__main__":
    run_stage(main)

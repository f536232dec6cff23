"""Writes the encoders that this run is measured against, each as it is: published weights, or random."""

from pathlib import Path

from pipeline.errors import run_stage
from pipeline.models.baselines import write_baselines
from pipeline.params import read_params


def main(out: str) -> None:
    run, profile = read_params()
    write_baselines(run.baselines, profile.baselines, profile.preparations, run.seed, Path(out))


if __name__ == "__main__":
    run_stage(main)

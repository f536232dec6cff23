"""Fits the additive-hazard risk models on frozen features and scores the test exams."""

from pathlib import Path

from pipeline.downstream.risk import risk
from pipeline.errors import run_stage
from pipeline.params import read_params


def main(cohort: str, features: str, out: str) -> None:
    run = read_params().run
    risk(Path(cohort), Path(features), run.risk, run.seed, Path(out))


if __name__ == "__main__":
    run_stage(main)

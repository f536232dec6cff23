"""Fits the additive-hazard risk models on frozen features or with the encoder, and scores the test exams."""

from pathlib import Path

from pipeline.downstream.risk import risk
from pipeline.downstream.risk_finetune import Tuning
from pipeline.errors import run_stage
from pipeline.params import read_params


def main(cohort: str, features: str, shards: str, model: str, out: str) -> None:
    run, profile = read_params()
    tuning = Tuning(Path(shards), Path(model), profile.downstream, profile.augment, profile.compute)
    risk(Path(cohort), Path(features), tuning, run.risk, run.seed, Path(out))


if __name__ == "__main__":
    run_stage(main)

"""Fits the linear probes of every task on frozen features of one baseline."""

from pathlib import Path

from pipeline.downstream.probe import probe_baseline
from pipeline.errors import run_stage
from pipeline.params import read_params


def main(baseline: str, cohorts: str, features: str, out: str) -> None:
    run, profile = read_params()
    network = profile.baselines[baseline].encoder
    probe_baseline(baseline, run.tasks, Path(cohorts), Path(features), run.probe, network, run.seed, Path(out))


if __name__ == "__main__":
    run_stage(main)

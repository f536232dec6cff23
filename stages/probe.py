"""Fits the linear probes of one task on frozen features of the pretrained and the initial encoder."""

from pathlib import Path

from pipeline.downstream.probe import probe
from pipeline.errors import run_stage
from pipeline.params import read_params


def main(task: str, cohort: str, pretrained: str, initial: str, out: str) -> None:
    params = read_params()
    run = params.run
    features = {"pretrained": Path(pretrained), "initial": Path(initial)}
    probe(task, run.tasks[task], Path(cohort), features, run.probe, params.encoder, run.seed, Path(out))


if __name__ == "__main__":
    run_stage(main)

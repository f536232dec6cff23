"""Fits the linear probes of one task on frozen features of the pretrained and the initial encoder."""

from pathlib import Path

from pipeline.downstream.probe import probe
from pipeline.errors import run_stage
from pipeline.params import read_params


def main(task: str, cohort: str, *paths: str) -> None:
    run = read_params().run
    pretrained, initial, transfer_pretrained, transfer_initial, out = (Path(path) for path in paths)
    features = {"pretrained": pretrained, "initial": initial}
    transfer = {"pretrained": transfer_pretrained, "initial": transfer_initial}
    probe(task, run.tasks[task], Path(cohort), features, transfer, run.probe, run.seed, out)


if __name__ == "__main__":
    run_stage(main)

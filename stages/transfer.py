"""Scores the test images of other cohorts with the model that was fine-tuned on one task."""

from pathlib import Path

from pipeline.downstream.transfer import transfer
from pipeline.errors import run_stage
from pipeline.params import read_params


def main(task: str, tuned: str, shards: str, out: str) -> None:
    run, profile = read_params()
    batch, compute = profile.downstream.embed_batch, profile.compute
    transfer(task, run.tasks[task], Path(tuned), Path(shards), run.finetune, batch, compute, Path(out))


if __name__ == "__main__":
    run_stage(main)

"""Computes the frozen features of one cohort with one encoder."""

from pathlib import Path

from pipeline.downstream.features import embed
from pipeline.errors import run_stage
from pipeline.params import read_params


def main(shards: str, model: str, out: str) -> None:
    profile = read_params().profile
    embed(Path(shards), Path(model), Path(out), profile.downstream.embed_batch, profile.compute)


if __name__ == "__main__":
    run_stage(main)

"""Fuses feature map positions with what is known before reading, as table and as report; each alone beside it."""

from pathlib import Path

from pipeline.downstream.fusion import fuse
from pipeline.downstream.fusion_inputs import Sources
from pipeline.errors import run_stage
from pipeline.params import read_params


def main(cohort: str, shards: str, model: str, table: str, report: str, out: str) -> None:
    run, profile = read_params()
    sources = Sources(*map(Path, (cohort, shards, model, table, report)))
    fuse(sources, run.fuse, run.seed, profile.downstream.embed_batch, profile.compute, Path(out))


if __name__ == "__main__":
    run_stage(main)

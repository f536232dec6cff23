"""Fuses image tokens with the report of what is known before reading, text alone and image alone beside it."""

from pathlib import Path

from pipeline.downstream.fusion import fuse
from pipeline.errors import run_stage
from pipeline.params import read_params


def main(cohort: str, features: str, text: str, out: str) -> None:
    run = read_params().run
    fuse(Path(cohort), Path(features), Path(text), run.fuse, run.seed, Path(out))


if __name__ == "__main__":
    run_stage(main)

"""Prepares one cohort's crops and packs them as shards for evaluation: every split."""

from pathlib import Path

from pipeline.errors import run_stage
from pipeline.params import read_params
from pipeline.shards.write import pack


def main(crops: str, cohort: str, out: str) -> None:
    profile = read_params().profile
    splits = ("train", "validation", "test")
    pack(Path(crops), Path(cohort), Path(out), profile.pack, splits, profile.compute.workers)


if __name__ == "__main__":
    run_stage(main)

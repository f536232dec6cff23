"""Prepares one cohort's crops and packs them as shards for pretraining: no test patient."""

from pathlib import Path

from pipeline.errors import run_stage
from pipeline.params import read_params
from pipeline.shards.labels import write_labels
from pipeline.shards.write import pack


def main(crops: str, cohort: str, out: str) -> None:
    profile = read_params().profile
    splits = ("train", "validation")
    pack(Path(crops), Path(cohort), Path(out), profile.pack, splits, profile.compute.workers)
    write_labels(Path(cohort), Path(out), splits)


if __name__ == "__main__":
    run_stage(main)

"""Packs one cohort's crops for one baseline: its own preparation, the images and splits of `pack_evaluate`."""

from pathlib import Path

from pipeline.errors import run_stage
from pipeline.params import read_params
from pipeline.shards.write import pack
from pipeline.tables import SPLITS


def main(baseline: str, crops: str, cohort: str, out: str) -> None:
    profile = read_params().profile
    settings = profile.pack_for(profile.baselines[baseline].preparation)
    pack(Path(crops), Path(cohort), Path(out), settings, SPLITS, profile.compute.workers)


if __name__ == "__main__":
    run_stage(main)

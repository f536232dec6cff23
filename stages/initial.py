"""Writes the image encoder as it is before pretraining: with published weights, or random and said to be so."""

from pathlib import Path

from pipeline.errors import run_stage
from pipeline.models.initial import write_initial
from pipeline.params import read_params


def main(out: str) -> None:
    params = read_params()
    run, pack = params.run, params.profile.pack
    write_initial(params.encoder, run.model, params.profile.encoder, pack.height_px, pack.width_px, run.seed, Path(out))


if __name__ == "__main__":
    run_stage(main)

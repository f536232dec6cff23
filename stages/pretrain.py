"""Pretrains the two towers on packed shards and report states, on one device or several."""

from pathlib import Path

from pipeline.errors import run_stage
from pipeline.params import read_params
from pipeline.training.loop import pretrain


def main(shards: str, text: str, initial: str, out: str, live: str) -> None:
    params = read_params()
    profile = params.profile
    pretrain(
        Path(shards),
        Path(text),
        Path(initial),
        Path(out),
        live=Path(live),
        encoder=params.encoder,
        seed=params.run.seed,
        settings=params.run.pretrain,
        tr=profile.tr,
        optimisation=profile.optimisation,
        augment=profile.augment,
        compute=profile.compute,
        text_model=profile.text,
    )


if __name__ == "__main__":
    run_stage(main)

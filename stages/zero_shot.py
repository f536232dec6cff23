"""Scores images against pairs of prompts, without any training on the task."""

from pathlib import Path

from pipeline.downstream.zero_shot import zero_shot
from pipeline.errors import run_stage
from pipeline.params import read_params


def main(features: str, model: str, out: str) -> None:
    params = read_params()
    run, text = params.run, params.profile.text
    zero_shot(Path(features), Path(model), run.tasks, run.zero_shot.tasks, params.report_keys, text, Path(out))


if __name__ == "__main__":
    run_stage(main)

"""Measures retrieval between images and reports, and between the two views, on test breasts."""

from pathlib import Path

from pipeline.downstream.retrieval import retrieve
from pipeline.errors import run_stage
from pipeline.params import read_params


def main(features: str, text: str, model: str, out: str) -> None:
    run = read_params().run
    retrieve(
        Path(features),
        Path(text),
        Path(model),
        run.evaluate.report_cohorts,
        run.seed,
        run.evaluate.bootstrap,
        Path(out),
    )


if __name__ == "__main__":
    run_stage(main)

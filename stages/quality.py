"""Writes the quality page of one cohort, and its distributions for `dvc plots`."""

from pathlib import Path

from pipeline.errors import run_stage
from pipeline.evaluation.quality import check_quality
from pipeline.params import read_params


def main(cohort: str, problems: str, crops: str, kept: str, out: str, histograms: str, counts: str) -> None:
    read, written = (Path(problems), Path(crops), Path(kept)), (Path(out), Path(histograms), Path(counts))
    check_quality(cohort, *read, *written, read_params().run.seed)


if __name__ == "__main__":
    run_stage(main)

"""Writes the quality page of one cohort: what became of its files, and the crops that deserve a look."""

from pathlib import Path

from pipeline.errors import run_stage
from pipeline.evaluation.quality import check_quality
from pipeline.params import read_params


def main(cohort: str, problems: str, crops: str, kept: str, out: str) -> None:
    check_quality(cohort, Path(problems), Path(crops), Path(kept), Path(out), read_params().run.seed)


if __name__ == "__main__":
    run_stage(main)

"""Writes the quality page of one cohort, and its distributions for `dvc plots`."""

from pathlib import Path

from pipeline.errors import run_stage
from pipeline.evaluation.quality import check_quality
from pipeline.evaluation.quality_plots import write_quality_plots
from pipeline.params import read_params


def main(cohort: str, problems: str, crops: str, kept: str, out: str, histograms: str, counts: str) -> None:
    check_quality(cohort, Path(problems), Path(crops), Path(kept), Path(out), read_params().run.seed)
    write_quality_plots(Path(crops), Path(kept), Path(histograms), Path(counts))


if __name__ == "__main__":
    run_stage(main)

"""Opens the sealed test labels once and turns all predictions into metrics.json, figures and the report."""

from pathlib import Path

from pipeline.errors import run_stage
from pipeline.evaluation.report import EvaluationInputs, evaluate
from pipeline.params import read_params


def main(*paths: str) -> None:
    *inputs, metrics, report, plots = (Path(path) for path in paths)
    evaluate(EvaluationInputs(*inputs), read_params().run, metrics, report, plots)


if __name__ == "__main__":
    run_stage(main)

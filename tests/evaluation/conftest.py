"""One evaluated fake project for the whole folder."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipeline.evaluation.inputs import EvaluationInputs
from pipeline.evaluation.report import evaluate
from pipeline.params import read_params
from pipeline.sections import Run
from tests.evaluation.fake_project import write_project


class Evaluated(NamedTuple):
    inputs: EvaluationInputs
    run: Run
    metrics: dict[str, Any]
    page: str
    root: Path


@pytest.fixture(scope="session")
def run() -> Run:
    """The project's own params with few resamples."""
    project = read_params(Path(__file__).parents[2]).run
    return project.model_copy(update={"evaluate": project.evaluate.model_copy(update={"bootstrap": 100})})


@pytest.fixture(scope="session")
def evaluated(tmp_path_factory: pytest.TempPathFactory, run: Run) -> Evaluated:
    root = tmp_path_factory.mktemp("project")
    inputs = write_project(root, run)
    evaluate(inputs, run, root / "metrics.json", root / "report", root / "plots")
    metrics = json.loads((root / "metrics.json").read_text())
    return Evaluated(inputs, run, metrics, (root / "report" / "report.html").read_text(), root)

"""Where the evaluation finds what the other stages left; the only place that opens the sealed test labels."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pipeline.errors import InputError
from pipeline.sections import ENCODERS
from pipeline.tables import COHORT, DRAFTS, FLOW, PREDICTIONS, REPORTS, SEALED, read_table


@dataclass(frozen=True)
class EvaluationInputs:
    """Folders of other stages, in the order of the stage's command line.

    sealed, cohort, crops: One folder per cohort below. reports: pretrain/<cohort>. predictions: one file per task
    stage, at any depth. retrieval: retrieval.json. forgetting: predictions and retrieval.json of the fine-tuned
    encoders. initial, pretrained: models. baselines: baselines.json. splits: one manifest per cohort.
    """

    sealed: Path
    cohort: Path
    crops: Path
    reports: Path
    predictions: Path
    retrieval: Path
    forgetting: Path
    initial: Path
    pretrained: Path
    baselines: Path
    splits: Path

    def read_labels(self, cohort: str) -> pd.DataFrame:
        """Test images of a cohort with their labels (tables.SEALED)."""
        return read_table(self.sealed / cohort / "labels.parquet", SEALED)

    def read_images(self, cohort: str) -> pd.DataFrame:
        """All images kept of a cohort (tables.COHORT), without the labels of the test split."""
        return read_table(self.cohort / cohort / "images.parquet", COHORT)

    def read_flow(self, cohort: str) -> pd.DataFrame:
        """What each exclusion left of a cohort (tables.FLOW)."""
        return read_table(self.cohort / cohort / "flow.parquet", FLOW)

    def crop_parts(self, cohort: str) -> list[Path]:
        """The parts of a cohort's crops (tables.CROPS)."""
        return sorted((self.crops / cohort).glob("part-*.parquet"))

    def read_reports(self, cohort: str) -> pd.DataFrame:
        """The reports that pretraining read (tables.REPORTS)."""
        return read_table(self.reports / "pretrain" / cohort / "reports.parquet", REPORTS)

    def read_drafts(self, cohort: str) -> pd.DataFrame:
        """What was asked and written for those reports (tables.DRAFTS)."""
        return read_table(self.reports / "pretrain" / cohort / "drafts.parquet", DRAFTS)

    def read_report_engine(self, cohort: str) -> dict[str, Any]:
        """What wrote those reports: engine, engine_version, model, revision, prompt_version."""
        return _read_json(self.reports / "pretrain" / cohort / "engine.json")

    def read_predictions(self) -> pd.DataFrame:
        """Every task's predictions by the run's encoders and baselines; files of former baselines may remain."""
        rows = read_predictions(self.predictions)
        return rows[rows["encoder"].isin([*ENCODERS, *self.read_baselines()])]

    def read_baselines(self) -> dict[str, dict[str, Any]]:
        """encoder, encoder_weights, preparation, height_px, width_px of every baseline, by name."""
        return _read_json(self.baselines / "baselines.json")

    def read_retrieval(self) -> dict[str, Any]:
        """Retrieval metrics by cohort and direction, as the retrieve stage measured them."""
        return _read_json(self.retrieval / "retrieval.json")

    def read_tuned_predictions(self) -> pd.DataFrame:
        """Zero-shot predictions by the fine-tuned encoders."""
        return read_predictions(self.forgetting)

    def read_tuned_retrieval(self) -> dict[str, Any]:
        """Retrieval metrics before and after, by task of the fine-tuning and direction."""
        return _read_json(self.forgetting / "retrieval.json")

    def read_initial_config(self) -> dict[str, Any]:
        """The encoder before pretraining and where its weights came from."""
        return _read_json(self.initial / "config.json")

    def read_pretrained_config(self) -> dict[str, Any]:
        """The pretrained model."""
        return _read_json(self.pretrained / "config.json")

    def read_manifest(self, cohort: str) -> tuple[pd.Series, str]:
        """Split by (hashed) patient of a cohort, and the beginning of the manifest's SHA-256."""
        file = self.splits / f"{cohort}.csv"
        return pd.read_csv(file, index_col="patient")["split"], hashlib.sha256(file.read_bytes()).hexdigest()[:16]

    def read_training_engine(self) -> dict[str, Any]:
        """What pretrained the model."""
        return _read_json(self.pretrained / "engine.json")

    def read_history(self) -> pd.DataFrame:
        """Losses of the pretraining by step."""
        return pd.read_csv(self.pretrained / "history.csv")

    def read_validation(self) -> pd.DataFrame:
        """Recall at 1 of the pretraining's validation split by epoch."""
        return pd.read_csv(self.pretrained / "validation.csv")


def read_predictions(folder: Path) -> pd.DataFrame:
    """The predictions (tables.PREDICTIONS) of all task stages below a folder, in one table.

    Raises:
        InputError: there are none.
    """
    files = sorted(folder.rglob("predictions.parquet"))
    if not files:
        raise InputError(f"{folder}: expected predictions.parquet of the tasks, found none; run the tasks (dvc repro)")
    return pd.concat([read_table(file, PREDICTIONS) for file in files], ignore_index=True)


def _read_json(file: Path) -> dict[str, Any]:
    """One JSON object."""
    content: dict[str, Any] = json.loads(file.read_text())
    return content

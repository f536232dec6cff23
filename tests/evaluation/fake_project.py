"""Writes what every stage before `evaluate` leaves, with scores of known quality: 60 test patients per cohort."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pandas as pd

from pipeline.cohorts.manifest import write_manifests
from pipeline.dicom.store import CODEC, encode_crop
from pipeline.downstream.predictions import scored_splits
from pipeline.evaluation.inputs import EvaluationInputs
from pipeline.params import read_params
from pipeline.sections import Run, Task
from pipeline.tables import COHORT, CROPS, DENSITIES, EXAM_LABELS, FLOW, IMAGE_LABELS, PREDICTIONS, SEALED
from pipeline.tables import write_table as write
from tests.evaluation.fake_reports import write_report_set

ROOT = Path(__file__).resolve().parents[2]
PATIENTS = {"train": 40, "validation": 10, "test": 60}
# A baseline of the run, and one that is no longer: its predictions still lie there.
BASELINES = {"mirai_resnet18": 0.9, "former": 3.0}
ORIGIN = {"encoder": "resnet18", "encoder_weights": "random", "preparation": "mirai", "height_px": 128, "width_px": 104}
HIDDEN = [*IMAGE_LABELS, *EXAM_LABELS]
# (method, encoder) -> how many standard deviations positives score above negatives
STRENGTH = {
    ("lp", "pretrained"): 1.4,
    ("lp", "initial"): 0.6,
    ("lp_paper", "pretrained"): 1.1,
    ("lp_paper", "initial"): 0.4,
}


def write_project(root: Path, run: Run) -> EvaluationInputs:
    """Every input of `evaluate` below root."""
    rng = np.random.default_rng(0)
    truth = {cohort: _images(cohort, rng) for cohort in run.evaluate.cohorts}
    for cohort, images in truth.items():
        _write_cohort(root / "data", cohort, images)
    _write_training(root, run, truth[run.pretrain.cohorts[0]], rng)
    predictions = root / "results" / "predictions"
    for name, task in run.tasks.items():
        _write_predictions(_probe_rows(name, task, truth, run, rng, STRENGTH), predictions / "probe" / name)
    for name in run.finetune.tasks:
        task = run.tasks[name]
        for split, cohort in scored_splits(task).items():
            tuned = _scored(name, truth[cohort], task.label, split, 1.8 if split == "test" else 1.2, rng)
            tuned = tuned.assign(method="ft", encoder="pretrained", fraction=1.0, seed=0)
            _write_predictions([tuned], predictions / ("finetune" if split == "test" else f"transfer/{cohort}") / name)
    _write_predictions(_zero_shot_rows(truth, run, np.random.default_rng(2)), predictions / "zero_shot")
    _write_predictions(_risk_rows(truth[run.risk.cohort], run, rng), predictions / "risk")
    _write_predictions(_fuse_rows(truth[run.fuse.cohort], run, rng), predictions / "fuse")
    for name, strength in BASELINES.items():
        for task_name, task in run.tasks.items():
            rows = _probe_rows(task_name, task, truth, run, np.random.default_rng(1), {("lp", name): strength})
            _write_predictions(rows, predictions / "baselines" / name / task_name)
    _write_retrieval(root / "results" / "retrieval", run)
    _write_forgetting(root / "results" / "forgetting", truth, run, np.random.default_rng(3))
    data = (root / "data" / name for name in ("sealed", "cohort", "crops", "reports"))
    results = (root / "results" / name for name in ("predictions", "retrieval", "forgetting"))
    archives = read_params(ROOT).profile.archives
    write_manifests(root / "data" / "cohort", run.evaluate.cohorts, archives, root / "data" / "splits")
    models = (root / "models" / name for name in ("initial", "pretrained", "baselines"))
    return EvaluationInputs(*data, *results, *models, root / "data" / "splits")


def _images(cohort: str, rng: np.random.Generator) -> pd.DataFrame:
    """One exam of four images per patient; labels per breast, age and follow-up per exam."""
    rows = []
    for number in range(sum(PATIENTS.values())):
        split = "train" if number < 40 else "validation" if number < 50 else "test"
        patient = f"{cohort}-p{number:03d}"
        cancer = rng.random() < 0.35
        years = float(np.round(rng.uniform(0.2, 5), 1))
        for side in "LR":
            breast = dict(mass=rng.random() < 0.35, calcification=rng.random() < 0.3, malignant=cancer and side == "L")
            breast |= dict(density=DENSITIES[number % 4], birads=int(rng.integers(1, 6)))
            rows += [
                {
                    **dict(cohort=cohort, patient_id=patient, exam_id=f"{patient}-e0", exam_day=0),
                    **dict(breast_id=f"{patient}-e0-{side}", image_id=f"{patient}-e0-{side}-{view}"),
                    **dict(laterality=side, view=view, split=split, age_years=55.0, implant=False, vendor="Maker"),
                    **breast,
                    **dict(years_to_cancer=years if cancer else None, years_followed=years if cancer else 2 + years),
                }
                for view in ("CC", "MLO")
            ]
    images = pd.DataFrame(rows).astype({"mass": object})
    images.loc[images.index[-4:], "mass"] = None  # the last test patient's mass is unknown
    return images


def _write_cohort(folder: Path, cohort: str, images: pd.DataFrame) -> None:
    sealed = images.copy()
    open_ = images.copy().astype({name: object for name in HIDDEN})
    open_.loc[open_["split"] == "test", HIDDEN] = None
    write(open_, folder / "cohort" / cohort / "images.parquet", COHORT)
    write(sealed[sealed["split"] == "test"].assign(race=None), folder / "sealed" / cohort / "labels.parquet", SEALED)
    counts = {f"{n}s": images[f"{n}_id"].nunique() for n in ("image", "exam", "patient")} | {
        "breasts": images["breast_id"].nunique()
    }
    steps = [{"step": "catalogued"} | {k: v + 7 for k, v in counts.items()}, {"step": "no implant"} | counts]
    write(pd.DataFrame(steps), folder / "cohort" / cohort / "flow.parquet", FLOW)


def _write_training(root: Path, run: Run, images: pd.DataFrame, rng: np.random.Generator) -> None:
    """Crops and reports of the first pretraining cohort, and the models' records."""
    cohort = run.pretrain.cohorts[0]
    _write_crops(root / "data" / "crops" / cohort, images, rng)
    write_report_set(root / "data" / "reports" / "pretrain" / cohort, images[images["split"] == "train"], "full")
    steps = np.arange(1, 61)
    history = pd.DataFrame({"step": steps, "loss": np.round(3.5 * np.exp(-steps / 40) + rng.normal(0, 0.1, 60), 4)})
    config = {"encoder": "tf_efficientnet_lite0", "encoder_weights": "random", "height_px": 256, "width_px": 160}
    for name in ("initial", "pretrained"):
        (root / "models" / name).mkdir(parents=True)
        (root / "models" / name / "config.json").write_text(json.dumps(config))
    (root / "models" / "baselines").mkdir()
    (root / "models" / "baselines" / "baselines.json").write_text(json.dumps({"mirai_resnet18": ORIGIN}))
    history.to_csv(root / "models" / "pretrained" / "history.csv", index=False)
    validation = pd.DataFrame({"epoch": range(1, 7), "recall_at_1": [0.02, 0.05, 0.08, 0.1, 0.11, 0.12]})
    validation.to_csv(root / "models" / "pretrained" / "validation.csv", index=False)
    (root / "models" / "pretrained" / "engine.json").write_text(json.dumps({"torch": "2.13.0", "device": "cpu"}))


def _write_crops(folder: Path, images: pd.DataFrame, rng: np.random.Generator) -> None:
    """A bright half disc with noise per training image."""
    rows = []
    for image in images[images["split"] == "train"].itertuples():
        crop = np.zeros((320, 200), np.uint16)
        cv2.ellipse(crop, (0, 160), (150, 140), 0, -90, 90, 2500, -1)
        crop[crop > 0] += rng.integers(0, 700, int((crop > 0).sum())).astype(np.uint16)
        rows.append(
            dict.fromkeys(CROPS.names)
            | dict(image_id=image.image_id, patient_id=image.patient_id, status="ingested", codec=CODEC)
            | dict(crop=encode_crop(crop), breast_low=1800.0, breast_high=3300.0, laterality=image.laterality)
        )
    write(pd.DataFrame(rows).iloc[:80], folder / "part-000.parquet", CROPS)
    write(pd.DataFrame(rows).iloc[80:], folder / "part-001.parquet", CROPS)


def grades(images: pd.DataFrame, label: str) -> pd.Series:
    """Labels as numbers, unknown as 0."""
    return images[label].map(DENSITIES.index) if label == "density" else images[label].astype(float).fillna(0)


def _scored(
    task: str, images: pd.DataFrame, label: str, split: str, strength: float, rng: np.random.Generator
) -> pd.DataFrame:
    """Test images with scores that follow the label."""
    test = images[images["split"] == "test"]
    score = grades(test, label) * strength + rng.normal(size=len(test))
    ids = test[["image_id", "breast_id", "exam_id", "patient_id"]]
    return ids.assign(task=task, split=split, score=score.round(3), horizon_years=0)


def _probe_rows(
    name: str,
    task: Task,
    truth: dict[str, pd.DataFrame],
    run: Run,
    rng: np.random.Generator,
    strengths: dict[tuple[str, str], float],
) -> Iterator[pd.DataFrame]:
    for (method, encoder), strength in strengths.items():
        for fraction in run.probe.fractions:
            for seed in run.probe.seeds:
                for split, cohort in scored_splits(task).items():
                    better = strength * (1.0 if split == "test" else 0.6) * (0.5 + 0.5 * fraction)
                    rows = _scored(name, truth[cohort], task.label, split, better, rng)
                    yield rows.assign(method=method, encoder=encoder, fraction=fraction, seed=seed)


def _zero_shot_rows(truth: dict[str, pd.DataFrame], run: Run, rng: np.random.Generator) -> Iterator[pd.DataFrame]:
    for name in run.zero_shot.tasks:
        task = run.tasks[name]
        rows = _scored(name, truth[task.cohort], task.label, "test", 0.7, rng)
        yield rows.assign(method="zero_shot", encoder="pretrained", fraction=0.0, seed=0)


def _risk_rows(images: pd.DataFrame, run: Run, rng: np.random.Generator) -> Iterator[pd.DataFrame]:
    exams = images[images["split"] == "test"].drop_duplicates("exam_id")
    for method, strength in (("exam", 1.5), ("view", 0.8)):
        risk = exams["years_to_cancer"].notna() * strength + rng.normal(size=len(exams))
        for year in range(1, run.risk.horizon_years + 1):
            score = 1 / (1 + np.exp(-(risk + year / 3 - 3)))
            rows = exams[["exam_id", "patient_id"]].assign(image_id=None, breast_id=None, task="risk", method=method)
            yield rows.assign(encoder="pretrained", fraction=1.0, seed=0, split="test", horizon_years=year, score=score)


def _fuse_rows(images: pd.DataFrame, run: Run, rng: np.random.Generator) -> Iterator[pd.DataFrame]:
    breasts = images[images["split"] == "test"].drop_duplicates("breast_id")
    strengths = {"image": 1.0, "text": 0.3, "fusion": 1.6, "fusion_without_text": 0.8}
    for label, (method, strength) in itertools.product(run.fuse.labels, strengths.items()):
        score = grades(breasts, label) * strength + rng.normal(size=len(breasts))
        rows = breasts[["breast_id", "exam_id", "patient_id"]].assign(image_id=None, method=method, score=score)
        yield rows.assign(
            task=f"fuse_{label}", encoder="pretrained", fraction=1.0, seed=0, split="test", horizon_years=0
        )


def _write_predictions(parts: Iterator[pd.DataFrame] | list[pd.DataFrame], folder: Path) -> None:
    write(pd.concat(parts, ignore_index=True), folder / "predictions.parquet", PREDICTIONS)


def _write_retrieval(folder: Path, run: Run) -> None:
    entry = dict(recall_at_1=0.12345, recall_at_5=0.4, recall_at_10=0.6, median_rank=7.0, queries=120, gallery=48)
    entry |= dict(chance_at_1=0.0208, recall_at_5_low=0.31, recall_at_5_high=0.49, recall_at_10_low=0.5)
    entry |= dict(recall_at_10_high=0.69, median_rank_low=5.5, median_rank_high=9.0)
    every = entry | dict(recall_at_5=0.33, low=0.07, high=0.18, gallery=1234)
    directions: dict[str, object] = {
        name: entry | {"low": 0.08, "high": 0.17, "every_report": every} for name in ("image_to_text", "text_to_image")
    }
    few = {name: None for name in entry if name.endswith(("low", "high"))}
    directions["cc_to_mlo"] = entry | few | {"recall_at_1": 0.5, "low": None, "high": None, "gallery": 240}
    folder.mkdir(parents=True)
    content = {cohort: directions for cohort in run.evaluate.report_cohorts}
    (folder / "retrieval.json").write_text(json.dumps(content))


def _write_forgetting(folder: Path, truth: dict[str, pd.DataFrame], run: Run, rng: np.random.Generator) -> None:
    """Zero-shot by the fine-tuned encoders, worse than before, and retrieval before and after."""
    parts = [
        _scored(name, truth[run.tasks[name].cohort], run.tasks[name].label, "test", 0.2, rng).assign(
            method="zero_shot", encoder=f"ft_{tuned}", fraction=0.0, seed=0
        )
        for name in run.zero_shot.tasks
        for tuned in run.finetune.tasks
        if run.tasks[tuned].cohort == run.tasks[name].cohort
    ]
    _write_predictions(parts, folder)
    entry = dict(recall_at_5=0.4, recall_at_10=0.6, median_rank=7.0, queries=120, gallery=120)
    change = {
        "before": entry | dict(recall_at_1=0.54321, low=0.45, high=0.65),
        "after": entry | dict(recall_at_1=0.23, low=0.15, high=0.31),
        "difference": dict(recall_at_1=-0.31321, low=-0.4, high=-0.2),
    }
    content = {name: {"cc_to_mlo": change} for name in run.finetune.tasks}
    few = {"recall_at_1": None, "low": None, "high": None}
    content[run.finetune.tasks[-1]] = {"cc_to_mlo": change | {"difference": few}}
    (folder / "retrieval.json").write_text(json.dumps(content))

"""Retrieval over the test breasts of a cohort: image to report, report to image, and CC to MLO."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float32, Shaped
from sklearn.metrics.pairwise import cosine_similarity

from pipeline.downstream.feature_table import feature_matrix, read_features
from pipeline.metrics.bootstrap import mean_interval
from pipeline.metrics.retrieval import best_ranks
from pipeline.models.methods import METHODS
from pipeline.models.text_states import read_keys, read_states
from pipeline.models.text_tower import pad_states
from pipeline.models.two_tower import load_model, read_config

DEPTHS = (1, 5, 10)
DECIMALS = 4
# Reports per forward pass of the text tower.
BATCH = 256
Result = dict[str, float | int | None]


def retrieve(
    features: Path, text: Path, model_folder: Path, cohorts: Sequence[str], seed: int, bootstrap: int, out: Path
) -> None:
    """Writes out/retrieval.json: {cohort: {image_to_text, text_to_image, cc_to_mlo}}, see retrieval_result.

    A model that met no text in pretraining has cc_to_mlo alone, by its pooled feature maps. So has one that met
    captions (mama), by its embeddings: the states of the reports are not those of its own text encoder.

    Args:
        features: Folder of the pretrained encoder's features, one folder per cohort.
        text: Folder of the token states and keys of the full reports.
        model_folder: Folder of the pretrained model.
        cohorts: Cohorts whose test breasts have reports.
        seed: Of the bootstrap.
        bootstrap: Number of resamples of the patients.
        out: Folder to write to.
    """
    keys = read_keys(text)
    traits = METHODS[read_config(model_folder).method]
    reports = embed_reports(model_folder, text) if traits.text and not traits.captions else None
    results = {}
    for cohort in cohorts:
        images = read_features(features / cohort)
        images = images[images["split"] == "test"]
        found = {"cc_to_mlo": view_retrieval(images, "embedding" if traits.text else "backbone", seed, bootstrap)}
        if reports is not None:
            found |= image_text_retrieval(images, keys, reports, seed, bootstrap)
        results[cohort] = found
    out.mkdir(parents=True, exist_ok=True)
    (out / "retrieval.json").write_text(json.dumps(results, indent=2, sort_keys=True) + "\n")


def embed_reports(model_folder: Path, text: Path) -> pd.Series:
    """The text tower's unit-norm embedding of every distinct report, by report_id."""
    model, config = load_model(model_folder)
    if model.text is None or config.text_tokens is None:
        raise ValueError(f"{model_folder}: no text tower; retrieval needs the pretrained model")
    states = read_states(text)
    report_ids = sorted(states)
    embedded: list[np.ndarray] = []
    with torch.inference_mode():
        for start in range(0, len(report_ids), BATCH):
            batch = [states[report] for report in report_ids[start : start + BATCH]]
            embedded.extend(model.text(*pad_states(batch, config.text_tokens)).numpy())
    return pd.Series(embedded, index=report_ids)


def image_text_retrieval(
    images: pd.DataFrame, keys: pd.DataFrame, reports: pd.Series, seed: int, bootstrap: int
) -> dict[str, Result]:
    """image_to_text and text_to_image of one cohort.

    Equal reports are one item of the gallery. An image is answered by its breast's report, or by another wording of the
    same facts (reports.variants); a report by any image of any breast with these facts. Patients cluster the images,
    and the reports of one prompt are a cluster.

    Args:
        images: Rows of tables.FEATURES with embeddings.
        keys: breast_id -> report_id, prompt_id (tables.TEXT_KEYS).
        reports: Embedding by report_id.
    """
    paired = images.merge(keys[["breast_id", "report_id", "prompt_id"]], on="breast_id", validate="many_to_one")
    if paired.empty:
        raise ValueError("expected test breasts with a report, found none; check evaluate.report_cohorts")
    gallery = paired.drop_duplicates("report_id").sort_values("report_id")
    similarity = feature_matrix(paired, "embedding") @ np.stack(reports.loc[gallery["report_id"]].to_list()).T
    facts = gallery["prompt_id"].to_numpy(dtype=object).astype(str)
    relevant = paired["prompt_id"].to_numpy(dtype=object).astype(str)[:, None] == facts[None]
    patients = paired["patient_id"].to_numpy(dtype=object).astype(str)
    return {
        "image_to_text": retrieval_result(similarity, relevant, patients, seed, bootstrap),
        "text_to_image": retrieval_result(similarity.T, relevant.T, facts, seed, bootstrap),
    }


def view_retrieval(
    images: pd.DataFrame, vectors: Literal["backbone", "embedding"], seed: int, bootstrap: int
) -> Result:
    """cc_to_mlo: of the breasts that have both views (the first image of each), which MLO belongs to a CC.

    By the cosine of these vectors of tables.FEATURES.
    """
    first = images.sort_values("image_id").drop_duplicates(["breast_id", "view"])
    cc, mlo = (first[first["view"] == view].set_index("breast_id") for view in ("CC", "MLO"))
    breasts = cc.index.intersection(mlo.index).sort_values()
    if breasts.empty:
        raise ValueError("expected test breasts with both views, found none")
    similarity = cosine_similarity(*(feature_matrix(view.loc[breasts], vectors) for view in (cc, mlo)))
    patients = cc.loc[breasts, "patient_id"].to_numpy(dtype=object).astype(str)
    return retrieval_result(similarity, np.eye(len(breasts), dtype=bool), patients, seed, bootstrap)


def retrieval_result(
    similarity: Float32[np.ndarray, "query item"],
    relevant: Bool[np.ndarray, "query item"],
    clusters: Shaped[np.ndarray, " query"],
    seed: int,
    bootstrap: int,
) -> Result:
    """Recall at 1, 5 and 10, median rank, sizes, and the 95 % interval (low, high) of recall at 1 over clusters.

    low and high are null where there are too few clusters for an interval.
    """
    ranks = best_ranks(similarity, relevant)
    interval = mean_interval((ranks <= 1).astype(np.float64), clusters, bootstrap, seed)
    result: Result = {f"recall_at_{k}": round(float((ranks <= k).mean()), DECIMALS) for k in DEPTHS}
    return result | {
        "median_rank": float(np.median(ranks)),
        "queries": len(ranks),
        "gallery": similarity.shape[1],
        "low": round(interval.low, DECIMALS) if interval.is_supported else None,
        "high": round(interval.high, DECIMALS) if interval.is_supported else None,
    }

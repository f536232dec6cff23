"""Where the 8-bit scale should end: findings seen by an ImageNet encoder, by the headroom of `pack`.

    python bench/grey_scale.py          # after `make demo`, about 3 minutes

Packs the training and validation images of the VinDr-like archive with several grey scales, embeds them with the
encoder before pretraining, and cross-validates a logistic regression by patient. The test split is not touched.
"""

import json
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.models.two_tower import load_model
from pipeline.params import Params, read_params
from pipeline.sections import Pack
from pipeline.shards.read import iterate
from pipeline.shards.write import pack

RESULT = Path("bench/results/grey_scale.json")
SPLITS = ("train", "validation")
FOLDS, C = 5, 1e-3


def features(params: Params, settings: Pack) -> pd.DataFrame:
    """Rows of the shards with the initial encoder's pooled features."""
    model, _ = load_model(Path("models/initial"))
    parts = []
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        shards, cohort = Path(folder), Path("data/cohort/vindr")
        pack(Path("data/crops/vindr"), cohort, shards, settings, SPLITS, params.profile.compute.workers)
        for rows, images in iterate(shards, SPLITS, 32):
            pooled = model.image(torch.from_numpy(images)[:, None]).backbone.numpy()
            parts.append(rows[["image_id", "patient_id"]].assign(backbone=list(pooled)))
    return pd.concat(parts, ignore_index=True)


def cross_validated_auc(rows: pd.DataFrame, label: str) -> float:
    """AUC of held-out folds of patients."""
    known = pd.read_parquet("data/cohort/vindr/images.parquet", columns=["image_id", label])
    joined = rows.merge(known, on="image_id", validate="one_to_one")
    joined = joined[joined[label].notna()]
    truth = joined[label].to_numpy(bool)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=1000))
    scores = cross_val_predict(
        model,
        np.stack(joined["backbone"].to_list()),
        truth,
        groups=joined["patient_id"].to_numpy(str),
        cv=GroupKFold(FOLDS),
        method="predict_proba",
    )[:, 1]
    return round(float(roc_auc_score(truth, scores)), 4)


def main() -> None:
    """Compares the scales and writes the result."""
    params = read_params()
    plain = params.profile.pack
    scales = {
        f"headroom {h}": plain.model_copy(update={"grey": "stored", "headroom": h}) for h in (1.0, 1.25, 1.5, 2.0)
    }
    scales["frame"] = plain.model_copy(update={"grey": "frame"})
    result = {}
    for name, settings in scales.items():
        rows = features(params, settings)
        result[name] = {label: cross_validated_auc(rows, label) for label in ("mass", "calcification")}
        print(name, result[name], flush=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()

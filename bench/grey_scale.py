"""Where the 8-bit scale should end: findings seen by an ImageNet encoder, by the headroom of `pack`.

    python bench/grey_scale.py          # after `make demo`, about 3 minutes

Packs the training and validation images of the VinDr-like archive with several grey scales, embeds them with the
encoder before pretraining, and cross-validates a logistic regression by patient. The test split is not touched.
"""

import json
import tempfile
from pathlib import Path

import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.downstream.feature_table import feature_matrix, read_features
from pipeline.downstream.features import embed
from pipeline.params import Params, read_params
from pipeline.sections import Pack
from pipeline.shards.write import pack

RESULT = Path("bench/results/grey_scale.json")
SPLITS = ("train", "validation")
FOLDS, C = 5, 1e-3


def features(params: Params, settings: Pack) -> pd.DataFrame:
    """The initial encoder's features (tables.FEATURES) of images packed with these settings."""
    profile = params.profile
    with tempfile.TemporaryDirectory() as folder:
        shards, out = Path(folder, "shards"), Path(folder, "features")
        pack(Path("data/crops/vindr"), Path("data/cohort/vindr"), shards, settings, SPLITS, profile.compute.workers)
        embed(shards, Path("models/initial"), out, profile.downstream.embed_batch, profile.compute)
        return read_features(out)


def cross_validated_auc(rows: pd.DataFrame, label: str) -> float:
    """AUC of held-out folds of patients."""
    known = pd.read_parquet("data/cohort/vindr/images.parquet", columns=["image_id", label])
    joined = rows.merge(known, on="image_id", validate="one_to_one")
    joined = joined[joined[label].notna()]
    truth = joined[label].to_numpy(bool)
    model = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=1000))
    scores = cross_val_predict(
        model,
        feature_matrix(joined, "backbone"),
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

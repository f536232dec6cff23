"""How hard the synthetic archives are, measured before any trainer exists.

Writes the demo's vindr and rsna archives and, on the pictures that the pipeline would make of them, reports two test
AUCs with patient-bootstrap standard errors: of a probe that reads the picture at the true place of the lesion (or of
the decoy drawn by the same law), and of a logistic probe on frozen ImageNet features. Wanted: 0.90-0.97, 0.55-0.80, and
standard errors under 0.04.

    python -m bench.phantom_difficulty [seed ...]     -> bench/results/phantom_difficulty.json
"""

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import cv2
import numpy as np
import pandas as pd
import torch
from joblib import Parallel, delayed
from scipy import ndimage
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegressionCV
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.cohorts.acquire import cohort_seed
from pipeline.cohorts.phantom import lesion_maps, write_archive
from pipeline.dicom.image import CataloguedFile, image_row
from pipeline.dicom.store import decode_crop
from pipeline.models.image_tower import create_encoder
from pipeline.models.weights import load_package_weights
from pipeline.params import read_params
from pipeline.sections import Profile
from pipeline.shards.prepare import prepare

RESULT = Path("bench/results/phantom_difficulty.json")
C_GRID = [1e-4, 1e-3, 1e-2, 1e-1]
LABELS = {"vindr": ("mass", "calcification"), "rsna": ("mass", "calcification", "malignant")}
SIGNS = {"mass": slice(0, 15), "calcification": slice(15, None), "malignant": slice(None)}


class Picture(NamedTuple):
    """What the encoder sees of a file, and the box (top, left, height, width) of the frame that it shows."""

    pixels: np.ndarray
    box: tuple[int, int, int, int]

    def place(self, row: float, column: float) -> tuple[float, float]:
        """A position in the frame -> in the picture."""
        (top, left, height, width), (rows, columns) = self.box, self.pixels.shape
        return (row - top) / height * rows, (column - left) / width * columns


def make_picture(root: Path, path: str, laterality: str, view: str, profile: Profile) -> Picture:
    """The pipeline's own decoding, cropping and preparation of one file."""
    file = CataloguedFile("image", "patient", laterality, view, path, (root / path).stat().st_size, None)
    row = image_row(root, file, profile.ingest)
    if row["status"] != "ingested":
        raise ValueError(f"{path}: {row['status']}: {row['reason']}")
    scales = {key: row[key] for key in ("frame_low", "frame_high", "breast_low", "breast_high")}
    pixels = prepare(decode_crop(row["crop"], row["codec"]), **scales, settings=profile.pack)
    return Picture(pixels, tuple(row[f"box_{side}_px"] for side in ("top", "left", "height", "width")))


def mass_signs(picture: np.ndarray, at: tuple[float, float]) -> list[float]:
    """Contrast of discs against rings, their spread, and how sharp their rims are."""
    image = picture.astype(np.float32) / 255
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    distance = np.hypot(y - at[0], x - at[1])
    smooth = ndimage.gaussian_filter(image, 1.5)
    outward = (np.gradient(smooth, axis=0) * (y - at[0]) + np.gradient(smooth, axis=1) * (x - at[1])) / (distance + 1)
    signs = []
    for radius in (5, 7, 9, 12, 15):
        disc, ring = distance < 0.8 * radius, (distance > 1.25 * radius) & (distance < 1.8 * radius)
        rim = np.abs(distance - radius) < 1.5
        signs += [image[disc].mean() - image[ring].mean(), image[disc].std(), float(outward[rim].mean())]
    return signs


def dot_signs(picture: np.ndarray, at: tuple[float, float]) -> list[float]:
    """Energy and number of small bright dots around a place."""
    image = np.pad(picture, 14)
    y, x = round(np.clip(at[0], 0, picture.shape[0] - 1)) + 14, round(np.clip(at[1], 0, picture.shape[1] - 1)) + 14
    window = image[y - 13 : y + 14, x - 13 : x + 14]
    dots = np.maximum(window / 255.0 - cv2.medianBlur(window, 5) / 255.0, 0)
    peaks = dots * (dots == ndimage.maximum_filter(dots, 3))
    counts = [float((peaks > t).sum()) for t in (0.05, 0.08, 0.12, 0.18, 0.25)]
    return [float((dots**2).sum()), float(dots.max()), *counts]


def read_archive(
    adapter: str, root: Path, patients: int, seed: int, profile: Profile
) -> tuple[pd.DataFrame, np.ndarray, np.ndarray]:
    """Per CC and MLO image: labels and split; signs at the lesions' places; pixels."""
    places = lesion_maps(adapter, patients, seed)
    first = places.drop_duplicates("path").reset_index(drop=True)
    pictures = Parallel(n_jobs=profile.compute.workers)(
        delayed(make_picture)(root, row.path, row.laterality, row.view, profile) for row in first.itertuples()
    )
    of_kind = {kind: found.set_index("path").loc[first["path"]] for kind, found in places.groupby("kind")}
    table = first[["path", "patient", "malignant"]].copy()
    signs = []
    for kind, read in (("mass", mass_signs), ("calcification", dot_signs)):
        found = of_kind[kind]
        table[kind] = found["present"].to_numpy()
        at = [p.place(r, c) for p, r, c in zip(pictures, found["row"], found["column"], strict=True)]
        signs.append(np.array([read(p.pixels, a) for p, a in zip(pictures, at, strict=True)]))
    table["test"] = _test_patients(adapter, root, table)
    return table, np.hstack(signs), np.stack([p.pixels for p in pictures])


def _test_patients(adapter: str, root: Path, table: pd.DataFrame) -> np.ndarray:
    """The archive's own split, or the pipeline's share of the patients."""
    if adapter == "vindr":
        split = pd.read_csv(root / "breast-level_annotations.csv").set_index("image_id")["split"]
        return (split.loc[[Path(p).stem for p in table["path"]]] == "test").to_numpy()
    patients = np.random.default_rng(0).permutation(table["patient"].unique())
    tested = patients[: int(read_params().run.filter.test_fraction * len(patients))]
    return table["patient"].isin(tested).to_numpy()


def imagenet_features(pixels: np.ndarray, profile: Profile) -> np.ndarray:
    """Globally averaged features of the profile's encoder with its ImageNet weights."""
    encoder = create_encoder(profile.encoder.default)
    load_package_weights(encoder.body, profile.encoder.weights[profile.encoder.default].removeprefix("package:"))
    encoder.eval()
    batches = torch.from_numpy(pixels)[:, None].split(32)
    with torch.inference_mode():
        return torch.cat([encoder(batch).mean((2, 3)) for batch in batches]).numpy()


def linear_probe(patient: np.ndarray, truth: np.ndarray, features: np.ndarray) -> Pipeline:
    """L2-regularised logistic regression, its strength chosen by patient-grouped cross-validation."""
    folds = list(GroupKFold(5).split(features, groups=patient))
    classifier = LogisticRegressionCV(
        Cs=C_GRID, cv=folds, scoring="roc_auc", max_iter=500, tol=1e-3, l1_ratios=(0,), use_legacy_attributes=False
    )
    return make_pipeline(StandardScaler(), classifier).fit(features, truth)


def forest_probe(patient: np.ndarray, truth: np.ndarray, features: np.ndarray) -> RandomForestClassifier:
    """A forest: a few hand-made signs need no regularisation, but malignancy is one of two kinds of finding."""
    return RandomForestClassifier(400, min_samples_leaf=3, random_state=0).fit(features, truth)


def score_probe(fit: Callable[..., Any], features: np.ndarray, table: pd.DataFrame, label: str) -> dict[str, float]:
    """Test AUC of a probe fitted on the training patients, and its standard error by patients."""
    train, test = ~table["test"].to_numpy(), table["test"].to_numpy()
    truth, patient = table[label].to_numpy(), table["patient"].to_numpy()
    score = fit(patient[train], truth[train], features[train]).predict_proba(features[test])[:, 1]
    return {
        "auc": round(float(roc_auc_score(truth[test], score)), 4),
        "standard_error": round(_bootstrap_error(truth[test], score, patient[test]), 4),
        "images": int(test.sum()),
        "positives": int(truth[test].sum()),
    }


def _bootstrap_error(truth: np.ndarray, score: np.ndarray, patient: np.ndarray, rounds: int = 500) -> float:
    members = [np.flatnonzero(patient == p) for p in np.unique(patient)]
    rng = np.random.default_rng(0)
    drawn = (np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))]) for _ in range(rounds))
    return float(np.std([roc_auc_score(truth[d], score[d]) for d in drawn]))


def measure(seed: int, folder: Path) -> dict[str, dict[str, dict[str, float]]]:
    """Both probes on every label, archives written with this seed of the run."""
    results = {}
    profile = read_params().profile
    for cohort, labels in LABELS.items():
        archive, own_seed = profile.archives[cohort], cohort_seed(cohort, seed)
        assert archive.patients is not None, "the demo profile's archives are synthetic"
        write_archive(archive.adapter, archive.patients, own_seed, folder / cohort)
        table, signs, pixels = read_archive(cohort, folder / cohort, archive.patients, own_seed, profile)
        features = imagenet_features(pixels, profile)
        for label in labels:
            results[f"{cohort}_{label}"] = {
                "lesion_map": score_probe(forest_probe, signs[:, SIGNS[label]], table, label),
                "imagenet": score_probe(linear_probe, features, table, label),
            }
    return results


if __name__ == "__main__":
    by_seed = {}
    for seed in [int(s) for s in sys.argv[1:]] or [read_params().run.seed]:
        with tempfile.TemporaryDirectory() as folder:
            by_seed[str(seed)] = measure(seed, Path(folder))
        print(seed, json.dumps(by_seed[str(seed)], indent=1), flush=True)
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(by_seed, indent=1) + "\n")

"""Does the demo learn? MV-CLIP + Tr against the encoder it started from, and against shuffled reports.

    python bench/learning.py            # after `make demo`, about 10 minutes a seed

For each pretraining seed, none of them used while developing, the trainer runs twice on the demo's own shards: on the
reports as written, and on the reports dealt out at random between patients (pretrain.shuffle_reports). The same probe
(`lp`, all training patients) then scores VinDr-like test patients with the encoder before and after. The gain is the
difference of the mean AUC over seeds, with a 95 % patient-clustered bootstrap interval, paired by patient.
"""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from pipeline.downstream.features import embed
from pipeline.downstream.probe import probe
from pipeline.downstream.zero_shot import zero_shot
from pipeline.metrics.bootstrap import auc_interval
from pipeline.metrics.paired import paired_auc_gain
from pipeline.params import Params, read_params
from pipeline.tables import PREDICTIONS, SEALED, read_table
from pipeline.training.loop import pretrain

SEEDS = (113, 114, 115)  # those of the committed result; a new measurement takes new ones (101 to 115 are used up)
TASKS = ("mass_vindr", "calcification_vindr")
RESULT = Path("bench/results/learning.json")
RESAMPLES = 2000


def pretrain_arm(params: Params, seed: int, changed: dict[str, object], folder: Path) -> Path:
    """Pretrains with one seed and some values of `pretrain` changed; returns the model's folder."""
    profile = params.profile
    pretrain(
        Path("data/shards/pretrain"),
        Path("data/text/pretrain"),
        Path("models/initial"),
        folder / "model",
        live=folder / "live.csv",
        encoder=params.encoder,
        seed=seed,
        settings=params.run.pretrain.model_copy(update=changed),
        tr=profile.tr,
        optimisation=profile.optimisation,
        augment=profile.augment,
        compute=profile.compute,
        text_model=profile.text,
    )
    return folder / "model"


def score_arm(params: Params, model: Path, folder: Path) -> None:
    """Embeds the archive of the tasks, probes both encoders and scores by prompts alone."""
    profile, run = params.profile, params.run
    settings = run.probe.model_copy(update={"fractions": [1.0], "seeds": [0]})
    embed(
        Path("data/shards/evaluate/vindr"),
        model,
        folder / "features/vindr",
        profile.downstream.embed_batch,
        profile.compute,
    )
    features = {"pretrained": folder / "features", "initial": Path("data/features/initial")}
    for name in TASKS:
        task = run.tasks[name].model_copy(update={"score_on": []})
        probe(name, task, Path("data/cohort/vindr"), features, settings, params.encoder, 0, folder / name)
    out = folder / "zero_shot"
    zero_shot(folder / "features", model, run.tasks, ["mass_vindr"], params.report_keys, profile.text, out)


def test_scores(file: Path, task: str, method: str, encoder: str) -> pd.DataFrame:
    """Scores of the test images of one method, in a fixed order."""
    rows = read_table(file / "predictions.parquet", PREDICTIONS)
    chosen = rows[(rows.task == task) & (rows.method == method) & (rows.encoder == encoder) & (rows.split == "test")]
    return chosen.set_index("image_id").sort_index()


def interval(value: object) -> dict[str, float]:
    """An interval as three rounded numbers."""
    return {key: round(float(getattr(value, key)), 4) for key in ("value", "low", "high")}


def compare(root: Path) -> dict[str, object]:
    """Gains over the initial encoder, with reports as written and shuffled, and zero-shot AUC above one half."""
    sealed = read_table(Path("data/sealed/vindr/labels.parquet"), SEALED).set_index("image_id").sort_index()
    result: dict[str, object] = {"seeds": list(SEEDS), "tasks": {}}
    for task, label in zip(TASKS, ("mass", "calcification"), strict=True):
        known = sealed[sealed[label].notna()]
        labels, patients = known[label].to_numpy(bool), known["patient_id"].to_numpy(str)
        initial = test_scores(root / f"written-{SEEDS[0]}" / task, task, "lp", "initial").loc[known.index, "score"]
        entry: dict[str, object] = {"images": len(known), "positives": int(labels.sum())}
        entry["initial"] = interval(auc_interval(labels, initial.to_numpy(float)[None], patients, RESAMPLES, 0))
        for arm in ("written", "shuffled"):
            after = np.stack([arm_scores(root, arm, seed, task, known.index) for seed in SEEDS])
            before = np.repeat(initial.to_numpy(float)[None], len(SEEDS), axis=0)
            entry[arm] = interval(auc_interval(labels, after, patients, RESAMPLES, 0))
            entry[f"{arm}_gain"] = interval(paired_auc_gain(labels, after, before, patients, RESAMPLES, 0))
            entry[f"{arm}_by_seed"] = [
                interval(auc_interval(labels, s[None], patients, 200, 0))["value"] for s in after
            ]
        result["tasks"][task] = entry  # type: ignore[index]
    known = sealed[sealed["mass"].notna()]
    zero = [test_scores(root / f"written-{s}" / "zero_shot", "mass_vindr", "zero_shot", "pretrained") for s in SEEDS]
    scores = np.stack([z.loc[known.index, "score"].to_numpy(float) for z in zero])
    labels, patients = known["mass"].to_numpy(bool), known["patient_id"].to_numpy(str)
    result["zero_shot_mass"] = interval(auc_interval(labels, scores, patients, RESAMPLES, 0))
    return result


def arm_scores(root: Path, arm: str, seed: int, task: str, images: pd.Index) -> np.ndarray:
    """Probe scores [image] of one arm and seed."""
    scores = test_scores(root / f"{arm}-{seed}" / task, task, "lp", "pretrained").loc[images, "score"]
    return scores.to_numpy(float)


def main(root: str = ".scratch/learning") -> None:
    """Runs what is missing under root, then writes the comparison."""
    params = read_params()
    for seed in SEEDS:
        for arm in ("written", "shuffled"):
            folder = Path(root) / f"{arm}-{seed}"
            if not (folder / "zero_shot").exists():
                score_arm(params, pretrain_arm(params, seed, {"shuffle_reports": arm == "shuffled"}, folder), folder)
                print(f"done: {arm}, seed {seed}", flush=True)
    result = compare(Path(root))
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main(*sys.argv[1:])

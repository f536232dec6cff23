"""Which pretraining method learns more on the demo? Three seeds each, on patients that none of them saw.

    python bench/methods.py             # after `make demo`, about 5 minutes a run, 9 runs

Every method starts from the same encoder and reads the same images as often. The same probe (`lp`, all training
patients) then scores the test patients of two other archives. A difference is the mean over seeds of A's AUC minus that
of B's, with a 95 % bootstrap interval over patients, paired by patient. It is told from chance if its interval leaves
out zero and all seeds agree on its sign: the interval knows how patients vary, only the seeds know how training does.
"""

import itertools
import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd

from bench.learning import interval, pretrain_arm, test_scores
from pipeline.downstream.features import embed
from pipeline.downstream.probe import probe
from pipeline.metrics.bootstrap import auc_interval
from pipeline.metrics.paired import paired_auc_gain
from pipeline.params import Params, read_params
from pipeline.tables import SEALED, read_table

SEEDS = (116, 117, 118)  # those of the committed result; a new measurement takes new ones (101 to 118 are used up)
METHODS = ("mv_clip_tr", "mv_clip", "clip")  # and none: the encoder before pretraining
TASKS = {"mass_vindr": ("vindr", "mass"), "calcification_vindr": ("vindr", "calcification")}
TASKS |= {"malignancy_rsna": ("rsna", "malignant")}
RESULT = Path("bench/results/methods.json")
RESAMPLES = 2000


def score_run(params: Params, model: Path, folder: Path) -> None:
    """Embeds the archives of the tasks and probes the model beside the initial encoder."""
    settings = params.run.probe.model_copy(update={"fractions": [1.0], "seeds": [0]})
    for cohort in sorted({cohort for cohort, _ in TASKS.values()}):
        shards, features = Path(f"data/shards/evaluate/{cohort}"), folder / f"features/{cohort}"
        embed(shards, model, features, params.profile.downstream.embed_batch, params.profile.compute)
    for name, (cohort, _) in TASKS.items():
        features = {"pretrained": folder / "features", "initial": Path("data/features/initial")}
        task = params.run.tasks[name].model_copy(update={"score_on": []})
        probe(name, task, Path(f"data/cohort/{cohort}"), features, settings, params.encoder, 0, folder / "probe" / name)


def task_scores(root: Path, task: str, images: pd.Index) -> dict[str, np.ndarray]:
    """Scores [seed, image] of every method; none has the same scores for every seed."""

    def read(method: str, seed: int, encoder: str) -> np.ndarray:
        scores = test_scores(root / f"{method}-{seed}/probe/{task}", task, "lp", encoder).loc[images, "score"]
        return scores.to_numpy(float)

    found = {method: np.stack([read(method, seed, "pretrained") for seed in SEEDS]) for method in METHODS}
    return found | {"none": np.stack([read(METHODS[0], SEEDS[0], "initial")] * len(SEEDS))}


def compare_task(root: Path, task: str) -> dict[str, object]:
    """AUC of every method, and the difference of every two."""
    cohort, label = TASKS[task]
    sealed = read_table(Path(f"data/sealed/{cohort}/labels.parquet"), SEALED).set_index("image_id").sort_index()
    known = sealed[sealed[label].notna()]
    labels, patients = known[label].to_numpy(bool), known["patient_id"].to_numpy(str)
    scores = task_scores(root, task, known.index)
    by_seed = {
        method: [auc_interval(labels, one[None], patients, 2, 0).value for one in of] for method, of in scores.items()
    }
    methods = {
        method: interval(auc_interval(labels, of, patients, RESAMPLES, 0))
        | {"by_seed": [round(value, 4) for value in by_seed[method]]}
        for method, of in scores.items()
    }
    differences = {}
    for a, b in itertools.combinations(scores, 2):
        gain = paired_auc_gain(labels, scores[a], scores[b], patients, RESAMPLES, 0)
        signs = {np.sign(x - y) for x, y in zip(by_seed[a], by_seed[b], strict=True)}
        told = bool((gain.low > 0 or gain.high < 0) and len(signs) == 1)
        differences[f"{a} - {b}"] = interval(gain) | {"told_from_chance": told}
    counted = {"images": len(known), "positives": int(labels.sum()), "patients": len(set(patients))}
    return counted | {"auc": methods, "differences": differences}


def main(root: str = ".scratch/methods") -> None:
    """Runs what is missing under root, then writes the comparison."""
    params = read_params()
    for seed, method in itertools.product(SEEDS, METHODS):
        folder = Path(root) / f"{method}-{seed}"
        if not (folder / "probe" / list(TASKS)[-1]).exists():
            score_run(params, pretrain_arm(params, seed, {"method": method}, folder), folder)
            print(f"done: {method}, seed {seed}", flush=True)
    result = {"seeds": list(SEEDS), "tasks": {task: compare_task(Path(root), task) for task in TASKS}}
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main(*sys.argv[1:])

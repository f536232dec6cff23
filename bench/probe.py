"""All probes of all tasks from features computed once, against running the encoder for every probe.

    PYTHONPATH=. python bench/probe.py      # after `make demo`; about 5 minutes

Ours: `embed` of every archive and encoder, then `probe` of every task (both kinds of probe), as the DAG runs them.
Reference: what published code does for a linear probe. Each probe has its own loop, in which the frozen encoder runs
over the training and validation images in every epoch, then once over what is scored. It is not run to its end (hours):
its images are counted, and the time of one image is measured in the same run, turn by turn with ours. Its heads are
taken to cost nothing, which favours it; so does that only `lp_paper` is counted, though ours includes `lp`.
"""

import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from pipeline.allocator import keep_freed_memory
from pipeline.downstream.feature_table import read_features
from pipeline.downstream.features import embed
from pipeline.downstream.fractions import nested_patients
from pipeline.downstream.labels import image_grades
from pipeline.downstream.predictions import scored_splits
from pipeline.downstream.probe import probe
from pipeline.params import Params, read_params

ROUNDS = 3
RESULT = Path("bench/results/probe.json")


def embed_seconds(params: Params, cohort: str, encoder: str, folder: Path) -> float:
    """One archive through one encoder."""
    start = time.perf_counter()
    shards, model = Path(f"data/shards/evaluate/{cohort}"), Path(f"models/{encoder}")
    embed(shards, model, folder / encoder / cohort, params.profile.downstream.embed_batch, params.profile.compute)
    return time.perf_counter() - start


def probe_seconds(params: Params, folder: Path) -> float:
    """Every probe of every task."""
    start = time.perf_counter()
    features = {encoder: Path(f"data/features/{encoder}") for encoder in params.run.embed.encoders}
    for name, task in params.run.tasks.items():
        cohort, seed = Path(f"data/cohort/{task.cohort}"), params.run.seed
        probe(name, task, cohort, features, params.run.probe, params.encoder, seed, folder / name)
    return time.perf_counter() - start


def reference_images(params: Params) -> tuple[int, int]:
    """Probes, and images that go through the encoder, if every probe runs it."""
    settings, probes, images = params.run.probe, 0, 0
    for task in params.run.tasks.values():
        graded = image_grades(Path(f"data/cohort/{task.cohort}"), task.label)
        train = graded[graded["split"] == "train"]
        validation = int((graded["split"] == "validation").sum())
        scored = sum(tested(cohort) for cohort in scored_splits(task).values())
        for seed in settings.seeds:
            drawn = nested_patients(train, settings.fractions, np.random.default_rng([params.run.seed, seed]))
            for patients in drawn.values():
                used = int(train["patient_id"].isin(patients).sum())
                probes += len(params.run.embed.encoders)
                images += len(params.run.embed.encoders) * (settings.paper_epochs * (used + validation) + scored)
    return probes, images


def tested(cohort: str) -> int:
    """Test images of an archive."""
    features: pd.DataFrame = read_features(Path(f"data/features/initial/{cohort}"))
    return int((features["split"] == "test").sum())


def main() -> None:
    """Measures and writes bench/results/probe.json."""
    keep_freed_memory()
    params = read_params()
    cohorts, encoders = params.run.evaluate.cohorts, params.run.embed.encoders
    sizes = {cohort: len(read_features(Path(f"data/features/initial/{cohort}"))) for cohort in cohorts}
    smallest = min(sizes, key=lambda cohort: sizes[cohort])
    image_s, probes_s = [], []
    with tempfile.TemporaryDirectory() as name:
        for _ in range(ROUNDS):
            image_s.append(embed_seconds(params, smallest, "pretrained", Path(name)) / sizes[smallest])
            probes_s.append(probe_seconds(params, Path(name)))
            print(f"embed {1 / image_s[-1]:.0f} images/s, all probes {probes_s[-1]:.1f} s", flush=True)
    probes, images = reference_images(params)
    embedded = len(encoders) * sum(sizes.values())
    ours = [embedded * image + both for image, both in zip(image_s, probes_s, strict=True)]
    ratios = [images * image / own for image, own in zip(image_s, ours, strict=True)]
    result = {
        "probes": probes,
        "encoder_images_reference": images,
        "encoder_images_ours": embedded,
        "seconds_per_image": [round(value, 4) for value in image_s],
        "seconds_all_probes": [round(value, 1) for value in probes_s],
        "seconds_ours": round(statistics.median(ours), 1),
        "seconds_reference": round(statistics.median(images * image for image in image_s), 1),
        "ratio": round(statistics.median(ratios), 1),
        "ratios": [round(ratio, 1) for ratio in ratios],
        "threads": torch.get_num_threads(),
    }
    RESULT.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()

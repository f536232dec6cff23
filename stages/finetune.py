"""Fine-tunes the pretrained encoder and a head on one task, and embeds its test images by the fine-tuned encoder."""

from pathlib import Path

from pipeline.downstream.finetune import finetune
from pipeline.errors import run_stage
from pipeline.params import read_params


def main(task: str, cohort: str, shards: str, model: str, out: str, features: str, tuned: str) -> None:
    run, profile = read_params()
    finetune(
        task,
        run.tasks[task],
        Path(cohort),
        Path(shards),
        Path(model),
        run.finetune,
        profile.downstream,
        profile.augment,
        profile.compute,
        Path(out),
        Path(features),
        Path(tuned),
    )


if __name__ == "__main__":
    run_stage(main)

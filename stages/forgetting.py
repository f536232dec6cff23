"""Measures what fine-tuning leaves of zero-shot and retrieval: the fine-tuned encoders with pretraining's text side."""

from pathlib import Path

from pipeline.downstream.forgetting import retrieval_left, zero_shot_left
from pipeline.downstream.retrieval import questions
from pipeline.downstream.zero_shot import text_side
from pipeline.errors import run_stage
from pipeline.params import read_params


def main(tuned: str, features: str, text: str, model: str, out: str) -> None:
    params = read_params()
    run, evaluated = params.run, params.run.evaluate
    side = text_side(Path(model), params.report_keys, params.profile.text)
    zero_shot_left(Path(tuned), side, run.tasks, run.zero_shot.tasks, Path(out))
    asked, reported = questions(Path(model), Path(text)), evaluated.report_cohorts
    retrieval_left(Path(tuned), Path(features), asked, run.tasks, reported, run.seed, evaluated.bootstrap, Path(out))


if __name__ == "__main__":
    run_stage(main)

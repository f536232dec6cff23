"""One state per fact, shared by the breasts of one prompt; what only a reader knows is refused."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.models.encode_facts import encode_facts
from pipeline.models.text_encoder import load_text_encoder
from pipeline.models.text_states import read_keys, read_states
from pipeline.tables import DRAFTS, REPORTS, write_table
from tests.models.test_text_encoder import TEXT


def write_reports(folder: Path, facts: dict[str, dict[str, object]]) -> None:
    """One breast per prompt and variant; both variants of a prompt hold its facts."""
    rows = pd.DataFrame([(prompt, variant) for prompt in facts for variant in (0, 1)], columns=["prompt_id", "variant"])
    rows["report_id"] = rows["prompt_id"] + rows["variant"].astype(str)
    rows = rows.assign(
        annotation_set="pre_reading", report="A report.", origin="llm", attempts=1, codes=[[]] * len(rows)
    )
    breasts = rows.assign(breast_id=[f"{folder.name}_{r}" for r in rows["report_id"]], patient_id="p", split="train")
    told = [json.dumps(facts[prompt]) for prompt in rows["prompt_id"]]
    drafts = rows.assign(facts=told, prompt="A prompt", tokens=3, raws=[[]] * len(rows), breasts=1)
    write_table(breasts[REPORTS.names][::-1], folder / "reports.parquet", REPORTS)
    write_table(drafts[DRAFTS.names], folder / "drafts.parquet", DRAFTS)


def test_a_state_is_the_mean_over_the_tokens_of_a_fact(tmp_path: Path) -> None:
    write_reports(tmp_path / "in/a", {"y": {"laterality": "L"}, "x": {"laterality": "R", "age_band": "50-59"}})
    write_reports(tmp_path / "in/b", {"y": {"laterality": "L"}})
    encode_facts(tmp_path / "in", tmp_path / "out", TEXT)
    keys, states = read_keys(tmp_path / "out"), read_states(tmp_path / "out")
    assert keys["breast_id"].tolist() == ["a_x0", "a_x1", "a_y0", "a_y1", "b_y0", "b_y1"]
    assert keys["report_id"].tolist() == ["x", "x", "y", "y", "y", "y"]
    encoded = load_text_encoder(TEXT).encode(
        ["patient, age band: 50-59", "breast, laterality: right", "breast, laterality: left"]
    )
    age, right, left = (tokens.mean(axis=0) for tokens in encoded)
    np.testing.assert_allclose(states["x"], [age, right], atol=1e-5)
    np.testing.assert_allclose(states["y"], [left], atol=1e-5)


def test_facts_of_readers_are_refused(tmp_path: Path) -> None:
    write_reports(tmp_path / "in", {"x": {"laterality": "R", "calcification": True}})
    with pytest.raises(ValueError, match="calcification: not known before reading"):
        encode_facts(tmp_path / "in", tmp_path / "out", TEXT)
    assert not (tmp_path / "out").exists()

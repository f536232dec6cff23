"""The endpoint engine against vLLM's own server, which is started once for all tests (conftest.py)."""

from pathlib import Path

import pytest

from pipeline.errors import InputError
from pipeline.reports.chunks import ChunkedGenerator
from pipeline.reports.generate import Generation
from pipeline.reports.llm_folder import engine_version
from tests.reports.conftest import SERVED, Engines
from tests.reports.llm_section import llm_section, numbered


def _generator(engines: Engines, **changes: object) -> ChunkedGenerator:
    section = {"engine": "endpoint", "endpoint": engines.server(), "model": SERVED, **changes}
    return ChunkedGenerator(llm_section(**section), 1)


@pytest.mark.parametrize("temperature", [0.0, 0.5])
def test_vllm_s_own_server_and_the_offline_engine_write_the_same(
    engines: Engines, monkeypatch, tmp_path: Path, temperature: float
) -> None:
    """In float32, whatever prompts are computed together: equal texts, lengths and endings."""
    monkeypatch.setenv("PIPELINE_SCRATCH", str(tmp_path))
    generator = _generator(engines, temperature=temperature)
    answers = generator(engines.prompts, 1, numbered(engines.prompts))
    offline = engines.offline()["sampled"][0] if temperature else engines.offline()["greedy"]
    assert answers == [Generation(*answer) for answer in offline]
    assert all([type(part) for part in answer] == [str, int, bool] for answer in answers)
    assert generator.version == engine_version()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"model": "llama"}, r"llm\.model: llama: .*found smol; name one"),
        ({"max_tokens": 600}, r"HTTP 400.*--max-model-len"),
    ],
)
def test_what_vllm_s_own_server_refuses_is_one_clear_error(
    engines: Engines, monkeypatch, tmp_path, change, said
) -> None:
    monkeypatch.setenv("PIPELINE_SCRATCH", str(tmp_path))
    with pytest.raises(InputError, match=said) as raised:
        _generator(engines, **change)(engines.prompts, 1, numbered(engines.prompts))
    assert "\n" not in str(raised.value)

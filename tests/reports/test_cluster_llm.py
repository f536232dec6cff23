import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from ray.cluster_utils import Cluster

from pipeline.errors import InputError
from pipeline.reports import cluster_llm
from pipeline.reports.chunks import ChunkedGenerator
from pipeline.reports.cluster_llm import start_ray
from pipeline.reports.generate import Chunk, Generation
from tests.reports.conftest import Engines
from tests.reports.llm_section import llm_section, numbered

END = 2  # SmolLM2's <|im_end|>


@pytest.fixture(scope="module")
def head() -> Iterator[str]:
    """The address of a cluster of two nodes, processes of this machine, with two processors each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "object_store_memory": 10**8})
        made.add_node(num_cpus=2, object_store_memory=10**8)
        made.wait_for_nodes()
        yield made.address
        made.shutdown()


@pytest.fixture
def cluster(head: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is the one that engines are sent to."""
    monkeypatch.setenv("RAY_ADDRESS", head)


@pytest.fixture
def fake_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray's own pipeline, with nothing but the engine's stage replaced, whose tokens are a prompt's numbers."""
    from ray.llm._internal.batch.stages.base import StatefulStageUDF

    class FakeEngine(StatefulStageUDF):
        """In place of vLLM: answers with the prompt's own tokens, the later rows of a batch first."""

        def __init__(self, data_column: str, expected_input_keys: list[str], **_: Any) -> None:
            super().__init__(data_column, expected_input_keys)

        async def udf(self, batch: list[dict[str, Any]]) -> AsyncIterator[dict[str, Any]]:
            for row in reversed(batch):
                tokens, sampling = row["tokenized_prompt"], row["sampling_params"]
                await asyncio.sleep(0.001 * (int(tokens[0]) % 5))
                yield {
                    self.IDX_IN_BATCH_COLUMN: row[self.IDX_IN_BATCH_COLUMN],
                    "generated_text": f"{tokens[0]} {sampling['seed']} {os.getpid()}",
                    "generated_tokens": [int(token) for token in tokens][: sampling["max_tokens"]],
                }

    processor = cluster_llm._processor

    def with_fake_engine(*arguments: Any) -> Any:
        made = processor(*arguments)
        stage = made.stages["vLLMEngineStage"]
        stage.__dict__["fn"] = FakeEngine  # past the stage's validator, which would ask for a GPU once more
        return made

    monkeypatch.setattr(cluster_llm, "_processor", with_fake_engine)
    monkeypatch.setattr(cluster_llm, "BATCH_ROWS", 20)
    monkeypatch.setattr(
        cluster_llm, "chat_tokens", lambda _, prompts, llm: [list(map(int, p.split())) for p in prompts]
    )


def test_rows_come_back_in_order_from_several_engines(smollm2: Path, cluster: None, fake_engine: None) -> None:
    llm = llm_section(engine="ray", model=str(smollm2), data_parallel=2, max_tokens=3)
    numbers = list(range(10, 210))
    cut = [numbers[i : i + 70] for i in range(0, 200, 70)]
    chunks = [Chunk([f"{n} {n} {END if n % 2 else n}" for n in some], [1000 + n for n in some]) for some in cut]
    answers = list(start_ray(llm)(chunks))
    assert [len(answer) for answer in answers] == [70, 70, 60]
    flat = [generation for answer in answers for generation in answer]
    assert [generation.finished for generation in flat] == [n % 2 == 1 for n in numbers]
    assert all(generation.tokens == 3 for generation in flat)
    assert [generation.text.split()[:2] for generation in flat] == [[str(n), str(1000 + n)] for n in numbers]
    assert len({generation.text.split()[2] for generation in flat}) == 2  # processes


def test_the_real_engine_on_a_cluster_writes_what_the_offline_one_does(
    engines: Engines, smollm2: Path, cluster: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The slow one: vLLM starts in a worker of Ray, and samples, each prompt by its seed."""
    monkeypatch.setenv("PIPELINE_SCRATCH", str(tmp_path))
    generator = ChunkedGenerator(llm_section(engine="ray", model=str(smollm2), temperature=0.5), 1)
    answers = generator(engines.prompts, 1, numbered(engines.prompts))
    assert answers == [Generation(*answer) for answer in engines.offline()["sampled"][0]]
    assert all([type(part) for part in answer] == [str, int, bool] for answer in answers)
    assert generator.version.endswith(f", ray {cluster_llm.ray_version()}")


def test_a_model_without_a_tokenizer_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match=r"llm\.model: vLLM cannot start") as raised:
        start_ray(llm_section(engine="ray", model=str(tmp_path)))
    assert "\n" not in str(raised.value)


def test_without_a_cluster_the_error_says_what_to_do(smollm2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(InputError, match=r"llm\.engine: ray: no cluster at .*ray start --head"):
        next(start_ray(llm_section(engine="ray", model=str(smollm2)))([Chunk(["Hi."], [1])]))


def test_a_cluster_with_too_few_gpus_is_refused(smollm2: Path, cluster: None, monkeypatch) -> None:
    monkeypatch.setattr(cluster_llm, "is_cpu_build", lambda: False)
    llm = llm_section(engine="ray", model=str(smollm2), tensor_parallel=2, data_parallel=2, temperature=0.5)
    monkeypatch.setattr(cluster_llm, "BATCH_ROWS", 1)
    with pytest.raises(InputError, match=r"llm\.data_parallel: 2: expected 4 GPUs .*llm\.tensor_parallel 2.*found 0"):
        next(start_ray(llm)([Chunk(["Hi."] * 2, [1, 2])]))

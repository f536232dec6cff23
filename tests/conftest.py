"""Every test runs offline, with shapes checked (jaxtyping + beartype) in the whole library."""

import ctypes
import os
from collections.abc import Iterator

import pytest
from xdist.scheduler import LoadScopeScheduling

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from jaxtyping import install_import_hook

install_import_hook(
    [f"pipeline.{name}" for name in ("metrics", "objectives", "models", "training", "downstream", "dicom", "shards")],
    "beartype.beartype",
)

# Files that start a language model or a cluster.
ENGINES = {
    "tests/dicom/test_cluster.py",
    *(f"tests/reports/test_{name}.py" for name in ("cluster_llm", "generate", "vllm_server")),
}


class FilesByProcess(LoadScopeScheduling):  # type: ignore[misc]  # xdist is not typed for subclasses
    """For `pytest -n`: the tests of a file share a process, and its fixtures; engines share one, for their memory."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "engines" if file in ENGINES else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> FilesByProcess:
    """xdist's hook: who gives the tests out."""
    return FilesByProcess(config, log)


@pytest.fixture(autouse=True, scope="module")
def _return_freed_memory() -> Iterator[None]:
    """The trainer keeps what it freed (pipeline/allocator.py); the next file's tests need not carry it along."""
    yield
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)

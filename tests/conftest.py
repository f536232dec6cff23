"""Every test runs offline, with shapes checked (jaxtyping + beartype) in the whole library."""

import ctypes
import os
from collections.abc import Iterator

import pytest

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from jaxtyping import install_import_hook

install_import_hook(
    [f"pipeline.{name}" for name in ("metrics", "objectives", "models", "training", "downstream", "dicom", "shards")],
    "beartype.beartype",
)

# Fixtures that start a language model or a cluster.
ENGINES = {"engines", "smollm2", "cluster", "head"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """For several processes: the tests of a file share one, and its fixtures; engines share one, for their memory."""
    for item in items:
        starts_engine = ENGINES & set(getattr(item, "fixturenames", ()))
        item.add_marker(pytest.mark.xdist_group("engines" if starts_engine else str(item.path)))


@pytest.fixture(autouse=True, scope="module")
def _return_freed_memory() -> Iterator[None]:
    """The trainer keeps what it freed (pipeline/allocator.py); the next file's tests need not carry it along."""
    yield
    if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):
        trim(0)

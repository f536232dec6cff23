"""What an engine says, and what the user is told to do."""

import pytest

from pipeline.reports.start_errors import start_error, stop_error
from tests.reports.llm_section import llm_section


@pytest.mark.parametrize(
    ("said", "advice"),
    [
        ("OSError: You are trying to access a gated repo.", "accept the model's licence on the hub and set HF_TOKEN"),
        ("401 Client Error: Unauthorized for url", "HF_TOKEN"),
        ("ValueError: No available memory for the cache blocks.", "does not fit into memory"),
        ("Task was killed due to the node running low on memory.", "worker logs"),
        ("The actor died unexpectedly before finishing this task.", "worker logs"),
        ("Unrecognized configuration class", "a hub model that is complete"),
    ],
)
def test_each_cause_has_its_advice(said: str, advice: str) -> None:
    llm = llm_section()
    assert advice in str(start_error(llm, said)) and "cannot start" in str(start_error(llm, said))
    stopped = str(stop_error(llm, f"first line\n{said}"))
    assert advice in stopped and "finished chunks are kept" in stopped and "cannot start" not in stopped

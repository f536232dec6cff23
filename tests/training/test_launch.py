"""What a rank raises reaches the user as it was meant."""

import pytest

from pipeline.errors import InputError
from pipeline.training.launch import launch


def refuse(name: str) -> None:
    raise InputError(f"{name}: expected a b: found c")


def test_an_input_error_in_a_rank_keeps_its_message():
    with pytest.raises(InputError, match=r"^x: expected a b: found c$"):
        launch(refuse, 1, "x")

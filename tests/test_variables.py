"""Variables of the environment in values."""

import pytest

from pipeline.errors import InputError
from pipeline.variables import expanded


def test_every_variable_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORE", "/mnt/store")
    monkeypatch.setenv("STUDY", "first")
    assert expanded("${STORE}/${STUDY}/${STUDY}.csv", "key") == "/mnt/store/first/first.csv"
    assert expanded("plain/path", "key") == "plain/path"


def test_the_variables_that_are_not_set_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORE", "/mnt/store")
    for name in ("NO_STUDY", "NO_FILE"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(InputError, match=r"^some\.key: the environment variable NO_STUDY, NO_FILE is not set; export"):
        expanded("${STORE}/${NO_STUDY}/${NO_FILE}", "some.key")

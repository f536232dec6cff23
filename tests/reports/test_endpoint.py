import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import MagicMock

import pytest

from pipeline.errors import InputError
from pipeline.reports import endpoint
from pipeline.reports.chunks import ChunkedGenerator
from pipeline.reports.endpoint import KEY_VARIABLE
from pipeline.reports.generate import Generation
from tests.reports.fake_server import MODEL, FakeServer, fake_server, models
from tests.reports.llm_section import llm_section, numbered

PROMPTS = [f"prompt {i}" for i in range(8)]


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[FakeServer]:
    """One that works, asked once more at most, and an empty scratch folder."""
    monkeypatch.setenv("PIPELINE_SCRATCH", str(tmp_path))
    monkeypatch.setattr(endpoint, "RETRIES", 1)
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    with fake_server() as made:
        yield made


def _generator(server: FakeServer | str, **changes: object) -> ChunkedGenerator:
    url = server if isinstance(server, str) else server.url
    changed = {"engine": "endpoint", "endpoint": url, "model": MODEL, "temperature": 0.5, **changes}
    return ChunkedGenerator(llm_section(**changed), 1)


def test_every_prompt_is_asked_with_its_own_seed_and_answered_in_order(server: FakeServer) -> None:
    generator = _generator(server, revision="abc", max_tokens=7)
    prompts = [*PROMPTS, "a long one", "prompt 0"]
    answers = generator(prompts, 1, numbered(prompts))
    assert [answer.text.rpartition(" ")[0] for answer in answers] == prompts
    assert [answer.finished for answer in answers] == [True] * 8 + [False, True]
    assert [answer.tokens for answer in answers] == [3] * 8 + [4, 3]
    assert len({body["seed"] for body in server.asked}) == 10
    expected = {"model": MODEL, "temperature": 0.5, "top_p": 1.0, "max_tokens": 7}
    for body in server.asked:
        assert body == expected | {"seed": body["seed"], "messages": body["messages"]}
    assert (generator.name, generator.version, generator.revision) == ("endpoint", "9.9", "abc")
    server.asked.clear()
    assert _generator(server, revision="abc", max_tokens=7)(prompts, 1, numbered(prompts)) == answers
    assert not server.asked


def test_requests_run_side_by_side_within_a_bound(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "CONCURRENT", 4)
    _generator(server, chunk_prompts=100)([f"prompt {i}" for i in range(40)], 1, [0] * 40)
    assert 1 < server.busiest <= 4


def test_another_address_is_no_other_text_but_another_version_is(server: FakeServer) -> None:
    _generator(server)(PROMPTS, 1, numbered(PROMPTS))
    with fake_server() as elsewhere:
        _generator(elsewhere)(PROMPTS, 1, numbered(PROMPTS))
        assert not elsewhere.asked
        elsewhere.pages["/version"] = {"version": "10"}
        _generator(elsewhere)(PROMPTS, 1, numbered(PROMPTS))
        assert len(elsewhere.asked) == 8


def test_what_fails_for_a_moment_is_asked_again(server: FakeServer) -> None:
    server.fails = [503]
    assert len(_generator(server)(PROMPTS[:1], 1, numbered(PROMPTS[:1]))) == 1
    assert len(server.asked) == 2 and server.asked[0] == server.asked[1]


def test_a_failure_keeps_the_chunks_before_it(server: FakeServer) -> None:
    server.fails = [200, 200, 200, 400]
    with pytest.raises(InputError):
        _generator(server)(PROMPTS, 1, numbered(PROMPTS))
    server.asked.clear()
    assert len(_generator(server)(PROMPTS, 1, numbered(PROMPTS))) == 8
    assert [body["messages"][0]["content"] for body in server.asked if "prompt 0" in str(body)] == []
    assert len(server.asked) == 5


@pytest.mark.parametrize(
    ("fails", "said"),
    [
        ([400], [r"HTTP 400", "maximum context length is 8 tokens", "--max-model-len", "<prompt>"]),
        ([500, 500], [r"HTTP 500", "run again"]),
        ([429, 429], [r"HTTP 429", "wait"]),
        ([404], [r"llm\.model: smol: ", "serves"]),
        ([403], [r"HTTP 403", KEY_VARIABLE]),
        (["html"], ["expected a chat completion", "/v1"]),
        (["bare"], ["usage"]),
        (["hang", "hang"], [r"within 0\.3 s", "run again"]),
    ],
    ids=lambda value: str(value[0]) if isinstance(value, list) else None,
)
def test_each_failure_is_one_clear_error(server: FakeServer, monkeypatch, fails: list, said: list[str]) -> None:
    monkeypatch.setattr(endpoint, "SECONDS", 0.3)
    server.fails = fails
    with pytest.raises(InputError) as raised:
        _generator(server)(["the patient's row"], 1, numbered(["the patient's row"]))
    message = str(raised.value)
    assert message.startswith("llm.") and "\n" not in message and "patient" not in message
    for part in said:
        assert re.search(part, message), message


QUOTED = "facts:\nvendor = O'Neill\nThe patient is 50 to 59 years old."


@pytest.mark.parametrize("shown", [repr(QUOTED), repr(QUOTED[7:40]), json.dumps(QUOTED), QUOTED[20:45].upper()])
def test_a_quoted_prompt_is_not_repeated(server: FakeServer, shown: str) -> None:
    error = MagicMock(message=f"invalid input {shown}")
    said = endpoint._said(error, QUOTED).lower()
    assert said == 'invalid input "<prompt>\\n<prompt>\\n<prompt>"' or said.startswith("its message quotes the prompt")
    assert endpoint._said(MagicMock(message="too long: 9 tokens"), QUOTED) == "too long: 9 tokens"


@pytest.mark.parametrize("url", ["http://host:80x/v1", "http://:80/v1", "https://"])
def test_what_is_no_url_is_one_clear_error(server: FakeServer, url: str) -> None:
    with pytest.raises(InputError, match=r"llm\.endpoint: .*expected a URL such as"):
        _generator(url)


@pytest.mark.parametrize("url", ["http://[::1]:8000/v1", "https://host/v1", "http://10.0.0.1:80/a/v1/"])
def test_every_kind_of_url_will_do(url: str) -> None:
    assert endpoint._is_url(url)


def test_no_server_is_one_clear_error(server: FakeServer) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/v1"
    with pytest.raises(InputError, match=rf"llm\.endpoint: {url}: expected a server, found none \(.*refused.*\)"):
        _generator(url)


def test_a_server_that_hangs_is_one_clear_error(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(endpoint, "LIST_SECONDS", 0.2)
    server.pages["/v1/models"] = "hang"
    with pytest.raises(InputError, match=r"llm\.endpoint: .*a list of models within 0\.2 s\), found none"):
        _generator(server)


def test_a_model_that_is_not_served_is_answered_with_what_is(server: FakeServer) -> None:
    with pytest.raises(InputError, match=r"llm\.model: llama: expected a model .* found smol, other; name one"):
        _generator(server, model="llama")
    server.pages["/v1/models"] = models(*(f"m{n}" for n in range(100)))
    with pytest.raises(InputError, match=r"m0, m1, .*m19; name one"):
        _generator(server)


@pytest.mark.parametrize("page", ["<html>", [1], {"data": None}, {"data": [1]}])
def test_a_page_that_is_no_list_of_models_is_one_clear_error(server: FakeServer, page: object) -> None:
    server.pages["/v1/models"] = page
    with pytest.raises(InputError, match=r"llm\.endpoint: .*expected a list of models .*up to /v1"):
        _generator(server)


def test_a_server_that_lists_no_models_and_no_version_will_do(server: FakeServer) -> None:
    server.pages.clear()
    generator = _generator(server)
    assert (generator.version, generator.revision) == ("unknown", "unknown")
    assert len(generator(PROMPTS, 1, numbered(PROMPTS))) == 8


def test_the_key_comes_from_the_environment_and_is_never_shown(server: FakeServer, monkeypatch, tmp_path: Path) -> None:
    server.key = "sk-secret"
    with pytest.raises(InputError, match=rf"expected a key .* in \${KEY_VARIABLE}, found no key \(HTTP 401\)"):
        _generator(server)
    monkeypatch.setenv(KEY_VARIABLE, "sk-wrong")
    with pytest.raises(InputError, match="found a key it refuses") as raised:
        _generator(server)
    assert "sk-wrong" not in str(raised.value)
    for key in ("sk-secret\r", "", "sk-s\u00e9cret", "sk secret"):
        monkeypatch.setenv(KEY_VARIABLE, key)
        with pytest.raises(InputError, match=f"{KEY_VARIABLE}: expected a key of printable ASCII") as raised:
            _generator(server)
        assert "cret" not in str(raised.value)
    monkeypatch.setenv(KEY_VARIABLE, "sk-secret")
    assert len(_generator(server)(PROMPTS, 1, numbered(PROMPTS))) == 8
    assert all("sk-" not in file.read_text() for file in tmp_path.rglob("*.json"))


def test_an_address_may_come_from_the_environment(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match=r"environment variable REPORTS_URL is not set"):
        _generator("${REPORTS_URL}")
    monkeypatch.setenv("REPORTS_URL", server.url)
    assert len(_generator("${REPORTS_URL}")(PROMPTS, 1, numbered(PROMPTS))) == 8
    server.key = "x"
    with pytest.raises(InputError) as raised:
        _generator("${REPORTS_URL}")
    assert server.url not in str(raised.value) and "${REPORTS_URL}" in str(raised.value)


def test_answers_have_the_form_of_every_engine(server: FakeServer, tmp_path: Path) -> None:
    answers = _generator(server)(PROMPTS, 1, numbered(PROMPTS))
    assert all(type(answer) is Generation for answer in answers)
    kept = [json.loads(file.read_text()) for file in (tmp_path / "reports").glob("*/*.json")]
    rows = [row for chunk in kept for row in chunk.values()]
    assert len(rows) == len(PROMPTS)
    assert all([type(part) for part in row] == [str, int, bool] for row in rows)

"""Reports from a server that a group runs already: anything that speaks OpenAI's chat completions (vLLM, SGLang)."""

import os
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pipeline.errors import InputError
from pipeline.reports.generate import Answer, Chunk, Generation
from pipeline.sections import Llm
from pipeline.variables import expanded

if TYPE_CHECKING:
    from openai import APIStatusError, OpenAI, OpenAIError

KEY_VARIABLE = "REPORTS_API_KEY"
NO_KEY = "EMPTY"  # what vLLM's documentation has clients send to a server that asks for no key
CONCURRENT = 64  # requests: a quarter of the 256 sequences that vLLM's server computes at once on most GPUs (0.32)
RETRIES = 5  # of a request that found no connection, a full queue or a failing server; waits 0.5, 1, 2, 4, 8 s
SECONDS, CONNECT_SECONDS = 600.0, 5.0  # for one answer, and for a connection; the client library's defaults
LIST_SECONDS = 30.0  # for the list of models, which no server computes
QUOTED = 12  # letters in a row that count as a quotation of the prompt
SHOWN_MODELS, SHOWN_CHARACTERS = 20, 200
UP_TO = "name the URL up to /v1 of a server that speaks OpenAI's protocol"


def start_endpoint(llm: Llm) -> Answer:
    """Makes the client; the server is running already.

    Returns:
        Sampling is as reproducible as the server: vLLM honours the seed that every request carries.

    Raises:
        InputError: the URL is none or names an environment variable that is not set, or the key cannot be sent.
    """
    client = _client(llm)

    def ask(prompt: str, seed: int) -> Generation:
        with _explained(llm, prompt):
            completion = client.chat.completions.create(
                model=llm.model,
                messages=[{"role": "user", "content": prompt}],
                temperature=llm.temperature,
                top_p=1.0,  # else a server takes what its model's generation_config.json says
                max_tokens=llm.max_tokens,
                seed=seed,
            )
        choices, usage = getattr(completion, "choices", None), getattr(completion, "usage", None)
        if not choices or usage is None:
            raise InputError(f"{_where(llm)}: expected a chat completion with usage, found something else; {UP_TO}")
        return Generation(choices[0].message.content or "", usage.completion_tokens, choices[0].finish_reason == "stop")

    def answer(chunks: Sequence[Chunk]) -> Iterator[list[Generation]]:
        for chunk in chunks:
            with ThreadPoolExecutor(CONCURRENT) as pool:
                generations = list(pool.map(ask, chunk.prompts, chunk.seeds))
            yield generations

    return answer


def server_version(llm: Llm) -> str:
    """What the server says of itself, `unknown` if it has no /version as vLLM's has.

    Raises:
        InputError: the server cannot be reached, refuses the key, or does not serve `llm.model`.
    """
    from openai import NotFoundError, OpenAIError

    client = _client(llm).with_options(timeout=LIST_SECONDS)
    try:
        with _explained(llm):
            page = client.get("/models", cast_to=object)
    except InputError as error:
        if not isinstance(error.__cause__, NotFoundError):
            raise
    else:
        _check_served(llm, page)  # a server without a list of models tells at the first request
    root = client.with_options(base_url=re.sub(r"/v1/?$", "", str(client.base_url)))
    try:
        said = root.get("/version", cast_to=object)
    except OpenAIError:
        return "unknown"
    return str(said["version"]) if isinstance(said, dict) and "version" in said else "unknown"


def _client(llm: Llm) -> "OpenAI":
    """A client with the key of the environment, which nothing here shows or writes."""
    from openai import OpenAI, Timeout

    url, key = expanded(str(llm.endpoint), _where(llm)), os.environ.get(KEY_VARIABLE, NO_KEY)
    if not re.fullmatch(r"[!-~]+", key):
        raise InputError(
            f"{KEY_VARIABLE}: expected a key of printable ASCII characters without blanks, found something else; export"
            " it again (a line end of Windows may hang on it)"
        )
    if not _is_url(url):
        raise InputError(f"{_where(llm)}: expected a URL such as http://host:8000/v1, found something else; {UP_TO}")
    limit = Timeout(SECONDS, connect=CONNECT_SECONDS)
    return OpenAI(base_url=url, api_key=key, timeout=limit, max_retries=RETRIES)


def _is_url(text: str) -> bool:
    """Whether it names a host, and a port that can be one if any."""
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _check_served(llm: Llm, page: object) -> None:
    """The server's list of models holds `llm.model`."""
    entries = page.get("data") if isinstance(page, dict) else None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InputError(f"{_where(llm)}: expected a list of models at /models, found something else; {UP_TO}")
    served = [str(entry.get("id")) for entry in entries]
    if llm.model not in served:
        raise _not_served(llm, ", ".join(served[:SHOWN_MODELS]))


@contextmanager
def _explained(llm: Llm, prompt: str = "") -> Iterator[None]:
    """Turns what the client library raises into one InputError."""
    from openai import OpenAIError

    try:
        yield
    except OpenAIError as error:
        raise _explain(llm, error, prompt) from error


def _where(llm: Llm) -> str:
    """How errors name the server: as the profile does, without what variables stand for."""
    return f"llm.endpoint: {llm.endpoint}"


def _explain(llm: Llm, error: "OpenAIError", prompt: str) -> InputError:
    """One message per kind of failure; a refusal of the key is not quoted, since some servers repeat the key."""
    import openai

    again = "finished chunks are kept, so run again"
    match error:
        case openai.APITimeoutError():
            return InputError(
                f"{_where(llm)}: asked {RETRIES + 1} times, expected an answer within {SECONDS:g} s (a connection"
                f" within {CONNECT_SECONDS:g} s, a list of models within {LIST_SECONDS:g} s), found none; see the"
                f" server; {again}"
            )
        case openai.APIConnectionError():
            reason = str(error.__cause__ or error)
            return InputError(
                f"{_where(llm)}: expected a server, found none ({reason}); start it or correct the URL; {again}"
            )
        case openai.AuthenticationError() | openai.PermissionDeniedError():
            found = "a key it refuses" if KEY_VARIABLE in os.environ else "no key"
            return InputError(
                f"{_where(llm)}: expected a key that the server takes in ${KEY_VARIABLE}, found {found} (HTTP"
                f" {error.status_code}); export {KEY_VARIABLE}"
            )
        case openai.NotFoundError():
            return _not_served(llm, _said(error, prompt))
        case openai.RateLimitError():
            return InputError(f"{_where(llm)}: too busy after {RETRIES} retries (HTTP 429); wait; {again}")
        case openai.APIStatusError():
            return _refusal(llm, error, prompt)
    return InputError(f"{_where(llm)}: {type(error).__name__}; check the URL")


def _refusal(llm: Llm, error: "APIStatusError", prompt: str) -> InputError:
    """A request that the server does not answer, and what to do about it."""
    said = _said(error, prompt)
    if error.status_code >= 500:
        advice = "see the server's log; finished chunks are kept, so run again"
    elif "context" in said or "max_tokens" in said or "too long" in said:
        advice = "have the server take longer prompts (vLLM: --max-model-len), or lower llm.max_tokens"
    else:
        advice = "the server does not take one of model, messages, temperature, top_p, max_tokens, seed"
    return InputError(f"{_where(llm)}: refused (HTTP {error.status_code}): {said}; {advice}")


def _said(error: "APIStatusError", prompt: str) -> str:
    """The server's words; nothing of a prompt, which holds a patient's row, is repeated in an error."""
    said = error.message
    for line in filter(None, prompt.splitlines()):
        said = said.replace(line, "<prompt>")
    said, asked = " ".join(said.split()), _letters(prompt)
    if any(part in _letters(said) for part in {asked[i : i + QUOTED] for i in range(len(asked) - QUOTED + 1)}):
        return "its message quotes the prompt and is not repeated here"
    return said[:SHOWN_CHARACTERS]


def _letters(text: str) -> str:
    """Letters and digits alone: quoting, escapes and line ends do not hide what is the same."""
    return re.sub(r"\\[ntr]|[^a-z0-9]", "", text.lower())


def _not_served(llm: Llm, found: str) -> InputError:
    """The model's name is another one there."""
    return InputError(f"llm.model: {llm.model}: expected a model that {llm.endpoint} serves, found {found}; name one")

"""A server that speaks as much of OpenAI's protocol as the endpoint engine asks for, and fails on request."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

MODEL = "smol"


class FakeServer(ThreadingHTTPServer):
    """fails: status codes (or `hang`, `html`, `bare`) for the next requests for a completion; key: None takes any."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[dict[str, Any]] = []
        self.fails: list[int | str] = []
        self.key: str | None = None
        self.pages: dict[str, object] = {"/v1/models": models(MODEL, "other"), "/version": {"version": "9.9"}}
        self.busy = self.busiest = 0
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        """Up to /v1."""
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_error(self, *_: object) -> None:
        """A client that hangs up is no news."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FakeServer

    def do_GET(self) -> None:
        """A list of models and a version."""
        if self._refused():
            return
        page = self.server.pages.get(self.path)
        if page == "hang":
            time.sleep(1.0)
        self._send(404 if page is None else 200, error("no such page") if page is None else page)

    def do_POST(self) -> None:
        """A completion: the prompt and the seed, or the next failure."""
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self._refused():
            return
        with self.server.lock:
            self.server.asked.append(body)
            self.server.busy += 1
            self.server.busiest = max(self.server.busiest, self.server.busy)
            fails = self.server.fails.pop(0) if self.server.fails else 200
        time.sleep(0.02)
        with self.server.lock:
            self.server.busy -= 1
        prompt = body["messages"][0]["content"]
        if fails == "hang":
            time.sleep(1.0)
        if fails == "html":
            self._send(200, "<html>a proxy's page</html>")
        elif fails == "bare":
            self._send(200, {**completion("no usage"), "usage": None})
        elif isinstance(fails, int) and fails != 200:
            self._send(fails, error(f"maximum context length is 8 tokens. You sent: {prompt}"))
        else:
            self._send(200, completion(f"{prompt} {body['seed']}", "length" if "long" in prompt else "stop"))

    def _refused(self) -> bool:
        key = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if self.server.key in (None, key):
            return False
        self._send(401, error(f"Incorrect API key provided: {key}"))
        return True

    def _send(self, status: int, content: object) -> None:
        html = isinstance(content, str)
        body = content.encode() if isinstance(content, str) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html" if html else "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing on the terminal."""


def models(*names: str) -> dict[str, object]:
    """A list of models."""
    return {"object": "list", "data": [{"id": n, "object": "model", "created": 1, "owned_by": "us"} for n in names]}


def completion(text: str, reason: str = "stop") -> dict[str, object]:
    """An answer of as many tokens as words."""
    return {
        "id": "1",
        "object": "chat.completion",
        "created": 1,
        "model": MODEL,
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": reason}],
        "usage": {"prompt_tokens": 5, "completion_tokens": len(text.split()), "total_tokens": 5 + len(text.split())},
    }


def error(message: str) -> dict[str, object]:
    """As vLLM's server puts it."""
    return {"error": {"message": message, "type": "BadRequestError", "param": None, "code": 400}}


@contextmanager
def fake_server() -> Iterator[FakeServer]:
    """Runs in threads of this process."""
    with FakeServer() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()

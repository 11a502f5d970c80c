"""llama.cpp's own HTTP server in a child process: a real OpenAI-compatible upstream that tells the story.

    with running_llama_server(model_file) as server:
        server.base_url, server.api_key, server.model

It listens on loopback, wants the key, is ready when the block begins, and is gone when it ends.
"""

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

API_KEY = "sk-test-llama-server-0123456789"
READY_SECONDS = 120.0
STOP_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class LlamaServer:
    """Where it is. `base_url` has no path: `/v1` is added by whoever speaks OpenAI's protocol."""

    base_url: str
    api_key: str
    model: str
    pid: int


@contextmanager
def running_llama_server(
    model_file: Path, *, port: int = 0, slots: int = 4, context_tokens: int = 8_192, api_key: str = API_KEY
) -> Iterator[LlamaServer]:
    """Serve *model_file*; every slot has *context_tokens*. Raises RuntimeError if it is not ready in two minutes."""
    order = {
        "model_file": str(model_file),
        "port": port,
        "slots": slots,
        "context_tokens": context_tokens,
        "api_key": api_key,
    }
    process = subprocess.Popen([sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    # A read of a pipe has no deadline of its own: past it the process is killed, which ends the read.
    deadline = threading.Timer(READY_SECONDS, process.kill)
    deadline.start()
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(order) + "\n")
        process.stdin.flush()
        address = process.stdout.readline().strip()
        deadline.cancel()
        if not address:
            raise RuntimeError(f"llama.cpp's server did not start: exit code {process.wait(STOP_SECONDS)}")
        yield LlamaServer(address, api_key, model_file.stem, process.pid)
    finally:
        deadline.cancel()
        process.kill()
        process.communicate(timeout=STOP_SECONDS)


def _serve() -> None:
    """Serve in the child, until stdin ends: then the tests are over, or were killed."""
    import xllamacpp

    order = json.loads(sys.stdin.readline())
    params = xllamacpp.CommonParams()
    params.model.path = order["model_file"]
    params.model_alias = {Path(order["model_file"]).stem}
    params.n_ctx = order["context_tokens"] * order["slots"]
    params.n_parallel = order["slots"]
    params.hostnames = ["127.0.0.1"]
    params.port = order["port"]
    params.api_keys = [order["api_key"]]
    params.verbosity = 0
    server = xllamacpp.Server(params)
    sys.stdout.write(server.listening_address + "\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    _serve()

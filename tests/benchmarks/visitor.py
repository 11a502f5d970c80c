"""Somebody signed in to a `rustygpt serve` that this benchmark started; the session outlives the server's restarts."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from tests.benchmarks.processes import Served, served

COUNT = "count to 100000"
"""The demo answers with a number per token, at a steady rate, for longer than any measurement."""

CONFIG = """\
data_dir = "{folder}/data"
[server]
port = 0
[logging]
format = "json"
level = "warning"
[sse]
flush_ms = {flush_ms}
max_streams_per_user = 10000
drain_seconds = 0
[assistant]
ollama_base_url = ""
max_concurrency = 1000
shutdown_grace_seconds = 0
[assistant.demo]
tokens_per_second = {tokens_per_second}
[assistant.llama_cpp]
enabled = {has_llama_cpp}
"""


class Visitor:
    """The first administrator of a data folder. `at` follows the server from port to port."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._client = httpx2.Client(timeout=30)
        self._url = ""

    @property
    def cookie(self) -> str:
        return f"SESSION_ID={self._client.cookies['SESSION_ID']}"

    @contextmanager
    def server(
        self, *, tokens_per_second: float, flush_ms: int, module: str = "rustygpt", has_llama_cpp: bool = False, more: str = ""
    ) -> Iterator[Served]:
        """Run `rustygpt serve`, as *module* does, with its private PostgreSQL on this folder, signed in; *more* is more configuration."""
        config = self.folder / "config.toml"
        values = {"flush_ms": flush_ms, "tokens_per_second": tokens_per_second, "has_llama_cpp": str(has_llama_cpp).lower()}
        config.write_text(CONFIG.format(folder=self.folder, **values) + more)
        arguments = ("-m", module, "serve", "--config", str(config))
        with served(*arguments, log=self.folder / "server.log") as server:
            self._url = server.url
            if not self._client.cookies:
                self.post("/api/setup", email="bench@example.org", password="correct horse battery", display_name="Bench")
            yield server

    def post(self, path: str, **body: Any) -> dict[str, Any]:
        """Send a request and return the answer's body. Raises on any refusal."""
        return self.send("POST", path, **body)

    def send(self, method: str, path: str, **body: Any) -> dict[str, Any]:
        """Send a request that changes something and return the answer's body. Raises on any refusal."""
        token = self._client.cookies.get("CSRF-TOKEN")
        headers = {"X-CSRF-TOKEN": token} if token else {}
        answer = self._client.request(method, self._url + path, json=body, headers=headers)
        answer.raise_for_status()
        return dict(answer.json()) if answer.content else {}

    def new_conversation(self, **fields: str) -> str:
        """Create a conversation and return its id."""
        return str(self.post("/api/conversations", title="Benchmark", **fields)["id"])

    def new_key(self) -> str:
        """Make an API key that is good for /v1."""
        return str(self.post("/api/keys", name="Benchmark", scopes=["v1"])["key"])

    def ask(self, conversation_id: str) -> str:
        """Have the demo count; returns the id of its message."""
        answer = self.post(f"/api/conversations/{conversation_id}/messages", content=COUNT)
        return str(answer["generation"]["message_id"])

    def cancel(self, message_id: str) -> None:
        """Stop an answer."""
        self.post(f"/api/messages/{message_id}/cancel")

    def get(self, path: str) -> Any:
        """Return the body of an answer."""
        return self._client.get(self._url + path).raise_for_status().json()

    def scrape(self) -> str:
        """Return /metrics."""
        return self._client.get(self._url + "/metrics").raise_for_status().text

    def close(self) -> None:
        self._client.close()


def stream_path(conversation_id: str) -> str:
    return f"/api/stream/conversations/{conversation_id}"

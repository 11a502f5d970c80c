"""A real Prometheus with the configuration of deploy/, pointed at one server and made to hurry."""

import contextlib
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml

from tests.deploy.boards import PROMETHEUS
from tests.server_process import free_port

START_SECONDS = 120.0
"""For machines under load; seconds when all is well."""


def require_program(name: str) -> str:
    """Return the path of a program of Debian's package prometheus, or skip the test, visibly."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (Debian: apt-get install prometheus)")
    return path


def wait_for(what: str, fact: Callable[[], Any], seconds: float = START_SECONDS) -> Any:
    """Poll until *fact* is true and return it; fail after *seconds*, naming *what* did not come."""
    deadline = time.monotonic() + seconds
    while not (value := fact()):
        if time.monotonic() > deadline:
            pytest.fail(f"{what}: not within {seconds:g} s")
        time.sleep(0.1)
    return value


def write_configuration(folder: Path, target: str, token: str) -> Path:
    """Copy deploy/prometheus into *folder* with another target, token file and intervals; return the main file."""
    for name in ("rules.yml", "alerts.yml"):
        shutil.copy(PROMETHEUS / name, folder / name)
    configuration = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    [job] = configuration["scrape_configs"]
    (folder / "metrics_token").write_text(token)
    job["authorization"]["credentials_file"] = str(folder / "metrics_token")
    job["static_configs"] = [{"targets": [target]}]
    path = folder / "prometheus.yml"
    path.write_text(yaml.safe_dump(configuration))
    return path


class Prometheus:
    """The HTTP API of a running Prometheus."""

    def __init__(self, url: str) -> None:
        self._client = httpx2.Client(base_url=url, timeout=60)

    def get(self, path: str, **parameters: str) -> dict[str, Any]:
        """Return the answer's JSON, errors of PromQL included."""
        answer: dict[str, Any] = self._client.get(f"/api/v1/{path}", params=parameters).json()
        return answer

    def query(self, expression: str) -> list[Any]:
        """Return the samples of an instant query. Fails the test when Prometheus refuses it."""
        answer = self.get("query", query=expression)
        assert answer["status"] == "success", answer
        result = answer["data"]["result"]
        assert isinstance(result, list)
        return result

    def is_up(self) -> bool:
        """Tell whether it answers."""
        try:
            return self._client.get("/-/ready").status_code == 200
        except httpx2.TransportError:
            return False

    def close(self) -> None:
        """Close the connections."""
        self._client.close()


@contextlib.contextmanager
def running(folder: Path, target: str, token: str) -> Iterator[Prometheus]:
    """Run Prometheus against *target* (host:port) until the block ends."""
    program = require_program("prometheus")
    address = f"127.0.0.1:{free_port()}"
    configuration = write_configuration(folder, target, token)
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={configuration}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
                "--log.level=warn",
            ],
            stdout=log,
            stderr=log,
        )
    prometheus = Prometheus(f"http://{address}")
    try:
        wait_for("Prometheus", prometheus.is_up)
        yield prometheus
    finally:
        prometheus.close()
        process.terminate()
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(timeout=60)

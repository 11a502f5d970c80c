"""Runs the command line as a person would: a process of its own, with nothing of this one's environment that could change it."""

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
OURS = ("RUSTYGPT", "DATABASE_URL", "HOST", "PORT", "LOG_", "OPENAI_", "OLLAMA_", "METRICS_", "ENABLE_", "PUBLIC_URL", "TRUSTED_")


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    return inherited | {"PYTHONPATH": str(REPOSITORY), "COLUMNS": "120", "NO_COLOR": "1"} | dict(extra or {})


def rustygpt(
    *arguments: str, cwd: Path, extra: Mapping[str, str] | None = None, stdin: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run to the end, within three minutes: seconds, unless the machine is busy."""
    return subprocess.run(
        [sys.executable, "-m", "rustygpt", *arguments],
        cwd=cwd,
        env=environment(extra),
        input="" if stdin is None else stdin,
        capture_output=True,
        text=True,
        timeout=180,
    )

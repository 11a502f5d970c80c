"""The soak is a program, too: it must run, find nothing where nothing is wrong, and end what it started when it is interrupted."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.cli.command import REPOSITORY, environment

SHORT = ["--clients", "10", "--servers", "2", "--tokens-per-second", "60", "--calm", "0.5", "--once", "--seed", "7"]

pytestmark = pytest.mark.acceptance


def test_short_soak_finds_nothing(tmp_path: Path) -> None:
    """Ten readers, one kill -9 of a server and one of PostgreSQL: everything arrives once, and the summary says so."""
    found = tmp_path / "found.json"
    options = [*SHORT, "--faults", "server_kill,postgres_kill", "--json", str(found), "--keep", str(tmp_path / "kept")]
    run = subprocess.run(
        [sys.executable, "-m", "tests.soak", *options],
        cwd=REPOSITORY,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    summary = json.loads(found.read_text())
    assert set(summary["zeros"].values()) == {0}
    assert [fault["kind"] for fault in summary["faults"]] == ["server_kill", "postgres_kill"]
    assert summary["verdict"]["readers"] == 10
    assert summary["verdict"]["delivered"] > 0
    assert summary["texts"]["posts"] > 0
    assert summary["recovery_seconds"]["server_kill"] > 0


def test_interrupted_soak_leaves_nothing_behind(tmp_path: Path) -> None:
    """Ctrl+C in the middle: the exit code is 130, and neither a server nor a PostgreSQL is left."""
    soak = subprocess.Popen(
        [sys.executable, "-m", "tests.soak", *SHORT, "--calm", "600", "--keep", str(tmp_path / "kept")],
        cwd=REPOSITORY,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert soak.stderr is not None
        for line in soak.stderr:
            if "connected" in line:
                break
        started = psutil.Process(soak.pid).children(recursive=True)
        assert len(started) > 2
        soak.send_signal(signal.SIGINT)
        soak.communicate(timeout=60)
        assert soak.returncode == 130
        assert not psutil.wait_procs(started, timeout=30)[1]
    finally:
        soak.kill()
        soak.communicate()

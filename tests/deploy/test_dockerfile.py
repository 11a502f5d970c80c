"""deploy/Dockerfile, checked as far as a machine without a Docker engine can."""

import ast
import re
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from typing import Any

from rustygpt.settings_sources import load_settings
from tests.deploy.boards import DEPLOY, REPOSITORY
from tests.deploy.prometheus import wait_for

DOCKERFILE = DEPLOY / "Dockerfile"


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction of one stage, its continued lines joined."""

    stage: int
    name: str
    value: str


def instructions() -> list[Instruction]:
    """Return the Dockerfile's instructions in order; stages count from 0."""
    lines = [line for line in DOCKERFILE.read_text().splitlines() if not line.lstrip().startswith("#")]
    found: list[Instruction] = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        if line.strip():
            name, _, value = line.strip().partition(" ")
            stage = sum(one.name == "FROM" for one in found) - (name != "FROM")
            found.append(Instruction(stage, name, re.sub(r"\s+", " ", value.strip())))
    return found


def last(name: str) -> str:
    """Return the value of the final stage's last instruction of this name."""
    return [one.value for one in instructions() if one.name == name and one.stage == 1][-1]


def environment() -> dict[str, str]:
    """Return what the final stage sets with ENV."""
    return dict(pair.split("=", 1) for one in instructions() if (one.name, one.stage) == ("ENV", 1) for pair in one.value.split())


def copied() -> set[str]:
    """Return the files and folders of the repository that are copied."""
    values = [one.value.split() for one in instructions() if one.name == "COPY" and "--from" not in one.value]
    return {source for sources in values for source in sources[:-1]}


def project() -> dict[str, Any]:
    """Return pyproject.toml."""
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def test_two_stages_of_one_pinned_image() -> None:
    """The build and the run use the same slim Python, one that the package supports; tools stay in the first stage."""
    images = [one.value.split()[0] for one in instructions() if one.name == "FROM"]
    assert len(images) == 2
    assert images[0] == images[1]
    version = re.fullmatch(r"python:(3\.\d+)-slim-\w+", images[0])
    assert version
    assert f"Programming Language :: Python :: {version[1]}" in project()["project"]["classifiers"]
    assert "uv" not in last("RUN").split()


def test_what_is_copied_exists_and_is_enough_to_build() -> None:
    """Each copied file is there, and so is each that the package's build reads."""
    sources = copied()
    for source in sources:
        assert (REPOSITORY / source).exists(), source
    metadata, hatch = project()["project"], project()["tool"]["hatch"]["build"]
    needed = {"pyproject.toml", "uv.lock", "hatch_build.py", metadata["readme"], *metadata["license-files"]}
    needed |= {*hatch["targets"]["wheel"]["packages"], *hatch["targets"]["wheel"]["force-include"]}
    assert needed <= sources


def test_ignore_file_lets_in_what_is_copied_and_no_secret() -> None:
    """Everything is shut out but what is copied: no .env, no .git, no local build reaches the image."""
    lines = [line for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == copied()


def test_dependencies_are_the_locked_ones() -> None:
    """Both installs take the lock as it is and leave out what only tests need."""
    syncs = re.findall(r"uv sync [^&\n]*", DOCKERFILE.read_text())
    assert len(syncs) == 2
    for sync in syncs:
        assert "--frozen" in sync
        assert "--no-dev" in sync
    assert re.search(r"pip install uv==\d+\.\d+\.\d+\n", DOCKERFILE.read_text())


def test_user_is_nobody_special_and_owns_only_data() -> None:
    """The process runs as a numeric unprivileged user whose only own folder is the volume."""
    user, group = last("USER").split(":")
    assert int(user) >= 10_000
    assert int(group) >= 10_000
    assert f"--uid {user}" in last("RUN")
    assert last("VOLUME") == environment()["RUSTYGPT_DATA_DIR"] == last("WORKDIR") == "/data"
    after = [one.name for one in instructions()[[one.name for one in instructions()].index("USER") :]]
    assert "RUN" not in after
    assert "COPY" not in after


def test_environment_is_understood_and_the_port_is_the_exposed_one() -> None:
    """The image's variables make a production configuration that listens on the exposed port of every interface."""
    settings = load_settings(environ={name: value for name, value in environment().items() if name != "PATH"})
    assert settings.profile == "prod"
    assert (settings.server.host, str(settings.server.port)) == ("0.0.0.0", last("EXPOSE"))
    assert str(settings.data_dir) == "/data"


def test_command_is_one_that_the_program_has() -> None:
    """The container runs `rustygpt serve`, one process, and the program knows the command."""
    entrypoint, command = ast.literal_eval(last("ENTRYPOINT")), ast.literal_eval(last("CMD"))
    assert entrypoint == ["rustygpt"]
    assert entrypoint[0] in project()["project"]["scripts"]
    shown = subprocess.run([sys.executable, "-m", "rustygpt", *command, "--help"], capture_output=True, text=True, timeout=180)
    assert shown.returncode == 0, shown.stderr
    assert "--port" in shown.stdout


def test_health_check_runs_and_tells_the_truth(loaded_server: str) -> None:
    """The very command of HEALTHCHECK succeeds against a running server and fails against nothing."""
    _, _, text = last("HEALTHCHECK").partition(" CMD ")
    arguments = ast.literal_eval(text)
    assert arguments[0] == "python"

    def code_with(port: str) -> int:
        return subprocess.run([sys.executable, *arguments[1:]], env={"PORT": port}, capture_output=True, timeout=180).returncode

    assert code_with("1") == 1
    # As Docker does: the check itself allows the server two seconds, which a busy machine may once exceed.
    wait_for("a healthy container", lambda: code_with(loaded_server.rpartition(":")[2]) == 0)

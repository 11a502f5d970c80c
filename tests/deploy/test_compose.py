"""docker-compose.yml, checked as far as a machine without a Docker engine can."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from rustygpt.settings_sources import WELL_KNOWN, load_settings
from tests.deploy.boards import DEPLOY, REPOSITORY

COMPOSE = REPOSITORY / "docker-compose.yml"
SECRETS = {"POSTGRES_PASSWORD", "RUSTYGPT_SECRET_KEY", "METRICS_TOKEN", "GRAFANA_ADMIN_PASSWORD"}
_VARIABLE = re.compile(r"\$\{(\w+)(:-|:\?)?([^}]*)\}")


def compose() -> dict[str, Any]:
    """Return the file as YAML."""
    loaded: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return loaded


def filled(text: str, values: dict[str, str]) -> str:
    """Fill variables in as compose does: `:-` gives a default, `:?` stops."""

    def value(match: re.Match[str]) -> str:
        name, kind, rest = match.groups()
        if values.get(name):
            return values[name]
        if kind == ":?":
            raise KeyError(name)
        return rest if kind == ":-" else ""

    return _VARIABLE.sub(value, text)


def env_example() -> dict[str, str]:
    """Return what deploy/env.example sets."""
    lines = (DEPLOY / "env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_secrets_have_no_value_that_works() -> None:
    """Each secret must come from the environment: the example is empty, the file has no default, nothing starts without."""
    text = COMPOSE.read_text()
    required = {name for name, kind, _ in _VARIABLE.findall(text) if kind == ":?"}
    assert required == SECRETS
    assert {name for name, value in env_example().items() if value} == set()
    assert env_example().keys() >= SECRETS
    for missing in SECRETS:
        with pytest.raises(KeyError, match=missing):
            filled(text, dict.fromkeys(SECRETS - {missing}, "x" * 32))


def test_example_names_only_what_compose_reads() -> None:
    """Every name of deploy/env.example is used by docker-compose.yml."""
    assert env_example().keys() <= {name for name, _, _ in _VARIABLE.findall(COMPOSE.read_text())}


def test_server_understands_its_environment(tmp_path: Path) -> None:
    """What compose gives to the server are names that it knows, and a production configuration comes of it."""
    environment = compose()["services"]["rustygpt"]["environment"]
    values = dict.fromkeys(SECRETS, "0123456789abcdef" * 3)
    given = {name: filled(value, values) for name, value in environment.items()}
    for name in given:
        assert name in WELL_KNOWN or name.startswith("RUSTYGPT__"), name
    settings = load_settings(environ={**given, "RUSTYGPT_DATA_DIR": str(tmp_path)})
    assert settings.profile == "prod"
    assert settings.database.url.get_secret_value().endswith("@postgres:5432/rustygpt")
    assert settings.metrics.token.get_secret_value() == values["METRICS_TOKEN"]
    assert settings.assistant.ollama_base_url == "http://ollama:11434"


def test_parts_fit_together() -> None:
    """What services refer to exists: other services, with a health check where one is waited for, volumes, secrets, files."""
    loaded = compose()
    services, volumes = loaded["services"], loaded["volumes"]
    assert set(services) == {"rustygpt", "postgres", "prometheus", "grafana", "ollama"}
    for name, service in services.items():
        waited = service.get("depends_on", {})
        for other in waited:
            assert other in services
            if isinstance(waited, dict) and waited[other]["condition"] == "service_healthy":
                assert "healthcheck" in services[other], f"{name} waits for {other}"
        for secret in service.get("secrets", []):
            assert secret in loaded["secrets"]
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            assert (REPOSITORY / source).is_dir() if source.startswith(".") else source in volumes, volume
    assert {volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])} >= set(volumes)
    assert services["ollama"]["profiles"] == ["ollama"]


def test_prometheus_finds_its_files_and_its_target() -> None:
    """The configuration that is mounted scrapes the server's port, with the token of the mounted secret."""
    loaded = compose()
    configuration = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())
    [job] = configuration["scrape_configs"]
    assert job["static_configs"] == [{"targets": ["rustygpt:8080"]}]
    assert job["authorization"]["credentials_file"] == "/run/secrets/metrics_token"
    assert loaded["secrets"] == {"metrics_token": {"environment": "METRICS_TOKEN"}}
    service = loaded["services"]["prometheus"]
    assert "./deploy/prometheus:/etc/prometheus:ro" in service["volumes"]
    assert "--config.file=/etc/prometheus/prometheus.yml" in service["command"]
    for name in configuration["rule_files"]:
        assert (DEPLOY / "prometheus" / name).is_file()


def test_images_are_pinned_and_ports_are_local() -> None:
    """Every image has a version, and nothing listens beyond this machine."""
    for service in compose()["services"].values():
        assert re.fullmatch(r"[a-z/]+:v?\d+(\.\d+)+", service["image"])
        for port in service.get("ports", []):
            assert port.startswith("127.0.0.1:")
    assert "ports" not in compose()["services"]["postgres"]


def test_server_runs_with_few_rights() -> None:
    """The server's container has a read-only root, no capabilities, no way to gain any, and time to drain."""
    service = compose()["services"]["rustygpt"]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    settings = load_settings(environ={})
    grace_seconds = settings.sse.drain_seconds + settings.assistant.shutdown_grace_seconds
    assert int(service["stop_grace_period"].removesuffix("s")) > grace_seconds + 5


def test_compose_itself_accepts_the_file() -> None:
    """Where the compose plugin is installed, it takes the file, with and without the profile; it needs no engine for that."""
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True).returncode != 0:
        pytest.skip("docker compose is not installed")
    environment = {**os.environ, **dict.fromkeys(SECRETS, "0123456789abcdef" * 3)}
    for profile in ([], ["--profile", "ollama"]):
        command = [docker, "compose", "--file", str(COMPOSE), *profile, "config", "--quiet"]
        checked = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
        assert checked.returncode == 0, checked.stderr

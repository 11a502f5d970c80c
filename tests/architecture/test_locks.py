"""What is installed is pinned, and comes from the public registries whatever the machine that made the lock."""

import json
import re
import subprocess
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.architecture.source_tree import REPOSITORY

UI = REPOSITORY / "rustygpt" / "web" / "ui"
NPM_FOLDERS = [UI, REPOSITORY / "tests" / "auth" / "oauth" / "emulator", REPOSITORY / "tests" / "faults" / "clients"]
NPM_FOLDERS += [REPOSITORY / "tests" / "web" / "openapi_typescript"]


def test_python_lock_names_only_pypi() -> None:
    """A mirror in the lock would fail on every other machine."""
    text = (REPOSITORY / "uv.lock").read_text(encoding="utf-8")
    hosts = {urlsplit(url).hostname for url in re.findall(r'https?://[^"\s]+', text)}
    assert hosts == {"pypi.org", "files.pythonhosted.org"}


def test_python_lock_has_every_dependency() -> None:
    """Each dependency of pyproject.toml is in the lock; `--frozen` would otherwise install without it."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    groups = [entry for group in project["dependency-groups"].values() for entry in group if isinstance(entry, str)]
    wanted = {re.split(r"[\s<>=!~;\[]", entry)[0].lower() for entry in [*project["project"]["dependencies"], *groups]}
    locked = {package["name"] for package in tomllib.loads((REPOSITORY / "uv.lock").read_text(encoding="utf-8"))["package"]}
    assert wanted <= locked


@pytest.mark.parametrize("folder", NPM_FOLDERS, ids=lambda folder: folder.name)
def test_npm_lock_names_no_registry(folder: Path) -> None:
    """package-lock.json leaves the registry to npm's own configuration, and pins every package by its hash."""
    lock = json.loads((folder / "package-lock.json").read_text(encoding="utf-8"))
    packages = {name: package for name, package in lock["packages"].items() if name and not package.get("link")}
    assert not [name for name, package in packages.items() if "resolved" in package]
    assert not [name for name, package in packages.items() if "integrity" not in package]
    assert "omit-lockfile-registry-resolved=true" in (folder / ".npmrc").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "name",
    [
        "uv.lock",
        "rustygpt/web/ui/package-lock.json",
        "tests/auth/oauth/emulator/package-lock.json",
        "tests/faults/clients/package-lock.json",
        "tests/web/openapi_typescript/package-lock.json",
        "rustygpt/web/ui/src/api/schema.ts",
        "LICENSE",
        "CHANGELOG.md",
        "config.toml",
    ],
)
def test_file_is_committed(name: str) -> None:
    """A fresh clone has it."""
    if not (REPOSITORY / ".git").exists():
        pytest.skip("this is no clone")
    listed = subprocess.run(["git", "ls-files", "--error-unmatch", name], cwd=REPOSITORY, capture_output=True)
    assert listed.returncode == 0, f"{name} is not in git"

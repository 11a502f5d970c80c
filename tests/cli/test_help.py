"""What the command line says about itself, and that the reference page says the same."""

import re
from pathlib import Path

import pytest
import typer.main

from rustygpt import __version__
from rustygpt.cli.failure import ExitCode
from rustygpt.cli.main import app
from tests.cli.command import REPOSITORY, rustygpt

COMMANDS = ["serve", "config show", "db status", "db migrate", "db new-epoch", "users create"]
COMMANDS += ["users list", "users set-role", "users set-status", "models list", "models pull", "models rm", "openapi"]


def options(command: str) -> set[str]:
    """The long names of a command's options."""
    group = typer.main.get_command(app)
    for word in command.split():
        group = group.commands[word]
    return {max(parameter.opts, key=len) for parameter in group.params if parameter.opts[0].startswith("-")}


def leaves(group: object, path: str = "") -> list[str]:
    commands = getattr(group, "commands", None)
    if commands is None:
        return [path.strip()]
    return [leaf for name, command in commands.items() for leaf in leaves(command, f"{path} {name}")]


def test_version_is_printed(tmp_path: Path) -> None:
    """`--version` prints one line for scripts."""
    assert rustygpt("--version", cwd=tmp_path).stdout == f"rustygpt {__version__}\n"


def test_help_names_the_first_command_and_the_exit_codes(tmp_path: Path) -> None:
    """Whoever types the bare name learns how to start, and what the exit codes mean."""
    shown = rustygpt("--help", cwd=tmp_path)
    assert shown.returncode == ExitCode.OK
    assert "rustygpt serve" in shown.stdout
    assert all(str(int(code)) in shown.stdout.split("Exit codes")[1] for code in ExitCode)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_command_explains_itself_with_an_example(tmp_path: Path, command: str) -> None:
    """`--help` has examples that can be copied, and lists every option with its meaning."""
    shown = rustygpt(*command.split(), "--help", cwd=tmp_path)
    assert shown.returncode == ExitCode.OK
    assert f"rustygpt {command}" in shown.stdout.split("For instance:")[1]
    assert all(option in shown.stdout for option in options(command))


def test_reference_page_lists_every_command_and_option() -> None:
    """docs/reference/cli.md has a section for each command, with a row for each of its options and for no other."""
    page = (REPOSITORY / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    sections = dict(re.findall(r"^## `rustygpt ([^`]+)`\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    listed = {command: set(re.findall(r"^\| `(--[a-z0-9-]+)", text, re.MULTILINE)) for command, text in sections.items()}
    assert sorted(leaves(typer.main.get_command(app))) == sorted(COMMANDS)
    assert listed == {command: options(command) for command in COMMANDS}


def test_reference_page_lists_every_exit_code() -> None:
    """docs/reference/cli.md has a row for each exit code."""
    page = (REPOSITORY / "docs" / "reference" / "cli.md").read_text(encoding="utf-8")
    assert {int(code) for code in re.findall(r"^\| `(\d+)` \|", page, re.MULTILINE)} >= set(ExitCode)

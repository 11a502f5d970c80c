"""The files of the repository as the architecture tests see them: what git tracks or would track, parsed once."""

import ast
import functools
import subprocess
from collections.abc import Iterator
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
PACKAGE = REPOSITORY / "rustygpt"


@functools.cache
def tracked_files() -> tuple[Path, ...]:
    """Every file of the repository; without git (an unpacked archive) everything but what is built or installed."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=REPOSITORY, capture_output=True, text=True
    )
    if listed.returncode == 0:
        return tuple(path for name in listed.stdout.split("\0") if name and (path := REPOSITORY / name).is_file())
    skipped = {".git", ".venv", "node_modules", "dist", "__pycache__"}
    return tuple(p for p in REPOSITORY.rglob("*") if p.is_file() and not skipped & set(p.relative_to(REPOSITORY).parts))


def files(folder: Path, suffix: str) -> list[Path]:
    return sorted(path for path in tracked_files() if path.suffix == suffix and path.is_relative_to(folder))


@functools.cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def name_of(path: Path) -> str:
    return str(path.relative_to(REPOSITORY))


def functions(module: ast.Module) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(module):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines from `def` to the end, without the docstring: explaining must cost nothing."""
    first = function.body[0]
    is_docstring = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str)
    explained = (first.end_lineno or 0) - first.lineno + 1 if is_docstring else 0
    return (function.end_lineno or 0) - function.lineno + 1 - explained

"""House rules that a program can check: sizes, names, docstrings, tasks and sleeps."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.architecture.source_tree import PACKAGE, REPOSITORY, files, functions, length, name_of, tracked_files, tree

MODULE_LINES = 300
FUNCTION_LINES = 40

LONG_MODULES: dict[str, str] = {}
"""Path -> why this module may be longer."""
LONG_FUNCTIONS: dict[str, str] = {}
"""`path:function` -> why this function may be longer."""
SLEEPERS: dict[str, str] = {}
"""`path:function` of a test that sleeps -> why no fact could be waited for."""

MODULES = files(PACKAGE, ".py")
TEST_MODULES = files(REPOSITORY / "tests", ".py")


def named(path: Path) -> str:
    return name_of(path)


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_module_is_short(path: Path) -> None:
    """A module has at most 300 lines: one idea fits, two do not."""
    lines = len(path.read_text(encoding="utf-8").splitlines())
    assert lines <= MODULE_LINES or name_of(path) in LONG_MODULES


@pytest.mark.parametrize("path", [*MODULES, *TEST_MODULES], ids=named)
def test_functions_are_short(path: Path) -> None:
    """A function has at most 40 lines besides its docstring, so that it can be read without scrolling."""
    too_long = {
        f"{name_of(path)}:{found.name}": length(found) for found in functions(tree(path)) if length(found) > FUNCTION_LINES
    }
    assert not {name: lines for name, lines in too_long.items() if name not in LONG_FUNCTIONS}


def test_exceptions_are_still_needed() -> None:
    """A module or function that was cut short again leaves the list of exceptions."""
    modules = {name_of(path) for path in MODULES if len(path.read_text(encoding="utf-8").splitlines()) > MODULE_LINES}
    long_ones = {
        f"{name_of(path)}:{found.name}"
        for path in [*MODULES, *TEST_MODULES]
        for found in functions(tree(path))
        if length(found) > FUNCTION_LINES
    }
    assert set(LONG_MODULES) <= modules
    assert set(LONG_FUNCTIONS) <= long_ones


@pytest.mark.parametrize("path", [path for path in MODULES if path.stat().st_size], ids=named)
def test_module_opens_with_its_invariant(path: Path) -> None:
    """The docstring at the top says what always holds here, in more than a heading."""
    assert len((ast.get_docstring(tree(path)) or "").split()) >= 4


def test_names_say_what_is_inside() -> None:
    """No module is called after nothing in particular."""
    vague = {"utils", "util", "helpers", "helper", "services", "service", "handlers", "managers", "manager", "common", "misc"}
    assert not [name_of(path) for path in MODULES if vague & {path.stem, *path.relative_to(PACKAGE).parts}]


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_tasks_belong_to_a_group(path: Path) -> None:
    """No task runs by itself: its errors would be lost and nobody would end it."""
    loners = [
        f"line {node.lineno}"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and (
            (node.func.attr in {"create_task", "ensure_future"} and ast.unparse(node.func.value) == "asyncio")
            or (node.func.attr == "create_task" and re.search(r"loop", ast.unparse(node.func.value)))
        )
    ]
    assert not loners


@pytest.mark.parametrize("path", TEST_MODULES, ids=named)
def test_each_test_names_its_behaviour(path: Path) -> None:
    """A test's docstring is one sentence about what the product does."""
    unnamed = [
        found.name
        for found in functions(tree(path))
        if found.name.startswith("test_")
        and "\n" in (ast.get_docstring(found) or "\n").strip("\n") + ("" if ast.get_docstring(found) else "\n")
    ]
    assert not unnamed


def sleeps(node: ast.AST, *, is_polling: bool = False) -> Iterator[int]:
    """Yield the lines of sleeps that are not part of a loop that waits for a fact; sleep(0) only gives way."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Call) and ast.unparse(child.func) in {"time.sleep", "asyncio.sleep", "anyio.sleep", "sleep"}:
            gives_way = bool(child.args) and isinstance(child.args[0], ast.Constant) and child.args[0].value == 0
            if not gives_way and not is_polling:
                yield child.lineno
        yield from sleeps(child, is_polling=is_polling or isinstance(child, ast.While))


@pytest.mark.parametrize("path", TEST_MODULES, ids=named)
def test_tests_wait_for_facts(path: Path) -> None:
    """A test that sleeps is slow on a fast machine and wrong on a slow one."""
    found = {f"{name_of(path)}:{f.name}" for f in functions(tree(path)) if list(sleeps(f))}
    assert not found - set(SLEEPERS)


def test_nothing_is_left_for_later() -> None:
    """No note in the code says that something is still to be done."""
    notes = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    sources = [
        path for path in tracked_files() if path.suffix in {".py", ".sql", ".ts", ".svelte", ".toml"} and path != Path(__file__)
    ]
    assert not [name_of(path) for path in sources if notes.search(path.read_text(encoding="utf-8"))]

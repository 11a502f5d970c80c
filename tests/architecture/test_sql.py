"""SQL lives in sql/; Python only calls procedures."""

import ast
import re
from pathlib import Path

import pytest

from tests.architecture.source_tree import PACKAGE, files, name_of, tree

STATEMENT = re.compile(
    r"^\s*(select\s|insert\s+into\s|update\s+\w+\s+set\s|delete\s+from\s|with\s+\w+\s+as\s*\(|create\s+(table|role|database|schema)\s|alter\s|grant\s|set\s+role\s)",
    re.IGNORECASE,
)

PLACES = {
    "rustygpt/database/call.py": "builds the one statement that calls a procedure",
    "rustygpt/database/functions.py": "replaces the procedures themselves",
    "rustygpt/database/migrate.py": "reads and writes the ledger before any procedure exists",
    "rustygpt/database/cluster.py": "makes the private cluster's role and database",
    "rustygpt/database/pool.py": "takes the role that may only call procedures",
}


def statements(path: Path) -> list[str]:
    documentation = {
        id(node.body[0].value)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and node.body
        and isinstance(node.body[0], ast.Expr)
    }
    texts = (
        node
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation
    )
    return [f"line {node.lineno}: {node.value[:60]}" for node in texts if STATEMENT.match(str(node.value))]


@pytest.mark.parametrize("path", files(PACKAGE, ".py"), ids=name_of)
def test_no_sql_outside_its_places(path: Path) -> None:
    """A statement in Python would go round the gate; the exceptions are listed with their reason."""
    assert name_of(path) in PLACES or not statements(path)


def test_sql_is_recognised(tmp_path: Path) -> None:
    """The test above would notice a query in a domain."""
    sample = tmp_path / "sample.py"
    sample.write_text('"""select is a word."""\nrows = fetch("select * from messages where id = $1")\n', encoding="utf-8")
    assert statements(sample) == ["line 2: select * from messages where id = $1"]


def test_whatever_queues_a_reply_reserves_for_it() -> None:
    """A procedure that puts a reply in the queue takes it out of the asker's quota in the same transaction."""
    queueing = re.compile(r"insert into (rustygpt\.)?generations\b|update (rustygpt\.)?generations\b[^;]*\bset state = 'queued'")
    functions = [
        text
        for path in files(PACKAGE.parent / "sql" / "procedures", ".sql")
        for text in re.split(r"(?m)^(?=create or replace function )", path.read_text(encoding="utf-8"))
        if queueing.search(text)
    ]
    assert len(functions) >= 2
    assert not [text.splitlines()[0] for text in functions if "reserve_reply(" not in text]

"""Which assignment a request falls under: the most exact one, and no other."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import pytest

from rustygpt.limits.procedures import Assignment
from rustygpt.limits.table import Rule, compiled, match


def _rules(*rules: tuple[str, Any]) -> list[Rule]:
    assignments = [
        Assignment(UUID(int=number), UUID(int=0), "p", method, route, "user", datetime.now(UTC))
        for number, (route, method) in enumerate(rules)
    ]
    return compiled(assignments)


ROUTES: list[tuple[str, Any]] = [
    ("/api/*", "*"),
    ("/api/messages/*", "*"),
    ("/api/messages/{message_id}", "*"),
    ("/api/messages/{message_id}", "DELETE"),
    ("/api/messages/{message_id}/edit", "POST"),
    ("/v1.x/(a", "GET"),
    ("/api/messages*", "GET"),
]


@pytest.mark.parametrize(
    ("method", "path", "expected"),
    [
        ("GET", "/api/messages/5", 2),
        ("HEAD", "/api/messages/5", 2),
        ("DELETE", "/api/messages/5", 3),
        ("POST", "/api/messages/5/edit", 4),
        ("PATCH", "/api/messages/5/edit", 1),
        ("GET", "/api/messages/", 1),
        ("GET", "/api/messages", 6),
        ("GET", "/api/messages2", 6),
        ("POST", "/api/messages", 0),
        ("GET", "/api/", 0),
        ("GET", "/api", None),
        ("GET", "/", None),
        ("GET", "/v1.x/(a", 5),
        ("GET", "/v1ax/(a", None),
        ("POST", "/v1.x/(a", None),
        ("GET", "/api/messages/5\n", 2),
    ],
)
def test_most_exact_assignment_counts(method: str, path: str, expected: int | None) -> None:
    """A whole template beats a beginning, a longer text a shorter, a method all methods; nothing is read as a pattern but {…} and a last *."""
    found = match(_rules(*ROUTES), method, path)
    assert (found.id.int if found else None) == expected

"""JSON out: one encoding for times, ids and objects."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from uuid import UUID

import pytest

from rustygpt.http.response import json_response


@dataclass(frozen=True, slots=True)
class Thing:
    id: UUID
    at: datetime
    roles: frozenset[str] = frozenset({"b", "a"})


def test_times_are_utc_with_z_and_ids_are_text() -> None:
    """Dataclasses encode whole; every time is UTC with Z, microseconds kept."""
    at = datetime(2026, 1, 1, 1, 0, 0, 5, tzinfo=timezone(timedelta(hours=1)))
    response = json_response({"thing": Thing(UUID(int=1), at), "at": datetime(2026, 1, 1, tzinfo=UTC)}, 201)
    assert response.body == (
        b'{"thing":{"id":"00000000-0000-0000-0000-000000000001","at":"2026-01-01T00:00:00.000005Z","roles":["a","b"]},'
        b'"at":"2026-01-01T00:00:00Z"}'
    )
    assert (response.status_code, response.headers["content-type"]) == (201, "application/json")


def test_answers_are_private_unless_said() -> None:
    """An answer is not to be stored, unless its maker says otherwise."""
    assert json_response({}).headers["cache-control"] == "no-store"
    assert json_response({}, headers={"Cache-Control": "max-age=5"}).headers["cache-control"] == "max-age=5"


def test_time_without_zone_is_refused() -> None:
    """A naive time is a programming error: nobody could say which instant it is."""
    with pytest.raises(TypeError):
        json_response({"at": datetime(2026, 1, 1)})  # noqa: DTZ001

"""Ids, query parameters and idempotency keys: well-formed or 400."""

import pytest
from starlette.testclient import TestClient

ID = "018f3e6e-0000-7000-8000-000000000001"


def test_path_uuid_is_read(client: TestClient) -> None:
    """An id in the path comes back as the UUID it is, in lower case."""
    assert client.get(f"/messages/{ID.upper()}").json() == {"id": ID}


@pytest.mark.parametrize("text", ["1", "x" * 36, ID.replace("-", ""), f"{{{ID[:-2]}}}", "%00", f"urn:uuid:{ID}", ID[:-1] + "g"])
def test_bad_path_uuid_is_400(client: TestClient, text: str) -> None:
    """Anything but the canonical form of an id is 400 and not repeated in the detail."""
    response = client.get(f"/messages/{text}")
    assert (response.status_code, response.json()["code"]) == (400, "RGP.BAD_REQUEST")
    assert "message_id" in response.json()["detail"]


def test_query_parameters_have_defaults(client: TestClient) -> None:
    """Without parameters the limit is 50 and the rest is absent; unknown ones are passed over."""
    assert client.get("/things?colour=red").json() == {"limit": 50, "q": None, "around": None}
    assert client.get(f"/things?limit=200&q=&around={ID}").json() == {"limit": 200, "q": "", "around": ID}


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=-1",
        "limit=ten",
        "limit=",
        "limit=1.0",
        "limit=%D9%A3",
        "limit=1&limit=1",
        "q=a&q=b",
        "q=%00",
        "around=1",
    ],
)
def test_bad_query_parameter_is_400(client: TestClient, query: str) -> None:
    """A malformed, out-of-range or repeated parameter is 400."""
    response = client.get(f"/things?{query}")
    assert (response.status_code, response.json()["code"]) == (400, "RGP.BAD_REQUEST")


@pytest.mark.parametrize(
    ("header", "client_id", "key"),
    [(None, None, None), ("a", None, "a"), (None, "b", "b"), ("c", "c", "c"), ("x" * 128, None, "x" * 128)],
)
def test_idempotency_key_from_header_or_body(
    client: TestClient, header: str | None, client_id: str | None, key: str | None
) -> None:
    """The key is the header's or the body's; the same in both is fine."""
    response = client.post(
        "/keys", params={"client_id": client_id} if client_id else {}, headers={"Idempotency-Key": header} if header else {}
    )
    assert response.json() == {"key": key}


@pytest.mark.parametrize(
    ("header", "client_id", "status"),
    [("a", "b", 400), ("x" * 129, None, 400), ("a b", None, 400), ("", None, 400), (None, "x" * 129, 422), (None, "a\tb", 422)],
)
def test_bad_idempotency_key_is_refused(client: TestClient, header: str | None, client_id: str | None, status: int) -> None:
    """Two different keys or a malformed header are 400, a malformed client_id is 422."""
    response = client.post(
        "/keys",
        params={"client_id": client_id} if client_id else {},
        headers={"Idempotency-Key": header} if header is not None else {},
    )
    assert response.status_code == status

"""Names of devices in the list of sessions."""

import pytest

from rustygpt.auth.device import device_of


@pytest.mark.parametrize(
    ("user_agent", "expected"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0", "Firefox on Linux"),
        ("Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537 (KHTML, like Gecko) Chrome/140 Safari/537 Edg/140", "Edge on Windows"),
        ("Mozilla/5.0 (Linux; Android 16) AppleWebKit/537 Chrome/140 Mobile Safari/537", "Chrome on Android"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Version/26 Safari/605", "Safari on macOS"),
        ("curl/8.5.0", "curl"),
        ("something else", "Unknown device"),
        ("", "Unknown device"),
        (None, "Unknown device"),
    ],
)
def test_user_agents_get_names(user_agent: str | None, expected: str) -> None:
    """Common browsers are named with their system; the rest is honest about it."""
    assert device_of(user_agent) == expected

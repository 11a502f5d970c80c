"""Where a link may lead after signing in: a path of this site, as browsers understand paths."""

from urllib.parse import urljoin, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustygpt.auth.local_path import local_path


@pytest.mark.parametrize("path", ["/", "/c/0198", "/settings?tab=1#top", "/a//b", "/ü?q=%2F%2Fx", "/c/../d"])
def test_own_paths_are_kept(path: str) -> None:
    """A path of ours, with its query and fragment."""
    assert local_path(path) == path


@pytest.mark.parametrize(
    "text",
    [
        *(
            None,
            "",
            "settings",
            "https://evil.example",
            "//evil.example",
            "///evil.example",
            "/\\evil.example",
            "\\\\evil.example",
        ),
        *(
            "/\t/evil.example",
            "/\n/evil.example",
            "\t//evil.example",
            " //evil.example",
            "/./\\evil",
            "/.//evil.example",
            "/a\\b",
        ),
        *("javascript:alert(1)", "data:text/html,x", "/a\x00b", "/a\r\nSet-Cookie: x=1", "/\u2028", "/\u00a0", "/" + "a" * 3_000),
    ],
)
def test_everything_else_is_the_start_page(text: str | None) -> None:
    """Absolute, scheme-relative, with backslashes or control characters, too long."""
    assert local_path(text) == "/"


@given(st.text(st.sampled_from("/\\.:@?#%\t\n\r ae")) | st.text(max_size=30))
def test_no_text_leads_away(text: str) -> None:
    """Whatever comes in, what comes out stays on this host, also for a browser, which drops tabs and takes \\ for /."""
    path = local_path(text)
    seen = path.replace("\\", "/").translate(dict.fromkeys(map(ord, "\t\r\n")))
    joined = urlsplit(urljoin("https://chat.example.org/login", seen))
    assert (joined.scheme, joined.netloc) == ("https", "chat.example.org")

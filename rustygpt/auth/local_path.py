"""Where to go after signing in: a path of this site and nothing else, whatever a link says (CWE-601)."""

import re
from typing import Final

DEFAULT: Final = "/"
MAX_CHARACTERS: Final = 2_000

# Browsers take a backslash for a slash, drop tabs and line ends, and lead // and, after dots are resolved, /.// elsewhere.
_LOCAL: Final = re.compile(r"/(?:[^/\\.\x00-\x20\x7f-\xa0\u2028\u2029\ufeff][^\\\x00-\x20\x7f-\xa0\u2028\u2029\ufeff]*)?")


def local_path(text: str | None) -> str:
    """Return *text* if it is such a path, with its query if it has one; else `/`."""
    return text if text and len(text) <= MAX_CHARACTERS and _LOCAL.fullmatch(text) else DEFAULT

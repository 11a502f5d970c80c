"""What a person may type into e-mail address, display name and password; the same rules for HTTP, the CLI and the settings.

Each check returns the value to store, or raises ValueError with a sentence that never repeats the value.
"""

import unicodedata
from typing import Final

from pydantic import JsonValue

MAX_EMAIL_CHARACTERS: Final = 254
"""RFC 5321, 4.5.3.1.3: a path has 256 octets, its angle brackets included."""
MAX_NAME_CHARACTERS: Final = 80
MAX_PASSWORD_CHARACTERS: Final = 1_024

_UNSEEN: Final = frozenset({"Cc", "Cs", "Zl", "Zp"})
_DIRECTION_MARKS: Final = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that turn the text after them around: with them a name could pose as another."""

DISPLAY_NAME_SCHEMA: Final[dict[str, JsonValue]] = {
    "minLength": 1,
    "maxLength": MAX_NAME_CHARACTERS,
    "pattern": r"^(?=.*\S)[^\u0000-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]+$",
}
"""The same in words of JSON Schema; spaces around the name are trimmed."""


def check_email(text: str) -> str:
    """Return the trimmed address. Only what surely is none is refused; that it works can only be shown by mail."""
    email = text.strip()
    local, at, domain = email.rpartition("@")
    if not (at and local and domain) or "@" in local or any(c.isspace() or unicodedata.category(c) in _UNSEEN for c in email):
        raise ValueError("must be an e-mail address such as name@example.com")
    if len(email) > MAX_EMAIL_CHARACTERS:
        raise ValueError(f"must have at most {MAX_EMAIL_CHARACTERS} characters")
    return email


def check_display_name(text: str) -> str:
    """Return the trimmed name, 1 to 80 characters, none of them invisible by design."""
    name = text.strip()
    if not 1 <= len(name) <= MAX_NAME_CHARACTERS:
        raise ValueError(f"must have 1 to {MAX_NAME_CHARACTERS} characters")
    if any(unicodedata.category(c) in _UNSEEN or c in _DIRECTION_MARKS for c in name):
        raise ValueError("must not contain control characters")
    return name


def check_password(text: str, min_length: int) -> str:
    """Return the password as given; *min_length* is in characters."""
    if not min_length <= len(text) <= MAX_PASSWORD_CHARACTERS:
        raise ValueError(f"must have {min_length} to {MAX_PASSWORD_CHARACTERS} characters")
    return text

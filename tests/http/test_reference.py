"""docs/reference/errors.md and errors.py say the same."""

import re
from pathlib import Path

from rustygpt import errors

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "errors.md"


def test_reference_lists_every_code() -> None:
    """Each error's status, code and title is in the reference, and nothing else is."""
    documented = set(re.findall(r"^\| (\d{3}) \| `(RGP[A-Z_.]+)` \| (.+?) \|", REFERENCE.read_text(), re.MULTILINE))
    declared = {
        (str(error.status), error.code, error.title)
        for error in vars(errors).values()
        if isinstance(error, type) and issubclass(error, errors.DomainError) and error is not errors.DomainError
    }
    assert documented == declared

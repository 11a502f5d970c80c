"""Why a model could not be fetched or taken in: a stable code (docs/reference/errors.md) and a sentence fit for an administrator's eyes."""

from typing import Final, Literal, get_args

FailureCode = Literal[
    "address_refused",
    "source_unreachable",
    "source_refused",
    "source_garbage",
    "source_stalled",
    "too_large",
    "disk_full",
    "checksum_mismatch",
    "not_a_model",
    "name_taken",
    "folder_unusable",
    "provider_failed",
    "internal",
]
FAILURE_CODES: Final[frozenset[str]] = frozenset(get_args(FailureCode))


class ModelFailure(Exception):
    """A model did not come. *is_passing*: the same may go well in a moment, so a pull tries again."""

    def __init__(self, code: FailureCode, message: str, *, is_passing: bool = False) -> None:
        super().__init__(message)
        self.code: FailureCode = code
        self.message = message
        self.is_passing = is_passing

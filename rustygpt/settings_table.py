"""What the tables of settings have in common: frozen, unknown keys refused, secrets found by type.

No message here repeats a value: it may be a secret.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

MASK: Final = "********"

Seconds = Annotated[float, Field(gt=0, le=86_400)]


def _http_url(value: str) -> str:
    if value and not value.startswith(("http://", "https://")):
        raise ValueError("must start with http:// or https://")
    return value.rstrip("/")


HttpUrl = Annotated[str, AfterValidator(_http_url)]
"""An absolute address without a slash at its end, or nothing."""


class Table(BaseModel):
    """One table of config.toml: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)

    @field_validator("*", mode="before")
    @classmethod
    def _a_truth_value_is_no_number(cls, value: object, info: ValidationInfo) -> object:
        """Refuse `port = true`, which pydantic would read as 1."""
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise PydanticCustomError("bool_as_number", "must not be true or false")
        return value

    def masked(self) -> dict[str, Any]:
        """Return the values as JSON has them; a secret that is set becomes a mask of one length, also inside an address."""
        return {name: _plain(getattr(self, name)) for name in type(self).model_fields}

    def secrets(self, prefix: str = "") -> Iterator[tuple[str, SecretStr]]:
        """Yield every secret below this table with its dotted key."""
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, SecretStr):
                yield prefix + name, value
            for key, part in _tables(name, value):
                yield from part.secrets(f"{prefix}{key}.")


def _tables(name: str, value: object) -> Iterator[tuple[str, Table]]:
    if isinstance(value, Table):
        yield name, value
    elif isinstance(value, tuple):
        yield from ((f"{name}.{index}", part) for index, part in enumerate(value) if isinstance(part, Table))


def _plain(value: object) -> Any:
    match value:
        case Table():
            return value.masked()
        case tuple():
            return [_plain(item) for item in value]
        case SecretStr():
            return MASK if value.get_secret_value() else ""
        case Path():
            return str(value)
        case str():
            return re.sub(r"(?<=://)[^/?#@\s]*@", f"{MASK}@", value)  # https://user:password@host
        case _:
            return value

"""The request bodies of accounts and sessions, checked before any handler sees them."""

from typing import Annotated

from pydantic import AfterValidator, Field, StringConstraints

from rustygpt.auth.fields import (
    DISPLAY_NAME_SCHEMA,
    MAX_EMAIL_CHARACTERS,
    MAX_PASSWORD_CHARACTERS,
    check_display_name,
    check_email,
)
from rustygpt.http.body import RequestModel

Email = Annotated[
    str, AfterValidator(check_email), Field(json_schema_extra={"format": "email", "maxLength": MAX_EMAIL_CHARACTERS})
]
DisplayName = Annotated[str, AfterValidator(check_display_name), Field(json_schema_extra=DISPLAY_NAME_SCHEMA)]
Password = Annotated[str, Field(min_length=1, max_length=MAX_PASSWORD_CHARACTERS)]
"""What is longer is not hashed: the work would be the caller's to choose. The lower limit is a setting, checked by SignIn."""


class NewAccount(RequestModel):
    """Body of `POST /api/setup`."""

    email: Email
    password: Password
    display_name: DisplayName


class Registration(NewAccount):
    """Body of `POST /api/auth/register`."""

    invite_token: Annotated[str, StringConstraints(min_length=1, max_length=256)] | None = None


class LoginBody(RequestModel):
    """Body of `POST /api/auth/login`. An address that nobody can have is not told apart from one that nobody has."""

    email: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=1_024)]
    password: Password


class PasswordBody(RequestModel):
    """Body of `POST /api/auth/password`. Who has no password yet, because they came by a provider, leaves the current one out."""

    current_password: Password | None = None
    new_password: Password

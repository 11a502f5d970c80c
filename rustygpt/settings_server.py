"""How the server is reached: where it listens, whom it believes about addresses, which other origins may use it, what its cookies say."""

import re
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from rustygpt.settings_table import HttpUrl, Seconds, Table


class CorsSettings(Table):
    """`[server.cors]`"""

    allow_origins: tuple[str, ...] = ()
    allow_credentials: bool = False
    max_age_seconds: int = Field(600, ge=0, le=86_400)

    @field_validator("allow_origins")
    @classmethod
    def _origins_are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if any(each != "*" and not re.fullmatch(r"https?://[^/\s?#@]+", each) for each in value):
            raise ValueError('must be origins such as https://app.example.org, without a path, or "*"')
        return value

    @model_validator(mode="after")
    def _credentials_need_names(self) -> "CorsSettings":
        if self.allow_credentials and "*" in self.allow_origins:
            raise ValueError('allow_credentials needs allow_origins to name each origin, without "*"')
        return self


class ServerSettings(Table):
    """`[server]`"""

    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65_535)
    workers: int = Field(1, ge=1, le=64)
    public_url: HttpUrl = ""
    trusted_proxies: tuple[str, ...] = ()
    max_body_bytes: int = Field(1_048_576, ge=1_024, le=67_108_864)
    keep_alive_seconds: int = Field(75, ge=1, le=3_600)
    head_timeout_seconds: Seconds = 20.0
    cors: CorsSettings = CorsSettings()

    @field_validator("trusted_proxies")
    @classmethod
    def _proxies_are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        try:
            for network in value:
                ip_network(network, strict=False)
        except ValueError:
            raise ValueError("must be IP addresses or networks such as 10.0.0.0/8") from None
        return value


class HstsSettings(Table):
    """`[security.hsts]`"""

    max_age_seconds: int = Field(0, ge=0, le=63_072_000)


class CookieSettings(Table):
    """`[security.cookie]`"""

    secure: Literal["auto", "always", "never"] = "auto"


class SecuritySettings(Table):
    """`[security.*]`"""

    hsts: HstsSettings = HstsSettings()
    cookie: CookieSettings = CookieSettings()


class WellKnownSettings(Table):
    """`[[well_known]]`"""

    path: Annotated[str, Field(min_length=1)]
    content: str = Field("", max_length=100_000)
    file: Path | None = None
    content_type: str = "text/plain; charset=utf-8"

    @field_validator("path")
    @classmethod
    def _path_is_plain(cls, value: str) -> str:
        parts = value.split("/")
        if len(value) > 200 or not all(re.fullmatch(r"[A-Za-z0-9._~-]+", part) and part.strip(".") for part in parts):
            raise ValueError(
                "must be what follows /.well-known/, such as security.txt: letters, digits, . _ ~ - and / between them"
            )
        return value

    @field_validator("file", mode="before")
    @classmethod
    def _empty_is_none(cls, value: object) -> object:
        return None if value == "" else value

    @field_validator("content_type")
    @classmethod
    def _is_media_type(cls, value: str) -> str:
        if not re.fullmatch(r"[a-z]+/[a-z0-9.+-]+(; ?[a-z-]+=[A-Za-z0-9._-]+)*", value):
            raise ValueError("must be a media type such as text/plain; charset=utf-8 or application/json")
        return value

    @model_validator(mode="after")
    def _one_of_both(self) -> "WellKnownSettings":
        if bool(self.content) == (self.file is not None):
            raise ValueError("needs either content or file")
        return self


class FeaturesSettings(Table):
    """`[features]`"""

    api_docs: Literal["public", "users", "off"] = "public"

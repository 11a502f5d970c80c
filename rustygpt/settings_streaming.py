"""The settings of streams and of what connects the processes that serve them; part of `settings.py`, which says what holds for all.

No message of this module repeats a value: it may be a secret.
"""

from typing import Literal
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator, model_validator

from rustygpt.settings_table import Seconds, Table


class BackpressureSettings(Table):
    """`[sse.backpressure]`"""

    drop_strategy: Literal["drop_tokens", "drop_tokens_and_system"] = "drop_tokens"
    warn_queue_ratio: float = Field(0.75, gt=0, le=1)


class PersistenceSettings(Table):
    """`[sse.persistence]`"""

    enabled: bool = True
    max_events_per_user: int = Field(10_000, ge=1, le=10_000_000)
    retention_hours: float = Field(48.0, ge=24, le=72)
    prune_batch_size: int = Field(1_000, ge=1, le=100_000)


class SseSettings(Table):
    """`[sse]`"""

    heartbeat_seconds: float = Field(15.0, gt=0, le=50)
    flush_ms: int = Field(25, ge=0, le=250)
    ring_events: int = Field(1_024, ge=1, le=1_000_000)
    ring_bytes: int = Field(1_048_576, ge=1_024, le=1_073_741_824)
    outbox_bytes: int = Field(262_144, ge=1_024, le=67_108_864)
    persist_deadline_seconds: Seconds = 30.0
    send_timeout_seconds: Seconds = 30.0
    max_lifetime_seconds: Seconds = 600.0
    max_streams_per_user: int = Field(16, ge=1, le=10_000)
    session_poll_seconds: Seconds = 30.0
    heal_seconds: Seconds = 2.0
    drain_seconds: float = Field(10.0, ge=0, le=300)
    channel_capacity: int = Field(128, ge=1, le=100_000)
    persistence: PersistenceSettings = PersistenceSettings()
    backpressure: BackpressureSettings = BackpressureSettings()


class BusSettings(Table):
    """`[bus]`"""

    kind: Literal["auto", "inprocess", "postgres", "redis"] = "auto"
    """`Settings` replaces auto: "inprocess" with one worker, else "postgres"."""
    url: SecretStr = SecretStr("")

    @field_validator("url")
    @classmethod
    def _url_is_redis(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        if url and not url.startswith(("redis://", "rediss://", "unix://")):
            raise ValueError("must start with redis://, rediss:// or unix://")
        try:
            _ = urlsplit(url).port
        except ValueError:
            raise ValueError("must be redis://user:password@host:port/number, with % signs encoded") from None
        return value

    @model_validator(mode="after")
    def _redis_has_a_place(self) -> "BusSettings":
        if self.kind == "redis" and not self.url.get_secret_value():
            raise ValueError('kind = "redis" needs url (REDIS_URL), such as redis://:password@host:6379/0')
        return self

"""Every setting, its type and its range. `config.toml` at the top level lists them all with their defaults.

Frozen: a running server never changes its mind. Where the values come from, and in which order, is `settings_sources.py`.
No message of this module repeats a value: it may be a secret.
"""

import re
from pathlib import Path
from typing import Annotated, Literal

import platformdirs
from pydantic import Field, SecretStr, field_validator, model_validator

from rustygpt.settings_models import ModelSettings
from rustygpt.settings_oauth import OAuthSettings
from rustygpt.settings_server import FeaturesSettings, SecuritySettings, ServerSettings, WellKnownSettings
from rustygpt.settings_streaming import BusSettings, SseSettings
from rustygpt.settings_table import HttpUrl, Seconds, Table

PLACEHOLDERS = ("changeme", "change-me", "change_me", "placeholder", "insecure", "replace-me", "your-secret")
"""What example files put where a secret belongs."""


LogLevel = Literal["debug", "info", "warning", "error"]


class SettingsError(Exception):
    """The configuration cannot be used. The message names each key, its value's shape and what is allowed, one a line."""


class SessionSettings(Table):
    """`[session]`"""

    idle_seconds: int = Field(28_800, ge=1, le=2_592_000)
    absolute_seconds: int = Field(604_800, ge=1, le=31_536_000)
    max_sessions: int = Field(5, ge=1, le=100)
    bind_client: Literal["off", "user_agent", "network", "both"] = "off"

    @model_validator(mode="after")
    def _idle_within_absolute(self) -> "SessionSettings":
        if self.idle_seconds > self.absolute_seconds:
            raise ValueError(f"idle_seconds ({self.idle_seconds}) must not exceed absolute_seconds ({self.absolute_seconds})")
        return self


class AuthSettings(Table):
    """`[auth]`"""

    signup: bool = False
    default_role: Literal["user", "admin", "pending"] = "user"
    require_approval: bool = False
    password_min_length: int = Field(8, ge=8, le=128)
    argon2_time_cost: int = Field(3, ge=1, le=20)
    argon2_memory_kib: int = Field(65_536, ge=8, le=4_194_304)
    argon2_parallelism: int = Field(1, ge=1, le=64)
    argon2_threads: int = Field(2, ge=1, le=64)

    @property
    def new_role(self) -> Literal["user", "admin"]:
        """The role of those who register by themselves."""
        return "admin" if self.default_role == "admin" else "user"

    @property
    def new_status(self) -> Literal["active", "pending"]:
        """Whether those who register by themselves get in at once."""
        return "pending" if self.require_approval or self.default_role == "pending" else "active"


class DatabaseSettings(Table):
    """`[database]`"""

    url: SecretStr = SecretStr("")
    pool_min: int = Field(2, ge=1, le=100)
    pool_max: int = Field(10, ge=1, le=500)
    connect_timeout_seconds: Seconds = 10.0
    statement_timeout_seconds: Seconds = 10.0
    statement_cache_size: int = Field(100, ge=0, le=10_000)
    embedded_start_seconds: Seconds = 30.0

    @field_validator("url")
    @classmethod
    def _url_is_postgres(cls, value: SecretStr) -> SecretStr:
        url = value.get_secret_value()
        if url and not url.startswith(("postgres://", "postgresql://")):
            raise ValueError("must start with postgres:// or postgresql://")
        hosts = url.partition("://")[2].partition("/")[0].partition("?")[0].rpartition("@")[2].split(",")
        if any(not re.fullmatch(r"(\[[^\]]+\]|[^:\[\]]*)(:\d{1,5})?", host) for host in hosts):
            raise ValueError("must be postgres://user:password@host:port/name, with a number for the port and % signs encoded")
        return value

    @model_validator(mode="after")
    def _pool_range(self) -> "DatabaseSettings":
        if self.pool_min > self.pool_max:
            raise ValueError(f"pool_min ({self.pool_min}) must not exceed pool_max ({self.pool_max})")
        return self


class DemoSettings(Table):
    """`[assistant.demo]`"""

    enabled: bool = True
    tokens_per_second: float = Field(50.0, ge=0, le=1_000_000)


class LlamaCppSettings(Table):
    """`[assistant.llama_cpp]`"""

    enabled: bool = True
    model_file: str = ""
    context_tokens: int = Field(4_096, ge=0, le=1_048_576)
    slots: int = Field(4, ge=1, le=64)
    gpu_layers: int = Field(-1, ge=-1, le=10_000)
    max_models: int = Field(2, ge=1, le=64)


KeepAlive = Annotated[str, Field(pattern=r"^(-?\d{1,9}|-?(\d+(\.\d+)?(ms|s|m|h)){1,4})?$")]
"""How Ollama writes durations: 10m, 1h30m, or whole seconds; negative is for ever."""


class ProviderSettings(Table):
    """`[[assistant.providers]]`"""

    kind: Literal["ollama", "openai"]
    name: str
    base_url: Annotated[HttpUrl, Field(min_length=1)]
    api_key: SecretStr = SecretStr("")
    models: tuple[str, ...] = ()
    connect_timeout_seconds: Seconds = 5.0
    first_token_timeout_seconds: Seconds = 120.0
    idle_timeout_seconds: Seconds = 60.0
    retries: int = Field(2, ge=0, le=10)
    max_concurrency: int = Field(0, ge=0, le=1_000)
    context_tokens: int = Field(0, ge=0, le=10_000_000)
    keep_alive: KeepAlive = ""

    @field_validator("name")
    @classmethod
    def _name_is_plain(cls, value: str) -> str:
        if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,31}", value):
            raise ValueError("must have 1 to 32 characters of a-z, 0-9, _ and -, and begin with a letter or digit")
        return value


class AssistantSettings(Table):
    """`[assistant]`"""

    default_model: str = ""
    system_prompt: str = Field("", max_length=20_000)
    max_concurrency: int = Field(8, ge=1, le=1_000)
    max_queued: int = Field(200, ge=1, le=100_000)
    max_queued_per_user: int = Field(20, ge=1, le=100_000)
    context_tokens: int = Field(0, ge=0, le=100_000_000)
    prompt_characters: int = Field(24_000, ge=1_000, le=10_000_000)
    max_reply_bytes: int = Field(1_048_576, ge=1_024, le=67_108_864)
    deadline_seconds: Seconds = 600.0
    lease_seconds: float = Field(15.0, ge=2, le=600)
    lease_heartbeat_seconds: float = Field(5.0, ge=0.5, le=300)
    shutdown_grace_seconds: float = Field(20.0, ge=0, le=600)
    ollama_base_url: HttpUrl = "http://127.0.0.1:11434"
    ollama_context_tokens: int = Field(0, ge=0, le=10_000_000)
    ollama_keep_alive: KeepAlive = ""
    openai_base_url: HttpUrl = ""
    openai_api_key: SecretStr = SecretStr("")
    demo: DemoSettings = DemoSettings()
    llama_cpp: LlamaCppSettings = LlamaCppSettings()
    providers: tuple[ProviderSettings, ...] = ()

    @field_validator("ollama_base_url")
    @classmethod
    def _root_not_api(cls, value: str) -> str:
        return value.removesuffix("/api")  # OLLAMA_API_BASE_URL is often written with it

    @model_validator(mode="after")
    def _heartbeat_within_lease(self) -> "AssistantSettings":
        if self.lease_heartbeat_seconds * 2 > self.lease_seconds:
            limit = self.lease_seconds / 2
            raise ValueError(
                f"lease_heartbeat_seconds ({self.lease_heartbeat_seconds}) must be at most half of lease_seconds ({limit})"
            )
        names = [provider.name for provider in self.providers]
        if len(set(names)) != len(names) or {"demo", "llama_cpp"} & set(names):
            raise ValueError("providers need distinct names other than 'demo' and 'llama_cpp'")
        return self


class LimitSettings(Table):
    """`[limits]`"""

    quota_generations: int = Field(-1, ge=-1, le=1_000_000_000)
    quota_tokens: int = Field(-1, ge=-1, le=1_000_000_000_000)
    quota_period_seconds: int = Field(86_400, ge=60, le=31_536_000)
    quota_reply_tokens: int = Field(1_000, ge=0, le=1_000_000)


class LoggingSettings(Table):
    """`[logging]`"""

    level: LogLevel = "info"
    format: Literal["auto", "text", "json"] = "auto"

    @field_validator("level", "format", mode="before")
    @classmethod
    def _lower(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value


class MetricsSettings(Table):
    """`[metrics]`"""

    token: SecretStr = SecretStr("")


def _default_data_dir() -> Path:
    return Path(platformdirs.user_data_dir("rustygpt", appauthor=False))


class Settings(Table):
    """The whole configuration, frozen. Parts of the program receive their own table, never this."""

    profile: Literal["dev", "prod"] = "dev"
    data_dir: Path = Field(default_factory=_default_data_dir)
    secret_key: SecretStr = SecretStr("")
    admin_email: str = ""
    admin_password: SecretStr = SecretStr("")
    admin_name: str = ""
    server: ServerSettings = ServerSettings()
    security: SecuritySettings = SecuritySettings()
    session: SessionSettings = SessionSettings()
    auth: AuthSettings = AuthSettings()
    oauth: OAuthSettings = OAuthSettings()
    database: DatabaseSettings = DatabaseSettings()
    sse: SseSettings = SseSettings()
    bus: BusSettings = BusSettings()
    assistant: AssistantSettings = AssistantSettings()
    limits: LimitSettings = LimitSettings()
    models: ModelSettings = ModelSettings()
    logging: LoggingSettings = LoggingSettings()
    metrics: MetricsSettings = MetricsSettings()
    features: FeaturesSettings = FeaturesSettings()
    well_known: tuple[WellKnownSettings, ...] = ()

    @field_validator("data_dir", mode="before")
    @classmethod
    def _empty_means_the_user_data_folder(cls, value: object) -> object:
        return _default_data_dir() if value == "" else value

    @field_validator("data_dir")
    @classmethod
    def _absolute(cls, value: Path) -> Path:
        return value.expanduser().absolute()

    @field_validator("secret_key")
    @classmethod
    def _secret_is_long(cls, value: SecretStr) -> SecretStr:
        if 0 < len(value.get_secret_value()) < 32:
            raise ValueError("must have at least 32 characters")
        return value

    @model_validator(mode="after")
    def _bus_reaches_every_worker(self) -> "Settings":
        if self.bus.kind == "auto":
            kind = "inprocess" if self.server.workers == 1 else "postgres"
            object.__setattr__(self, "bus", self.bus.model_copy(update={"kind": kind}))
        elif self.bus.kind == "inprocess" and self.server.workers > 1:
            raise ValueError(
                f'bus.kind = "inprocess" connects one process, and server.workers is {self.server.workers}; '
                'leave bus.kind out, or take "postgres" or "redis"'
            )
        return self

    @model_validator(mode="after")
    def _unkept_events_stay_in_one_process(self) -> "Settings":
        if not self.sse.persistence.enabled and (self.bus.kind != "inprocess" or self.server.workers > 1):
            raise ValueError(
                f"sse.persistence.enabled = false serves one process only, and server.workers is {self.server.workers}, bus.kind is "
                f'"{self.bus.kind}"; set sse.persistence.enabled = true, or workers to 1 and leave bus.kind out'
            )
        return self

    @model_validator(mode="after")
    def _administrator_is_complete(self) -> "Settings":
        if bool(self.admin_email) != bool(self.admin_password.get_secret_value()):
            raise ValueError("admin_email and admin_password must be set together")
        if 0 < len(self.admin_password.get_secret_value()) < self.auth.password_min_length:
            raise ValueError(f"admin_password must have at least {self.auth.password_min_length} characters")
        return self

    @model_validator(mode="after")
    def _no_placeholder_secrets_in_production(self) -> "Settings":
        if self.profile == "prod":
            for key, secret in self.secrets():
                if any(word in secret.get_secret_value().lower() for word in PLACEHOLDERS):
                    raise ValueError(f'{key} still holds a placeholder; profile = "prod" needs a secret of your own')
        return self

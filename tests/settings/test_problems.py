"""What a bad setting says: its key, what is allowed, the shape of what is there, and where it came from. Never a secret."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from rustygpt.settings import Settings, SettingsError
from rustygpt.settings_sources import load_settings

NOTHING = Path("/dev/null")  # an empty file


def said(environ: dict[str, str] | None = None, flags: dict | None = None, file: Path = NOTHING) -> str:
    with pytest.raises(SettingsError) as caught:
        load_settings(flags, config_file=file, environ=environ or {})
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "RUSTYGPT__SSE__FLUSH_MS",
            "900",
            "sse.flush_ms: must be a whole number between 0 and 250 (got int 900 from RUSTYGPT__SSE__FLUSH_MS)",
        ),
        ("PORT", "abc", "server.port: must be a whole number between 0 and 65535 (got text of 3 characters from PORT)"),
        ("PORT", "80.5", "server.port: must be a whole number between 0 and 65535 (got float 80.5 from PORT)"),
        (
            "RUSTYGPT__SSE__HEARTBEAT_SECONDS",
            "0",
            "sse.heartbeat_seconds: must be a number, more than 0 and at most 50 (got int 0 from RUSTYGPT__SSE__HEARTBEAT_SECONDS)",
        ),
        (
            "RUSTYGPT__SSE__HEARTBEAT_SECONDS",
            "nan",
            "sse.heartbeat_seconds: must be a number, more than 0 and at most 50 (got float nan from RUSTYGPT__SSE__HEARTBEAT_SECONDS)",
        ),
        ("ENABLE_SIGNUP", "perhaps", "auth.signup: must be true or false (got text of 7 characters from ENABLE_SIGNUP)"),
        (
            "LOG_LEVEL",
            "loud",
            "logging.level: must be one of debug, info, warning, error (got text of 4 characters from LOG_LEVEL)",
        ),
        (
            "TRUSTED_PROXIES",
            "10.0.0.0/8,proxy",
            "server.trusted_proxies: must be IP addresses or networks such as 10.0.0.0/8 (got a list of 2 from TRUSTED_PROXIES)",
        ),
        (
            "RUSTYGPT__ASSISTANT__PROVIDERS",
            "[1",
            "RUSTYGPT__ASSISTANT__PROVIDERS: this is not a JSON list: Expecting ',' delimiter at character 3",
        ),
        ("RUSTYGPT__SSE__FLUSHMS", "1", "RUSTYGPT__SSE__FLUSHMS: there is no setting sse.flushms; did you mean sse.flush_ms?"),
        ("RUSTYGPT__PORT", "1", "RUSTYGPT__PORT: there is no setting port; did you mean server.port?"),
        (
            "RUSTYGPT__SSE",
            "{}",
            "RUSTYGPT__SSE: there is no setting sse; it is a table, with settings such as sse.heartbeat_seconds",
        ),
        ("RUSTYGPT__PROFILE__X", "1", "RUSTYGPT__PROFILE__X: there is no setting profile.x; did you mean profile?"),
    ],
)
def test_bad_variable_says_key_range_shape_and_origin(name: str, text: str, message: str) -> None:
    """One line is enough to mend it."""
    assert said({name: text}) == message


def test_bad_file_names_every_problem_at_once(tmp_path: Path) -> None:
    """Nobody should have to start the server once for each mistake."""
    path = tmp_path / "c.toml"
    path.write_text(
        """
        nope = "x"
        profile = 3
        server = { port = true, host = 5 }
        sse.persistence = 3
        [[assistant.providers]]
        kind = "other"
        base_url = ""
        [empty]
        """,
        encoding="utf-8",
    )
    assert said(file=path).splitlines() == [
        f"profile: must be one of dev, prod (got int 3 from {path})",
        f"server.host: must be text (got int 5 from {path})",
        f"server.port: must be a whole number between 0 and 65535 (got true from {path})",
        f"sse.persistence: must be a table (got int 3 from {path})",
        f"assistant.providers.0.kind: must be one of ollama, openai (got text of 5 characters from {path})",
        "assistant.providers.0.name: is missing; it must be text",
        f"assistant.providers.0.base_url: must be text that is not empty (got empty text from {path})",
        f"nope: there is no such setting (got text of 1 character from {path})",
        f"empty: there is no such setting (got a table from {path})",
    ]


def test_value_where_a_table_belongs_is_named(tmp_path: Path) -> None:
    """`server = 5` in the file and PORT in the environment cannot both hold."""
    path = tmp_path / "c.toml"
    path.write_text("server = 5\n", encoding="utf-8")
    assert said({"PORT": "80"}, file=path) == "server: must be a table"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"database": {"pool_min": 9, "pool_max": 2}}, "database: pool_min (9) must not exceed pool_max (2)"),
        (
            {"session": {"idle_seconds": 10, "absolute_seconds": 5}},
            "session: idle_seconds (10) must not exceed absolute_seconds (5)",
        ),
        (
            {"assistant": {"lease_heartbeat_seconds": 9}},
            "assistant: lease_heartbeat_seconds (9.0) must be at most half of lease_seconds (7.5)",
        ),
        ({"admin_email": "a@b.example"}, "admin_email and admin_password must be set together"),
        ({"admin_email": "a@b.example", "admin_password": "short"}, "admin_password must have at least 8 characters"),
        (
            {"secret_key": "short"},
            "secret_key: must have at least 32 characters (got text of 5 characters from the command line)",
        ),
        (
            {"profile": "prod", "metrics": {"token": "ChangeMe"}},
            'metrics.token still holds a placeholder; profile = "prod" needs a secret of your own',
        ),
        (
            {
                "profile": "prod",
                "assistant": {
                    "providers": [{"kind": "openai", "name": "a", "base_url": "http://x", "api_key": "your-secret-key"}]
                },
            },
            'assistant.providers.0.api_key still holds a placeholder; profile = "prod" needs a secret of your own',
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused(flags: dict, message: str) -> None:
    """Rules over several keys name them all."""
    assert said(flags=flags) == message


def test_placeholders_are_allowed_in_development() -> None:
    """`profile = "dev"` starts with the secrets of an example file."""
    assert load_settings({"metrics": {"token": "changeme"}}, config_file=NOTHING, environ={}).profile == "dev"


def test_provider_names_are_distinct() -> None:
    """Two providers of one name could not be told apart in the list of models."""
    provider = {"kind": "ollama", "name": "home", "base_url": "http://a"}
    assert "distinct names" in said(flags={"assistant": {"providers": [provider, provider]}})
    assert "1 to 32 characters" in said(flags={"assistant": {"providers": [{**provider, "name": "Home!"}]}})


def test_redis_needs_its_place() -> None:
    """The bus "redis" without an address is refused with both names of the key; a malformed address by its shape alone."""
    assert said({"RUSTYGPT__BUS__KIND": "redis"}) == (
        'bus: kind = "redis" needs url (REDIS_URL), such as redis://:password@host:6379/0'
    )
    assert said({"REDIS_URL": "http://h"}) == (
        "bus.url: must start with redis://, rediss:// or unix:// (got text of 8 characters from REDIS_URL)"
    )
    assert "bus.url: must be redis://user" in said({"REDIS_URL": "redis://:a/b@h:port"})


@pytest.mark.parametrize(
    ("environ", "words"),
    [
        ({"RUSTYGPT__BUS__KIND": "postgres"}, 'server.workers is 1, bus.kind is "postgres"'),
        ({"RUSTYGPT__SERVER__WORKERS": "2"}, 'server.workers is 2, bus.kind is "postgres"'),
        ({"RUSTYGPT__BUS__KIND": "redis", "REDIS_URL": "redis://h"}, 'server.workers is 1, bus.kind is "redis"'),
    ],
)
def test_events_that_are_not_kept_need_one_process(environ: dict[str, str], words: str) -> None:
    """sse.persistence.enabled = false with a bus or workers is refused, with what is set and both ways out."""
    message = said({"RUSTYGPT__SSE__PERSISTENCE__ENABLED": "false", **environ})
    assert message == (
        f"sse.persistence.enabled = false serves one process only, and {words}; "
        "set sse.persistence.enabled = true, or workers to 1 and leave bus.kind out"
    )


SECRET_KEYS = [
    key for key, _ in Settings(assistant={"providers": [{"kind": "openai", "name": "a", "base_url": "http://x"}]}).secrets()
]


@given(
    secret=st.text(st.characters(codec="ascii", categories=["L", "N", "P"]), min_size=12, max_size=40).filter(
        lambda s: "secret" not in s
    ),
    place=st.sampled_from(
        ["secret_key", "database.url", "bus.url", "admin_password", "nope", "sse.nope", "logging.level", "server.public_url"]
    ),
)
def test_no_message_repeats_a_secret(secret: str, place: str) -> None:
    """A secret in a wrong place, or a wrong secret in its place, is described by its length alone."""
    value = f"Zq{secret}"
    flags: dict = {"sse": {"flush_ms": 900}}
    *tables, last = place.split(".")
    table = flags
    for name in tables:
        table = table.setdefault(name, {})
    table[last] = value
    assert value not in said(flags=flags)


def test_secrets_are_found_by_their_type() -> None:
    """The masks of `config show` and the check for placeholders cover every secret, also within a list of tables."""
    assert set(SECRET_KEYS) == {
        "secret_key",
        "admin_password",
        "database.url",
        "bus.url",
        "assistant.providers.0.api_key",
        "assistant.openai_api_key",
        "oauth.github.client_secret",
        "oauth.apple.private_key",
        "models.hf_token",
        "metrics.token",
    }
    assert all(isinstance(secret, SecretStr) for _, secret in Settings().secrets())


def test_settings_are_frozen() -> None:
    """A running server never changes its mind."""
    with pytest.raises(ValueError, match="frozen"):
        Settings().server.port = 1  # type: ignore[misc]

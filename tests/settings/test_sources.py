"""Which source wins, and what becomes of a value that no source may give."""

import logging
import os
import threading
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
from pydantic import SecretStr
from pydantic.fields import FieldInfo

from rustygpt.settings import KeepAlive, Settings, SettingsError
from rustygpt.settings_problems import all_fields, is_list
from rustygpt.settings_sources import WELL_KNOWN, load_settings, load_settings_with_origins

REPOSITORY = Path(__file__).parents[2]
PORT_IN_FILE = "[server]\nport = 5001\n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(PORT_IN_FILE, encoding="utf-8")
    return path


def test_annotated_file_says_exactly_the_defaults() -> None:
    """The config.toml of the repository, read with an empty environment, is the same as no file at all."""
    assert load_settings(config_file=REPOSITORY / "config.toml", environ={}) == Settings()


@pytest.mark.parametrize(
    ("flags", "environ", "port", "origin"),
    [
        ({"server": {"port": 5004}}, {"RUSTYGPT__SERVER__PORT": "5003", "PORT": "5002"}, 5004, "the command line"),
        ({}, {"RUSTYGPT__SERVER__PORT": "5003", "PORT": "5002"}, 5003, "RUSTYGPT__SERVER__PORT"),
        ({}, {"PORT": "5002"}, 5002, "PORT"),
        ({}, {}, 5001, None),
    ],
)
def test_stronger_source_wins(file: Path, flags: dict, environ: dict[str, str], port: int, origin: str | None) -> None:
    """Flag beats RUSTYGPT__, which beats the well-known name, which beats the file; each value knows where it came from."""
    loaded = load_settings_with_origins(flags, config_file=file, environ=environ)
    assert loaded.settings.server.port == port
    assert loaded.origins["server.port"] == (origin or str(file))


def test_sources_are_merged_key_by_key(file: Path) -> None:
    """A variable that sets one key of a table leaves the file's other keys of that table alone."""
    settings = load_settings(config_file=file, environ={"HOST": "0.0.0.0"})
    assert (settings.server.host, settings.server.port) == ("0.0.0.0", 5001)


def test_empty_variable_counts_as_not_set(file: Path) -> None:
    """Compose files pass `PORT=` for what nobody set."""
    assert load_settings(config_file=file, environ={"PORT": "", "RUSTYGPT__SERVER__PORT": ""}).server.port == 5001


@pytest.mark.parametrize("name", WELL_KNOWN)
def test_every_well_known_name_reaches_its_setting(file: Path, name: str) -> None:
    """Each name in the table sets the key beside it, and that key exists."""
    text = {
        "DATABASE_URL": "postgres://h/d",
        "REDIS_URL": "redis://h",
        "PORT": "5009",
        "PUBLIC_URL": "https://chat.example.org/",
        "TRUSTED_PROXIES": "10.0.0.0/8, ::1",
        "RUSTYGPT_SECRET_KEY": "k" * 32,
        "ENABLE_SIGNUP": "true",
        "DEFAULT_USER_ROLE": "pending",
        "OLLAMA_BASE_URL": "http://ollama:11434",
        "OLLAMA_API_BASE_URL": "http://ollama:11434/api",
        "OPENAI_API_BASE_URL": "http://llm/v1",
        "CONTEXT_SIZE": "2048",
        "LOG_LEVEL": "DEBUG",
        "LOG_FORMAT": "json",
    }.get(name, "https://id.example" if name.endswith(("_URL", "_URI")) else "a-long-enough-value")
    partners = partners_of(".".join(WELL_KNOWN[name]))
    loaded = load_settings_with_origins(config_file=file, environ={**partners, name: text})
    value: object = loaded.settings
    for key in WELL_KNOWN[name]:
        value = getattr(value, key)
    assert loaded.origins[".".join(WELL_KNOWN[name])] == name
    if isinstance(value, SecretStr):
        assert value.get_secret_value() == text


def partners_of(key: str) -> dict[str, str]:
    """Variables of what must be set together with *key*."""
    if key in {"admin_email", "admin_password"}:
        return {"RUSTYGPT_ADMIN_EMAIL": "partner-of-it", "RUSTYGPT_ADMIN_PASSWORD": "partner-of-it"}
    if key.startswith("oauth.github."):
        return {"GITHUB_CLIENT_ID": "partner-of-it", "GITHUB_CLIENT_SECRET": "partner-of-it"}
    if key.startswith("oauth.apple."):
        names = ["APPLE_CLIENT_ID", "APPLE_TEAM_ID", "APPLE_KEY_ID"]
        names += [] if key.startswith("oauth.apple.private_key") else ["APPLE_PRIVATE_KEY"]
        return dict.fromkeys(names, "partner-of-it")
    return {}


KEEP_ALIVE_PATTERN = get_args(KeepAlive)[1].metadata[0].pattern


def some_value(field: FieldInfo) -> str:
    """A text that the setting takes and that is not its default."""
    default = field.get_default(call_default_factory=True)
    if is_list(field):
        return "192.0.2.0/24"
    if get_origin(field.annotation) is Literal:
        return str(next(choice for choice in get_args(field.annotation) if choice != default))
    if any(getattr(rule, "pattern", None) == KEEP_ALIVE_PATTERN for rule in field.metadata):
        return "10m"
    match default:
        case bool():
            return str(not default).lower()
        case int() | float():
            return str(default / 2 if isinstance(default, float) else default + 1)
        case _:
            return "http://elsewhere.example"


@pytest.mark.parametrize(
    ("key", "field"),
    [(key, field) for key, field in all_fields(Settings) if "[]" not in key and key not in ("assistant.providers", "well_known")],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("shape", [str.upper, str.lower])
def test_every_setting_has_a_prefixed_name(key: str, field: FieldInfo, shape) -> None:
    """RUSTYGPT__SECTION__KEY, in capitals or not, sets any setting; a secret's value reaches it whole."""
    name = shape("RUSTYGPT__" + key.replace(".", "__"))
    special = {
        "secret_key": "k" * 32,
        "database.url": "postgres://h/d",
        "bus.url": "redis://h",
        "assistant.lease_seconds": "20",
        "server.cors.allow_origins": "https://app.example.org",
    }
    text = special.get(key) or some_value(field)
    loaded = load_settings_with_origins(config_file=Path("/dev/null"), environ={**partners_of(key), name: text})
    value: object = loaded.settings
    for part in key.split("."):
        value = getattr(value, part)
    assert value != field.get_default(call_default_factory=True)
    assert loaded.origins[key] == name
    if isinstance(value, SecretStr):
        assert value.get_secret_value() == text


def test_only_the_given_environment_is_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables of this process do not come in beside those that were handed over."""
    for name in ("RUSTYGPT__SERVER__PORT", "SERVER", "PORT", "PROFILE"):
        monkeypatch.setenv(name, "5009")
    assert load_settings(config_file=file, environ={}).server.port == 5001
    monkeypatch.setenv("PROFILE", "prod")
    loaded = load_settings_with_origins(config_file=file)
    assert (loaded.settings.profile, loaded.origins["server.port"]) == ("dev", "RUSTYGPT__SERVER__PORT")


def test_capitals_in_the_file_are_no_setting(tmp_path: Path) -> None:
    """`[Server]` is refused, not taken for `[server]`."""
    path = tmp_path / "c.toml"
    path.write_text("[Server]\nport = 5001\n", encoding="utf-8")
    with pytest.raises(SettingsError, match="Server: there is no such setting"):
        load_settings(config_file=path, environ={})


def test_table_without_keys_leaves_room_for_variables(tmp_path: Path) -> None:
    """`[server]` with every line below it commented out is a table like any other."""
    path = tmp_path / "c.toml"
    path.write_text("[server]\n", encoding="utf-8")
    assert load_settings(config_file=path, environ={"PORT": "5002"}).server.port == 5002


def test_file_may_be_a_pipe(tmp_path: Path) -> None:
    """`--config <(decrypt config.toml)` works: what can be opened is read."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(PORT_IN_FILE,), daemon=True)
    writer.start()
    assert load_settings(config_file=pipe, environ={}).server.port == 5001
    writer.join(timeout=60)


def test_no_source_logs_its_values(file: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """PYDANTIC_SETTINGS_DEBUG, which makes the library log what each source gave, finds no secret to log."""
    monkeypatch.setenv("PYDANTIC_SETTINGS_DEBUG", "1")
    with caplog.at_level(logging.DEBUG):
        load_settings(config_file=file, environ={"METRICS_TOKEN": "a-secret-of-this-test"})
    assert "a-secret-of-this-test" not in caplog.text


def test_lists_come_from_commas_or_json(file: Path) -> None:
    """`TRUSTED_PROXIES=a,b` and a JSON list say the same."""
    expected = ("10.0.0.0/8", "::1")
    assert load_settings(config_file=file, environ={"TRUSTED_PROXIES": "10.0.0.0/8, ::1"}).server.trusted_proxies == expected
    as_json = {"RUSTYGPT__SERVER__TRUSTED_PROXIES": '["10.0.0.0/8", "::1"]'}
    assert load_settings(config_file=file, environ=as_json).server.trusted_proxies == expected


def test_providers_come_from_the_file_or_json(tmp_path: Path) -> None:
    """`[[assistant.providers]]` can be written as a table or given as JSON in one variable."""
    path = tmp_path / "c.toml"
    path.write_text('[[assistant.providers]]\nkind = "openai"\nname = "groq"\nbase_url = "https://g/v1/"\n', encoding="utf-8")
    (from_file,) = load_settings(config_file=path, environ={}).assistant.providers
    variable = {"RUSTYGPT__ASSISTANT__PROVIDERS": '[{"kind":"openai","name":"groq","base_url":"https://g/v1"}]'}
    (from_variable,) = load_settings(config_file=path, environ=variable).assistant.providers
    assert from_file == from_variable
    assert from_file.base_url == "https://g/v1"


def test_file_is_taken_from_rustygpt_config_or_the_working_folder(
    file: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """$RUSTYGPT_CONFIG names the file; without it `config.toml` in the working folder is read, where there is one."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    assert load_settings(environ={}).server.port == 8080
    assert load_settings(environ={"RUSTYGPT_CONFIG": str(file)}).server.port == 5001
    monkeypatch.chdir(file.parent)
    assert load_settings(environ={}).server.port == 5001


def test_named_file_that_is_missing_stops_the_start(tmp_path: Path) -> None:
    """A typing mistake in --config must not silently mean the defaults."""
    with pytest.raises(SettingsError, match=r"nothing\.toml: there is no such configuration file"):
        load_settings(config_file=tmp_path / "nothing.toml", environ={})


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"a = ", "this is not TOML"), (b"a = '\xff'", "cannot be read: it is not UTF-8")],
)
def test_unreadable_file_stops_the_start(tmp_path: Path, content: bytes, said: str) -> None:
    """The message names the file and what is the matter with it."""
    path = tmp_path / "bad.toml"
    path.write_bytes(content)
    with pytest.raises(SettingsError, match=said) as caught:
        load_settings(config_file=path, environ={})
    assert str(caught.value).startswith(str(path))


def test_data_dir_is_absolute_and_knows_home(file: Path) -> None:
    """`~` means the home folder, and a relative folder stays where the server was started."""
    assert load_settings(config_file=file, environ={"RUSTYGPT_DATA_DIR": "~/chat"}).data_dir == Path.home() / "chat"
    assert load_settings(config_file=file, environ={"RUSTYGPT_DATA_DIR": "chat"}).data_dir == Path.cwd() / "chat"


@pytest.mark.parametrize("text", ['{"kind": "openai"}', "openai", '["openai"'])
def test_list_of_tables_that_is_no_list_is_called_so(text: str) -> None:
    """A variable for a list of tables says which JSON it wants, not what became of it between commas."""
    with pytest.raises(
        SettingsError, match=r"^RUSTYGPT__ASSISTANT__PROVIDERS: (must be a JSON list of tables|this is not a JSON list)"
    ):
        load_settings(environ={"RUSTYGPT__ASSISTANT__PROVIDERS": text})

"""`rustygpt config show`."""

import json
import tomllib
from pathlib import Path

from rustygpt.settings import Settings
from tests.cli.command import REPOSITORY, rustygpt

SECRETS = {
    "DATABASE_URL": "postgres://chat:hidden-one@db/chat",
    "RUSTYGPT_SECRET_KEY": "hidden-two-" + "k" * 32,
    "RUSTYGPT_ADMIN_EMAIL": "ada@example.org",
    "RUSTYGPT_ADMIN_PASSWORD": "hidden-three",
    "OPENAI_API_KEY": "sk-hidden-four",
    "METRICS_TOKEN": "hidden-five",
    "RUSTYGPT__ASSISTANT__PROVIDERS": '[{"kind":"openai","name":"groq","base_url":"https://g/v1","api_key":"hidden-six"}]',
}


def test_text_is_toml_with_every_setting_and_its_origin(tmp_path: Path) -> None:
    """What is printed can be read back, has every key, and says where a value comes from unless it is the default."""
    run = rustygpt("config", "show", "--data-dir", str(tmp_path), cwd=tmp_path, extra={"PORT": "5001"})
    shown = tomllib.loads(run.stdout)
    expected = Settings(data_dir=tmp_path, server={"port": 5001}).model_dump(mode="json")
    assert shown == expected
    assert "port = 5001  # from PORT" in run.stdout.splitlines()
    assert f'data_dir = "{tmp_path}"  # from the command line' in run.stdout.splitlines()
    assert run.stdout.count("# from") == 2


def test_secrets_are_masked_in_both_forms(tmp_path: Path) -> None:
    """A secret that is set is shown as a mask of one length; nothing of it appears."""
    for form in ([], ["--json"]):
        run = rustygpt("config", "show", *form, cwd=tmp_path, extra=SECRETS)
        assert run.returncode == 0, run.stderr
        assert "hidden" not in run.stdout + run.stderr
        assert run.stdout.count('"********"') == 6


def test_json_has_values_and_origins(tmp_path: Path) -> None:
    """Programs get the same: settings as nested objects, origins by dotted key."""
    (tmp_path / "config.toml").write_text("[sse]\nflush_ms = 7\n", encoding="utf-8")
    shown = json.loads(rustygpt("config", "show", "--json", cwd=tmp_path, extra={"LOG_LEVEL": "error"}).stdout)
    assert shown["settings"]["sse"]["flush_ms"] == 7
    assert shown["origins"] == {"sse.flush_ms": "config.toml", "logging.level": "LOG_LEVEL"}


def test_annotated_file_is_shown_as_the_defaults(tmp_path: Path) -> None:
    """With the repository's config.toml nothing differs from a start without a file."""
    file = str(REPOSITORY / "config.toml")
    with_file = rustygpt("config", "show", "--config", file, cwd=tmp_path)
    assert with_file.stdout == rustygpt("config", "show", cwd=tmp_path).stdout

"""A provider is on, off, or the start stops with what is missing; its key is looked at before anybody signs in."""

import re
from pathlib import Path
from typing import Any

import pytest
from joserfc.jwk import ECKey, RSAKey

from rustygpt.auth.oauth import build_providers
from rustygpt.auth.oauth_failure import DETAILS
from rustygpt.settings import SettingsError
from rustygpt.settings_oauth import OAuthSettings
from rustygpt.settings_sources import load_settings
from tests.architecture.source_tree import REPOSITORY

NOTHING = Path("/dev/null")
GITHUB = {"GITHUB_CLIENT_ID": "Iv1.x", "GITHUB_CLIENT_SECRET": "secret of ours"}
APPLE = {"APPLE_CLIENT_ID": "org.example.x", "APPLE_TEAM_ID": "TEAM", "APPLE_KEY_ID": "KEY", "APPLE_PRIVATE_KEY": "pem"}


def test_nothing_is_on_by_default() -> None:
    """Addresses alone, which build machines set for everybody, switch nothing on."""
    settings = load_settings(
        config_file=NOTHING, environ={"GITHUB_API_URL": "https://api.github.com", "APPLE_ISSUER": "https://x.example"}
    )
    assert build_providers(settings.oauth) == {}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"GITHUB_CLIENT_ID": "x"}, "oauth.github: client_secret is missing"),
        ({"GITHUB_CLIENT_SECRET": "x"}, "oauth.github: client_id is missing"),
        ({"GITHUB_REDIRECT_URI": "https://x.example"}, "oauth.github: client_id, client_secret are missing"),
        ({"APPLE_CLIENT_ID": "x"}, "oauth.apple: team_id, key_id, private_key (or private_key_path) are missing"),
        ({**APPLE, "APPLE_TEAM_ID": ""}, "oauth.apple: team_id is missing"),
        ({**APPLE, "APPLE_PRIVATE_KEY": ""}, "oauth.apple: private_key (or private_key_path) is missing"),
        ({**APPLE, "APPLE_PRIVATE_KEY_PATH": "/k.p8"}, "oauth.apple: private_key and private_key_path are both set"),
        ({**GITHUB, "GITHUB_TOKEN_URL": "ftp://x"}, "oauth.github.token_url: must start with http:// or https://"),
    ],
)
def test_half_a_provider_stops_the_start(given: dict[str, str], message: str) -> None:
    """With the key that is missing, and without any value."""
    with pytest.raises(SettingsError) as caught:
        load_settings(config_file=NOTHING, environ=given)
    assert message in str(caught.value)
    assert "secret of ours" not in str(caught.value)


def test_placeholder_secret_stops_production() -> None:
    """As for every other secret."""
    with pytest.raises(SettingsError, match=r"oauth\.github\.client_secret still holds a placeholder"):
        load_settings({"profile": "prod"}, config_file=NOTHING, environ={**GITHUB, "GITHUB_CLIENT_SECRET": "changeme"})


def _apple(**fields: Any) -> OAuthSettings:
    return OAuthSettings.model_validate({"apple": {"client_id": "x", "team_id": "T", "key_id": "K", **fields}})


def test_apples_key_is_read_from_text_or_file(tmp_path: Path) -> None:
    r"""With real line ends, with \n in their place, and from a file."""
    pem = ECKey.generate_key("P-256", private=True).as_pem(private=True).decode()
    (tmp_path / "key.p8").write_text(pem)
    for fields in (
        {"private_key": pem},
        {"private_key": pem.replace("\n", "\\n")},
        {"private_key_path": str(tmp_path / "key.p8")},
    ):
        assert list(build_providers(_apple(**fields))) == ["apple"]


def test_useless_key_stops_the_start(tmp_path: Path) -> None:
    """No key, another kind of key, a public one, a missing file: named, without a word of what is in it."""
    wrong = {
        "no text of a key": "is no key",
        "é": "is no key",
        RSAKey.generate_key(2048, private=True).as_pem(private=True).decode(): "is no key",
        ECKey.generate_key("P-384", private=True).as_pem(private=True).decode(): "another kind of key",
        ECKey.generate_key("P-256", private=True).as_pem(private=False).decode(): "another kind of key",
    }
    for text, message in wrong.items():
        with pytest.raises(SettingsError, match=rf"^oauth\.apple\.private_key: .*{message}") as caught:
            build_providers(_apple(private_key=text))
        assert text.strip() not in str(caught.value)
    with pytest.raises(SettingsError, match=r"^oauth\.apple\.private_key_path: the file cannot be read: No such file"):
        build_providers(_apple(private_key_path=str(tmp_path / "none.p8")))


def test_errors_page_lists_every_reason() -> None:
    """docs/reference/errors.md has a row for each word that the sign-in page may be given, and none more."""
    page = (REPOSITORY / "docs" / "reference" / "errors.md").read_text(encoding="utf-8").split("## Signing in by a provider")[1]
    assert set(re.findall(r"^\| `([a-z_]+)` \|", page, re.MULTILINE)) == set(DETAILS)

"""The client secret that Apple wants: no fixed word but a short-lived statement, signed by the key of the developer's account.

Apple's documentation, "Creating a client secret": ES256, issuer the team, subject the client, audience Apple, at most six months.
"""

import time
from pathlib import Path
from typing import Final

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jwk import ECKey

from rustygpt.settings import SettingsError
from rustygpt.settings_oauth import AppleSettings

LIFETIME_SECONDS: Final = 3_600
RENEW_SECONDS: Final = 300
"""A statement with less to live than this is replaced."""


class AppleClientSecret:
    """Makes the statement and keeps it until shortly before its end. Raises SettingsError at once for a key that is none."""

    def __init__(self, settings: AppleSettings) -> None:
        self._settings = settings
        self._key = _load_key(settings)
        self._token = ""
        self._expires_at = 0

    def current(self) -> str:
        """Return a statement that is good for five minutes at least."""
        now = int(time.time())
        if self._expires_at - now < RENEW_SECONDS:
            self._expires_at = now + LIFETIME_SECONDS
            claims = {
                "iss": self._settings.team_id,
                "iat": now,
                "exp": self._expires_at,
                "aud": self._settings.issuer,
                "sub": self._settings.client_id,
            }
            header = {"alg": "ES256", "kid": self._settings.key_id}
            self._token = jwt.encode(header, claims, self._key, algorithms=["ES256"], default_type=None)
        return self._token


def _load_key(settings: AppleSettings) -> ECKey:
    path = settings.private_key_path
    name = "oauth.apple.private_key_path" if path else "oauth.apple.private_key"
    try:
        # In a variable the lines of a key are often written with \n between them.
        pem = Path(path).expanduser().read_text("ascii") if path else settings.private_key.get_secret_value().replace("\\n", "\n")
        key = ECKey.import_key(pem.strip().encode("ascii"))
    except OSError as error:
        raise SettingsError(f"{name}: the file cannot be read: {error.strerror}") from None
    except (JoseError, ValueError, TypeError):
        raise SettingsError(f"{name}: is no key; it must be the .p8 file of the developer's account (PEM, P-256)") from None
    if key.curve_name != "P-256" or not key.is_private:
        raise SettingsError(f"{name}: is another kind of key; Apple's are private keys of the curve P-256")
    return key

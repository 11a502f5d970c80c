"""The first administrator from the settings, for installations that nobody clicks through. Does nothing once there was one."""

import structlog

from rustygpt.auth import procedures
from rustygpt.auth.fields import check_display_name, check_email, check_password
from rustygpt.auth.passwords import Passwords
from rustygpt.database.pool import Database
from rustygpt.errors import Conflict
from rustygpt.settings import Settings, SettingsError

log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


async def ensure_first_administrator(database: Database, passwords: Passwords, settings: Settings) -> bool:
    """Create the administrator of `admin_email` and `admin_password` if set-up is open; say whether that was done.

    `admin_name` defaults to the address's first part. *passwords* must be open. Several processes may call this at once. Raises
    SettingsError when one of them cannot be used. Once set-up is done, these settings change nothing.
    """
    email, password = settings.admin_email, settings.admin_password.get_secret_value()
    if not email or not password or await procedures.is_set_up(database):
        return False
    email, name = _checked(email, password, settings)
    try:
        user = await procedures.create_first_administrator(
            database, email=email, display_name=name, password_hash=await passwords.hash(password)
        )
    except Conflict:
        if await procedures.is_set_up(database):
            return False  # another process was faster
        raise SettingsError("admin_email: there is already an account with this address") from None
    log.info("user_created", user_id=str(user.id), role=user.role, method="settings")
    return True


def _checked(email: str, password: str, settings: Settings) -> tuple[str, str]:
    key = "admin_email"
    try:
        address = check_email(email)
        key = "admin_password"
        check_password(password, settings.auth.password_min_length)
        key = "admin_name"
        name = check_display_name(settings.admin_name or address.partition("@")[0][:80])
    except ValueError as error:
        raise SettingsError(f"{key}: {error}") from None
    return address, name

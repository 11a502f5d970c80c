"""`GET /api/config`: the settings in force. Secrets are masked before anything else happens to them, once, when the process starts.

There is nothing to change here: a running server's settings are frozen, and no process could tell the others that they are not.
"""

from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from typing_extensions import TypedDict

from rustygpt.auth.actor import admin_of
from rustygpt.http.response import json_response
from rustygpt.operation import operation
from rustygpt.settings_table import Table


class EffectiveSettings(TypedDict):
    """The settings in force; docs/reference/settings.md explains each."""

    settings: dict[str, Any]


class ConfigRoutes:
    """For administrators."""

    def __init__(self, settings: Table) -> None:
        self._masked = settings.masked()

    @property
    def routes(self) -> list[Route]:
        """The routes, to be mounted at the top."""
        return [Route("/api/config", self.read, methods=["GET"])]

    @operation("read_config", tag="Administration", who="administrator", answers={200: EffectiveSettings})
    async def read(self, request: Request) -> Response:
        """Read the settings in force, as nested tables; secrets are masked."""
        admin_of(request)
        return json_response({"settings": self._masked})

"""The library put together: what the application builds, opens and ends as one thing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from starlette.routing import Route

from rustygpt.models.folder import Folder
from rustygpt.models.library import Library
from rustygpt.models.orders import Orders
from rustygpt.models.part_file import in_thread
from rustygpt.models.progress import ProgressStreams
from rustygpt.models.routes import ModelRoutes
from rustygpt.models.runner import JobRunner
from rustygpt.models.upload import Uploads

if TYPE_CHECKING:
    from rustygpt.database.call import Caller
    from rustygpt.http.cursors import PageCursors
    from rustygpt.models.shelf import Shelf
    from rustygpt.settings_models import ModelSettings
    from rustygpt.signals import Announcer, SignalKind


class ModelLibrary:
    """The parts of the library. *is_alone*: no other process serves this database."""

    def __init__(
        self, database: Caller, shelf: Shelf, settings: ModelSettings, announcer: Announcer, *, data_dir: Path, is_alone: bool
    ) -> None:
        self._database = database
        self._announcer = announcer
        self._folder = folder = Folder(settings.folder_in(data_dir), settings.min_free_bytes)
        self.library = Library(database, shelf, folder, announcer)
        self.orders = Orders(database, shelf, folder, settings)
        self.runner = JobRunner(database, shelf, folder, settings, announcer, is_alone=is_alone)
        self._uploads = Uploads(database, shelf, folder, settings)
        self._progress = ProgressStreams()

    def routes(self, cursors: PageCursors, max_body_bytes: int) -> list[Route]:
        """Return the routes, to be mounted at the top."""
        return ModelRoutes(
            self._database,
            self._announcer,
            cursors,
            self.library,
            self.orders,
            self._uploads,
            self._progress,
            max_body_bytes,
        ).routes

    def on_signal(self, kind: SignalKind, key: str) -> None:
        """Hear what others did."""
        self.runner.on_signal(kind, key)
        self._progress.on_signal(kind, key)

    def begin_drain(self) -> None:
        """Claim no more jobs, and end the streams."""
        self.runner.begin_drain()
        self._progress.begin_drain()

    async def run(self) -> None:
        """Work until cancelled. The folder is made first, so that who looks for it finds it."""
        await in_thread(self._folder.make)
        await self.runner.run()

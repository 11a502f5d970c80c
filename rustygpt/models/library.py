"""The library: what is known of each model, and how one goes.

Which models there are is the providers' word; where a file came from is the database's; neither is asked for what the other knows.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import structlog

from rustygpt.errors import (
    BadRequest,
    Conflict,
    DomainError,
    FieldError,
    Invalid,
    NotFound,
    TooLarge,
    Unavailable,
)
from rustygpt.models.failure import FailureCode, ModelFailure
from rustygpt.models.folder import Folder
from rustygpt.models.notes import describe
from rustygpt.models.part_file import in_thread
from rustygpt.models.procedures import FileRow, list_model_files, note_model_removed, require_model_admin, require_model_unused
from rustygpt.models.shelf import Shelf, ShelfModel, ShelfView

if TYPE_CHECKING:
    from rustygpt.database.call import Caller
    from rustygpt.ids import UserId
    from rustygpt.signals import Announcer

CHAT: Final = "chat"
RETRY_AFTER_SECONDS: Final = 30
FOLDER_WORDS: Final = "the models folder of the data directory"
"""How the notice calls the folder."""

log = structlog.get_logger(__name__)


class Library:
    """What administrators, and the page of everybody, see of the models. *folder* is where files are."""

    def __init__(self, database: Caller, shelf: Shelf, folder: Folder, announcer: Announcer) -> None:
        self._database = database
        self._shelf = shelf
        self._folder = folder
        self._announcer = announcer

    async def list(self, *, is_for_administrator: bool) -> dict[str, Any]:
        """Return all models, the default and why it is that, as JSON has it. Raises Unavailable.

        Administrators are told where the folder for models is; to others the server's disk is nothing.
        """
        view, noted = await self._shelf.view(), await self._noted()
        items = [_item(model, noted.get(model.id) if model.kind == "file" else None) for model in view.models]
        return {
            "items": [item for item in items if CHAT in item["uses"]],
            "others": [item for item in items if CHAT not in item["uses"]],
            "default_model": view.default_model,
            "notice": view.notice.replace(FOLDER_WORDS, str(self._folder.path)) if is_for_administrator else view.notice,
            "providers": [{"state": "failing" if each.reason else "ok", **asdict(each)} for each in view.providers],
        }

    async def show(self, name: str) -> dict[str, Any]:
        """Return all that is known of one model. Raises NotFound, Unavailable."""
        model = _find(await self._shelf.view(), name)
        if model is None:
            raise NotFound("There is no such model.")
        row = (await self._noted()).get(model.id) if model.kind == "file" else None
        details: dict[str, Any] = {"architecture": None, "title": None, "trained_context_tokens": None}
        if row is None and model.kind == "file":
            header = await in_thread(self._folder.header, model.id)
            details |= describe(header) if header else {}
        elif row is not None:
            details |= row.details
        else:
            details |= await self._described(model)
        noted = {"sha256": row.sha256 if row else None, "added_at": row.added_at if row else None}
        return {**_item(model, row), **details, **noted}

    async def delete(self, name: str, *, actor: UserId | None) -> None:
        """Delete a model; *actor* None is whoever runs the server. Raises Forbidden, NotFound, Conflict, Unavailable."""
        if actor is not None:
            await require_model_admin(self._database, actor=actor)
        model = _find(await self._shelf.view(), name) or await self._find_file(name)
        if model is None:
            raise NotFound("There is no such model.")
        if model.kind == "other":
            raise Conflict(f"Models of {model.provider} are not kept by this server, so it cannot delete them.")
        await require_model_unused(self._database, provider=model.provider, model=model.id)
        try:
            if not await (self._delete_file(model) if model.kind == "file" else self._shelf.remove(model.provider, model.id)):
                raise NotFound("There is no such model.")
        except ModelFailure as failure:
            raise domain_error(failure) from None
        await note_model_removed(self._database, actor=actor, provider=model.provider, model=model.id)
        log.info("model_deleted", provider=model.provider, model=model.id)
        await self.changed()

    async def changed(self) -> None:
        """Let everybody know that there are other models, this process first."""
        self._announcer.signal("models_changed")
        await self._shelf.look_again()

    async def _delete_file(self, model: ShelfModel) -> bool:
        if not await in_thread(self._folder.files, model.id):
            raise Conflict("This file is not in the models folder, so it is not deleted from here.")
        if not await self._shelf.unload(model.provider, model.id):
            raise Conflict("This model is writing a reply. Wait for its end, or stop it.")
        return await in_thread(self._folder.delete, model.id)

    async def _find_file(self, name: str) -> ShelfModel | None:
        """Find a file of the folder that no provider offers, because it is broken or a later part of a split model."""
        provider = self._shelf.file_provider or "llama_cpp"
        model = name.removeprefix(f"{provider}/")
        if not await in_thread(self._folder.files, model):
            return None
        return ShelfModel(
            model, provider, "file", (), None, is_default=False, state="available", size_bytes=None, memory_bytes=None
        )

    async def _described(self, model: ShelfModel) -> dict[str, Any]:
        try:
            return dict(await self._shelf.describe(model))
        except ModelFailure as failure:
            raise domain_error(failure) from None

    async def _noted(self) -> dict[str, FileRow]:
        return {row.name: row for row in await list_model_files(self._database)}


def domain_error(failure: ModelFailure) -> DomainError:
    """Return how a failure is answered where somebody waits for the answer."""
    if failure.code in ("not_a_model", "checksum_mismatch"):
        return Invalid(failure.message, errors=(FieldError("file", failure.message),))
    if failure.code in ("disk_full", "folder_unusable", "provider_failed"):
        return Unavailable(failure.message, retry_after_seconds=RETRY_AFTER_SECONDS)
    return _BY_CODE.get(failure.code, BadRequest)(failure.message)


_BY_CODE: Final[dict[FailureCode, type[DomainError]]] = {"name_taken": Conflict, "too_large": TooLarge}


def _find(view: ShelfView, name: str) -> ShelfModel | None:
    """Find a model by its id, `provider/id`, or either without `:latest`."""
    for wanted in (name, f"{name}:latest"):
        for model in view.models:
            if wanted in (model.id, f"{model.provider}/{model.id}"):
                return model
    return None


def _item(model: ShelfModel, row: FileRow | None) -> dict[str, Any]:
    item = asdict(model)
    kind = item.pop("kind")
    details = row.details if row else {}
    return {
        **item,
        "source": row.source if row else None,
        "parameters": details.get("parameters"),
        "quantization": details.get("quantization"),
        "is_removable": kind != "other",
    }

"""What becomes of "pull this": a checked source, and a job that may be another person's already.

What can be refused at once is: a source nobody understands, a name that is taken, an address that may not be asked. The job checks all of it
again when it runs, for both may have changed by then.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import httpx2

from rustygpt.errors import Conflict, FieldError, Invalid
from rustygpt.models.address import require_public, resolve
from rustygpt.models.failure import ModelFailure
from rustygpt.models.folder import Folder
from rustygpt.models.library import domain_error
from rustygpt.models.naming import require_free
from rustygpt.models.procedures import JobKind, create_model_job, create_model_job_by_operator
from rustygpt.models.shelf import Shelf
from rustygpt.models.source import FileSource, OllamaSource, parse_sha256, parse_source

if TYPE_CHECKING:
    from rustygpt.database.call import Caller
    from rustygpt.ids import UserId
    from rustygpt.settings_models import ModelSettings

RESOLVE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True)
class _Order:
    """A pull, checked."""

    kind: JobKind
    source: str
    url: str
    provider: str
    model: str
    sha256: str | None


class Orders:
    """Takes orders for pulls."""

    def __init__(self, database: Caller, shelf: Shelf, folder: Folder, settings: ModelSettings) -> None:
        self._database = database
        self._shelf = shelf
        self._folder = folder
        self._settings = settings

    async def place(
        self, source: str, *, name: str | None, sha256: str | None, actor: UserId | None, key: str | None = None
    ) -> dict[str, Any]:
        """Return the job that pulls *source*, a new one or the one that does so already; *actor* None is whoever runs the server.

        Raises Invalid, Conflict, Forbidden, Unavailable.
        """
        order = await self._check(source, name, sha256)
        max_open = self._settings.max_open_jobs
        if actor is None:
            return await create_model_job_by_operator(
                self._database,
                kind=order.kind,
                source=order.source,
                url=order.url,
                provider=order.provider,
                model=order.model,
                sha256=order.sha256,
                max_open=max_open,
            )
        return await create_model_job(
            self._database,
            actor=actor,
            kind=order.kind,
            source=order.source,
            url=order.url,
            provider=order.provider,
            model=order.model,
            sha256=order.sha256,
            max_open=max_open,
            key=key,
        )

    async def _check(self, text: str, name: str | None, sha256: str | None) -> _Order:
        source, digest = parse_source(text, self._settings.hf_base_url, name=name), parse_sha256(sha256)
        match source:
            case OllamaSource():
                provider = self._shelf.pulling_provider
                if provider is None:
                    raise _refused(
                        "is a name for Ollama, and no Ollama is connected here; give an address or hf:org/repo/file.gguf"
                    )
                if digest is not None:
                    raise Invalid(errors=(FieldError("sha256", "is for files only; Ollama checks its models itself"),))
                return _Order("ollama", source.name, source.name, provider, source.name, None)
            case FileSource():
                return _Order("file", source.shown, source.url, await self._check_file(source), source.name, digest)

    async def _check_file(self, source: FileSource) -> str:
        provider = self._shelf.file_provider
        if provider is None:
            raise Conflict("GGUF files are not run here: assistant.llama_cpp.enabled is off.")
        is_own = source.shown.startswith("hf:")
        try:
            if not is_own and not self._settings.allow_private_addresses:
                await _require_public(source.url)
            await require_free(self._shelf, self._folder, source.name)
        except ModelFailure as failure:
            if failure.code == "address_refused":
                raise _refused(failure.message) from None
            raise domain_error(failure) from None
        return provider


async def _require_public(url: str) -> None:
    """Refuse an address at once that is known to be private; one that cannot be resolved now is the job's business."""
    try:
        host = httpx2.URL(url).host
    except (httpx2.InvalidURL, ValueError):
        raise ModelFailure("address_refused", "the address cannot be used") from None
    try:
        addresses = await resolve(host, 80, timeout_seconds=RESOLVE_SECONDS)
    except ModelFailure:
        return
    require_public(host, addresses)


def _refused(message: str) -> Invalid:
    return Invalid(errors=(FieldError("source", message),))

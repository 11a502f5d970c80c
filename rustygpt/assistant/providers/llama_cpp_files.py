"""Which GGUF files are models, and what for. Nothing but a file's first half kilobyte is read.

Parts of a split model after the first, and projectors, are no models of their own. A file that does not begin like GGUF is passed over.
"""

import asyncio
import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rustygpt.assistant.providers.base import ModelUse, ProviderRejected

GGUF_START: Final = struct.Struct("<4sI")
GGUF_VERSIONS: Final = (2, 3)
HEAD_BYTES: Final = 512
STRING_TYPE: Final = 8
ENCODERS: Final = ("bert", "t5encoder", "embedding")
"""What the architecture's name of a model contains that embeds and cannot chat."""
_ARCHITECTURE: Final = b"general.architecture"


@dataclass(frozen=True, slots=True)
class ModelFile:
    """One model on disk."""

    path: Path
    size_bytes: int
    uses: frozenset[ModelUse]
    modified_ns: int


class ModelFiles:
    """The files in *folder*, and *configured*: a path, or a name in that folder, or empty."""

    def __init__(self, folder: Path, configured: str) -> None:
        self._folder = folder
        self._configured = configured

    async def list(self) -> dict[str, ModelFile]:
        """Return the models by id: the configured one first, then the oldest file, then by name. Raises ProviderRejected.

        The first that chats is the default where nobody chose. By age, so that adding a file never changes who answers.
        """
        return await asyncio.to_thread(self._list)

    def _list(self) -> dict[str, ModelFile]:
        configured, others = [], []
        try:
            if self._configured:
                configured.append(self._folder / Path(self._configured).expanduser())  # absolute stays absolute
            if self._folder.is_dir():
                others += list(self._folder.glob("*.gguf"))
        except (OSError, RuntimeError):  # RuntimeError: ~somebody who does not exist
            raise ProviderRejected("The models folder of this server cannot be read.") from None
        found: dict[str, ModelFile] = {}
        for file in (*_read_all(configured), *sorted(_read_all(others), key=lambda file: (file.modified_ns, file.path.name))):
            found.setdefault(file.path.name.removesuffix(".gguf"), file)
        return found


def _read_all(paths: Iterable[Path]) -> list[ModelFile]:
    return [file for path in paths if (file := _read(path)) is not None]


def _read(path: Path) -> ModelFile | None:
    name = path.name
    is_later_part = "-of-" in name and "-00001-of-" not in name
    if is_later_part or name.startswith("mmproj"):
        return None  # parts of a split model are loaded with the first; a projector is no model
    try:
        if not path.is_file():
            return None
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            status = path.stat()
        magic, version = GGUF_START.unpack_from(head)
    except (OSError, struct.error):
        return None
    if magic != b"GGUF" or version not in GGUF_VERSIONS:
        return None
    return ModelFile(path, status.st_size, _uses(head), status.st_mtime_ns)


def _uses(head: bytes) -> frozenset[ModelUse]:
    """Read the architecture, which every writer puts first; one that is elsewhere, or no text, counts as a model that chats."""
    at = head.find(_ARCHITECTURE)
    try:
        kind, length = struct.unpack_from("<IQ", head, at + len(_ARCHITECTURE)) if at >= 0 else (0, 0)
    except struct.error:
        return frozenset({"chat"})
    start = at + len(_ARCHITECTURE) + 12
    architecture = head[start : start + min(length, 64)].decode("ascii", "replace") if kind == STRING_TYPE else ""
    return frozenset({"embed"}) if any(word in architecture for word in ENCODERS) else frozenset({"chat"})

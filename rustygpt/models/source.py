"""What somebody wants pulled, from what they typed. Pure: no name is looked up, no file touched.

A file's name is made of a few harmless characters, whatever the address or the upload says, so it can lead nowhere but into the folder.
"""

import re
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import quote, unquote, urlsplit

from rustygpt.errors import FieldError, Invalid

MAX_SOURCE_CHARACTERS: Final = 4_096
MAX_NAME_CHARACTERS: Final = 180
"""Of a model's id; with .gguf, and beside other endings, it stays below the 255 bytes of file systems."""
SUFFIX: Final = ".gguf"
OLLAMA_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*){0,3}(:[A-Za-z0-9][A-Za-z0-9._-]*)?")
HF_PART: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class FileSource:
    """A GGUF file to download from `url` and keep as the model `name`. `shown` is the source as people may see it."""

    url: str
    name: str
    shown: str


@dataclass(frozen=True, slots=True)
class OllamaSource:
    """A model that Ollama fetches by itself, with its tag."""

    name: str


def parse_source(text: str, hf_base_url: str, *, name: str | None = None) -> FileSource | OllamaSource:
    """Read an Ollama name, an http(s) address or `hf:org/repo/file`. *name* is what to call a file. Raises Invalid."""
    text = text.strip()
    if len(text) > MAX_SOURCE_CHARACTERS or not text.isprintable():
        raise _invalid("must be one line of at most 4096 characters")
    if text.startswith("hf:"):
        return _parse_hf(text, hf_base_url, name)
    if "://" in text:
        return _parse_url(text, name)
    if len(text) > MAX_NAME_CHARACTERS or not OLLAMA_NAME.fullmatch(text):
        raise _invalid("must be a name in Ollama's library, an http(s) address, or hf:org/repo/file.gguf")
    if name is not None:
        raise Invalid(errors=(FieldError("name", "is for files only; Ollama's models have their own names"),))
    return OllamaSource(text if ":" in text.rpartition("/")[2] else f"{text}:latest")


def model_name(text: str, *, field: str = "name") -> str:
    """Make a model's id of a file's name: its last part, a few harmless characters, without .gguf. Raises Invalid."""
    last = re.split(r"[/\\]", text)[-1]
    stem = last[: -len(SUFFIX)] if last.lower().endswith(SUFFIX) else last
    name = re.sub(r"-{2,}", "-", re.sub(r"[^A-Za-z0-9._-]", "-", stem)).strip("-.")
    if not re.search(r"[A-Za-z0-9]", name) or len(name) > MAX_NAME_CHARACTERS:
        raise Invalid(
            errors=(FieldError(field, f"gives no name of 1 to {MAX_NAME_CHARACTERS} letters, digits, dots and dashes"),)
        )
    if name.lower().startswith("mmproj"):
        raise Invalid(errors=(FieldError(field, "names a projector, which is no model"),))
    return name


def parse_sha256(text: str | None) -> str | None:
    """Return a checksum in lower case. Raises Invalid."""
    if text is None:
        return None
    if not SHA256.fullmatch(text.strip().lower()):
        raise Invalid(errors=(FieldError("sha256", "must be 64 hexadecimal digits"),))
    return text.strip().lower()


def _parse_hf(text: str, base_url: str, name: str | None) -> FileSource:
    parts = text.removeprefix("hf:").strip("/").split("/")
    if len(parts) < 3 or not all(HF_PART.fullmatch(part) for part in parts):
        raise _invalid("must be hf:org/repo/file.gguf")
    if not parts[-1].lower().endswith(SUFFIX):
        raise _invalid("must name a file that ends in .gguf")
    org, repo, *path = parts
    url = f"{base_url}/{org}/{repo}/resolve/main/{'/'.join(quote(part) for part in path)}"
    return FileSource(url, model_name(name or path[-1], field="source" if name is None else "name"), f"hf:{'/'.join(parts)}")


def _parse_url(text: str, name: str | None) -> FileSource:
    try:
        parts = urlsplit(text)
        is_usable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
        parts = urlsplit("")
    if not is_usable or parts.scheme.lower() not in ("http", "https") or "\\" in text or " " in text:
        raise _invalid("must be an http or https address with a host")
    if parts.username is not None or parts.password is not None:
        raise _invalid("must not hold a user name or a password: administrators would see it")
    found = name or PurePosixPath(unquote(parts.path)).name
    if name is None and not found.lower().endswith(SUFFIX):
        raise Invalid(errors=(FieldError("name", "is needed, because the address does not end in a file's name with .gguf"),))
    shown = parts._replace(query="", fragment="").geturl()
    return FileSource(parts._replace(fragment="").geturl(), model_name(found, field="source" if name is None else "name"), shown)


def _invalid(message: str) -> Invalid:
    return Invalid(errors=(FieldError("source", message),))

"""What is kept and shown of a file: its header in the words of the API. Pure."""

from typing import Any

from rustygpt.models.gguf_header import GgufHeader


def file_note(size: int, digest: str, header: GgufHeader) -> dict[str, Any]:
    """Return what the database keeps of a file of *size* bytes."""
    return {"sha256": digest, "size_bytes": size, "details": describe(header)}


def describe(header: GgufHeader) -> dict[str, Any]:
    """Return what a file's header says."""
    return {
        "architecture": header.architecture,
        "title": header.name,
        "trained_context_tokens": header.context_tokens,
        "parameters": _short(header.parameters),
        "quantization": header.quantization,
    }


def _short(count: int) -> str:
    """Return a number of weights as people say it: 8.0B, 596M, 12K."""
    for size, letter in ((10**12, "T"), (10**9, "B"), (10**6, "M"), (10**3, "K")):
        if count >= size:
            return f"{count / size:.1f}{letter}" if count < 100 * size else f"{count // size}{letter}"
    return str(count)

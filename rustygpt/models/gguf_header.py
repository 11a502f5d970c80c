"""Reads the header of a GGUF file that anybody may have written: nothing in it is believed before it was compared with the file's size.

Pure but for reading the file, and bounded: a few megabytes of memory and a few seconds, whatever the header claims. Text is never
interpreted: a chat template is passed over like any other string. The `gguf` package trusts its file (it maps it and allocates what it
says), so it is for files one has made oneself.
"""

import struct
from dataclasses import dataclass
from typing import Any, BinaryIO, Final

from rustygpt.models.gguf_types import ARRAY, QUANTIZATIONS, SCALAR_BYTES, SCALAR_FORMATS, STRING, TENSOR_BLOCKS

START: Final = struct.Struct("<4sIQQ")
VERSIONS: Final = (2, 3)
MAX_HEADER_BYTES: Final = 268_435_456
"""The largest vocabularies take some ten million."""
MAX_PAIRS: Final = 65_536
MAX_TENSORS: Final = 65_536
MAX_KEY_BYTES: Final = 65_535
MAX_NAME_BYTES: Final = 1_024
MAX_TEXT_BYTES: Final = 16_777_216
MAX_TEXTS: Final = 4_194_304
"""Strings in arrays, all together: a vocabulary of 262 144 tokens and its merges are some 800 000."""
MAX_DIMENSIONS: Final = 4
MAX_KEPT_BYTES: Final = 1_024
"""A longer text is not kept."""
FOREIGN_TYPES: Final = frozenset({"adapter", "imatrix", "mmproj"})
"""Values of general.type that are GGUF and no model that could answer by itself."""


class NotAModel(Exception):
    """The file is no GGUF model that can be loaded; the message says why."""


class Incomplete(Exception):
    """So far the file may be a model, but its header goes on beyond what is there."""


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """What is worth knowing. `parameters` counts the weights; the rest is None where the file does not say."""

    version: int
    architecture: str
    name: str | None
    context_tokens: int | None
    parameters: int
    quantization: str | None
    tensors: int


def read_header(file: BinaryIO, available: int, total: int | None) -> GgufHeader:
    """Read the header from the beginning of *file*, of whose *total* bytes (None: nobody knows yet) *available* are there.

    Raises NotAModel, and Incomplete while the header may go on in what is not there yet.
    """
    file.seek(0)
    try:
        return _read(_Reader(file, available, total))
    except struct.error:
        raise NotAModel("its header cannot be read") from None


class _Reader:
    """Takes values from the file in order, and none beyond its end or the bounds."""

    def __init__(self, file: BinaryIO, available: int, total: int | None) -> None:
        self._file = file
        self._available = available
        self.total = total
        self.position = 0
        self._texts = 0

    def take(self, size: int) -> bytes:
        """Return the next *size* bytes."""
        self._advance(size)
        data = self._file.read(size)
        if len(data) != size:
            raise Incomplete
        return data

    def skip(self, size: int) -> None:
        """Pass over *size* bytes."""
        self._advance(size)
        self._file.seek(size, 1)

    def number(self, size: int) -> int:
        """Return an unsigned little-endian number of *size* bytes."""
        return int.from_bytes(self.take(size), "little")

    def text(self, limit: int) -> bytes:
        """Return the next string. Raises NotAModel when it is longer than *limit*."""
        size = self.number(8)
        if size > limit:
            raise NotAModel(f"a text of its header claims to have {size} bytes")
        return self.take(size)

    def skip_texts(self, count: int) -> None:
        """Pass over *count* strings."""
        self._texts += count
        if self._texts > MAX_TEXTS:
            raise NotAModel(f"its header claims to have {self._texts} texts")
        for _ in range(count):
            size = self.number(8)
            if size > MAX_TEXT_BYTES:
                raise NotAModel(f"a text of its header claims to have {size} bytes")
            self.skip(size)

    def _advance(self, size: int) -> None:
        end = self.position + size
        if end > MAX_HEADER_BYTES:
            raise NotAModel("its header is larger than any model's")
        if end > self._available:
            if self.total is not None and end > self.total:
                raise NotAModel("it ends in the middle of its header")
            raise Incomplete
        self.position = end


def _read(reader: _Reader) -> GgufHeader:
    magic, version, tensors, pairs = START.unpack(reader.take(START.size))
    if magic != b"GGUF":
        raise NotAModel("it does not begin like a GGUF file")
    if version not in VERSIONS:
        raise NotAModel("it is a big-endian file" if version & 0xFFFF == 0 else f"it has version {version} of the format")
    if pairs > MAX_PAIRS or tensors > MAX_TENSORS:
        raise NotAModel(f"it claims to have {pairs} values and {tensors} tensors")
    values: dict[str, Any] = {}
    for _ in range(pairs):
        key = reader.text(MAX_KEY_BYTES).decode("utf-8", "replace")
        value = _read_value(reader, reader.number(4))
        if value is not None:
            values[key] = value
    _require_model(values, tensors)
    parameters = _read_tensors(reader, tensors, values.get("general.alignment", 32))
    architecture = values["general.architecture"]
    context = values.get(f"{architecture}.context_length")
    return GgufHeader(
        version=version,
        architecture=architecture,
        name=_text_or_none(values.get("general.name")),
        context_tokens=context if type(context) is int and 0 < context < 2**31 else None,
        parameters=parameters,
        quantization=QUANTIZATIONS.get(values.get("general.file_type", -1)),
        tensors=tensors,
    )


def _read_value(reader: _Reader, kind: int) -> Any:
    """Return a number, a truth value or a short text; None for what is passed over."""
    if kind in SCALAR_BYTES:
        (value,) = struct.unpack(f"<{SCALAR_FORMATS[kind]}", reader.take(SCALAR_BYTES[kind]))
        return value
    if kind == STRING:
        text = reader.text(MAX_TEXT_BYTES)
        return text.decode("utf-8", "replace") if len(text) <= MAX_KEPT_BYTES else None
    if kind != ARRAY:
        raise NotAModel(f"its header has a value of the unknown type {kind}")
    element, count = reader.number(4), reader.number(8)
    if element in SCALAR_BYTES:
        reader.skip(count * SCALAR_BYTES[element])
    elif element == STRING:
        reader.skip_texts(count)
    else:
        raise NotAModel(f"its header has an array of the type {element}")
    return None


def _require_model(values: dict[str, Any], tensors: int) -> None:
    architecture = values.get("general.architecture")
    if not isinstance(architecture, str) or not 0 < len(architecture) <= 64 or not architecture.isprintable():
        raise NotAModel("it does not say which architecture it has")
    if architecture == "clip" or values.get("general.type") in FOREIGN_TYPES:
        raise NotAModel("it is a part for other models, not one that could answer")
    if not tensors:
        raise NotAModel("it has no weights")


def _read_tensors(reader: _Reader, count: int, alignment: Any) -> int:
    """Check that each tensor lies within the file; return how many elements they have together."""
    if type(alignment) is not int or not 8 <= alignment <= 65_536 or alignment % 8:
        raise NotAModel("its alignment makes no sense")
    elements = end = 0
    for _ in range(count):
        reader.text(MAX_NAME_BYTES)
        dimensions = reader.number(4)
        if dimensions > MAX_DIMENSIONS:
            raise NotAModel(f"a tensor claims to have {dimensions} dimensions")
        size = 1
        for _ in range(dimensions):
            size *= reader.number(8)
        kind, offset = reader.number(4), reader.number(8)
        if offset % alignment:
            raise NotAModel("a tensor lies between the places where tensors lie")
        block_elements, block_bytes = TENSOR_BLOCKS.get(kind, (1, 0))  # of a newer type only the place is known
        elements += size
        end = max(end, offset + -(-size // block_elements) * block_bytes)
    data_at = -(-reader.position // alignment) * alignment
    if reader.total is not None and data_at + end > reader.total:
        raise NotAModel(f"its tensors need {data_at + end} bytes, and it has {reader.total}")
    if elements >= 2**63:
        raise NotAModel("its tensors are larger than any memory")
    return elements


def _text_or_none(value: Any) -> str | None:
    return value[:200] if isinstance(value, str) and value.isprintable() and value else None

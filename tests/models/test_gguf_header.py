"""Headers of GGUF files that nobody can trust: read right, or refused with a reason, in bounded time and memory."""

import io
import random
import struct
import tempfile
import time
import tracemalloc
from pathlib import Path

import gguf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rustygpt.models.gguf_header import GgufHeader, Incomplete, NotAModel, read_header
from rustygpt.models.gguf_types import QUANTIZATIONS, TENSOR_BLOCKS
from rustygpt.models.notes import describe
from tests.story_model import write_story_model

SECONDS = 30.0
"""A bound for machines under load: the worst header takes two."""
PEAK_BYTES = 33_554_432


def text(value: bytes) -> bytes:
    return struct.pack("<Q", len(value)) + value


def pair(key: bytes, kind: int, value: bytes) -> bytes:
    return text(key) + struct.pack("<I", kind) + value


ARCHITECTURE = pair(b"general.architecture", 8, text(b"llama"))


def header(pairs: list[bytes], tensors: list[bytes], *, version: int = 3, data: int = 4_096) -> bytes:
    """Return a file of those values and tensors, and *data* bytes for the weights."""
    start = struct.pack("<4sIQQ", b"GGUF", version, len(tensors), len(pairs))
    return start + b"".join(pairs) + b"".join(tensors) + b"\0" * (64 + data)


def tensor(size: int = 8, *, offset: int = 0, kind: int = 0, dimensions: int = 1) -> bytes:
    return (
        text(b"weight") + struct.pack("<I", dimensions) + struct.pack("<Q", size) * dimensions + struct.pack("<IQ", kind, offset)
    )


def read(content: bytes) -> GgufHeader:
    """Read a whole file."""
    return read_header(io.BytesIO(content), len(content), len(content))


def written_model() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "story.gguf"
        write_story_model(path)
        return path.read_bytes()


STORY = written_model()
HEADER_BYTES = STORY.index(b"blk.0") + 2_000
EXTREMES = st.sampled_from([0, 1, 2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**40, 2**63 - 1, 2**63, 2**64 - 1])


def test_written_model_is_read() -> None:
    """What a common writer wrote is told as it is."""
    found = read(STORY)
    assert (found.architecture, found.name, found.context_tokens, found.version) == ("llama", "story", 8_192, 3)
    assert found.tensors > 5
    assert found.parameters == sum(int(each.n_elements) for each in _tensors_by_gguf())
    assert describe(found)["parameters"] == f"{found.parameters // 1_000}K"


def _tensors_by_gguf() -> list[gguf.gguf_reader.ReaderTensor]:
    with tempfile.NamedTemporaryFile(suffix=".gguf") as file:
        file.write(STORY)
        file.flush()
        return list(gguf.GGUFReader(file.name).tensors)


def test_tables_are_those_of_the_format() -> None:
    """Blocks of tensors and names of quantizations are the gguf package's."""
    assert {int(kind): tuple(size) for kind, size in gguf.GGML_QUANT_SIZES.items()} == TENSOR_BLOCKS
    names = {int(kind): kind.name.removeprefix("MOSTLY_").removeprefix("ALL_") for kind in gguf.LlamaFileType}
    assert {kind: name for kind, name in names.items() if name != "GUESSED"} == QUANTIZATIONS


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"PK\x03\x04" + b"\0" * 100, "does not begin"),
        (header([ARCHITECTURE], [tensor()], version=1), "version 1"),
        (b"GGUF\0\0\0\x03" + b"\0" * 100, "big-endian"),
        (header([], [tensor()]), "architecture"),
        (header([pair(b"general.architecture", 8, text(b"clip"))], [tensor()]), "a part for other models"),
        (header([ARCHITECTURE, pair(b"general.type", 8, text(b"adapter"))], [tensor()]), "a part for other models"),
        (header([ARCHITECTURE], []), "no weights"),
        (header([ARCHITECTURE], [tensor(2_000)]), "tensors need"),
        (header([ARCHITECTURE], [tensor(2**62)]), "tensors need"),
        (header([ARCHITECTURE], [tensor(8, offset=2**50)]), "tensors need"),
        (header([ARCHITECTURE], [tensor(8, offset=7)]), "between the places"),
        (header([ARCHITECTURE], [tensor(8, dimensions=5)]), "dimensions"),
        (header([ARCHITECTURE, pair(b"general.alignment", 4, struct.pack("<I", 0))], [tensor()]), "alignment"),
        (header([ARCHITECTURE, pair(b"general.alignment", 8, text(b"32"))], [tensor()]), "alignment"),
        (header([ARCHITECTURE, pair(b"a", 99, b"")], [tensor()]), "unknown type"),
        (header([ARCHITECTURE, pair(b"a", 9, struct.pack("<IQ", 9, 1))], [tensor()]), "array of the type 9"),
        (header([ARCHITECTURE, pair(b"a", 9, struct.pack("<IQ", 8, 2**40))], [tensor()]), "claims to have"),
        (header([ARCHITECTURE, pair(b"a", 9, struct.pack("<IQ", 0, 2**40))], [tensor()]), "larger than any|ends in the middle"),
        (header([ARCHITECTURE, pair(b"a", 8, struct.pack("<Q", 2**63))], [tensor()]), "claims to have"),
        (struct.pack("<4sIQQ", b"GGUF", 3, 2**63, 2**63) + b"\0" * 100, "claims to have"),
        (b"", "ends in the middle"),
    ],
)
def test_lying_header_is_refused(content: bytes, reason: str) -> None:
    """Each lie has its reason."""
    with pytest.raises(NotAModel, match=reason):
        read(content)


@given(st.integers(0, len(STORY) - 1))
def test_truncated_file_is_refused(length: int) -> None:
    """Wherever it ends, it is no model; while more may come, it is incomplete until the header is whole."""
    with pytest.raises(NotAModel):
        read(STORY[:length])
    try:
        assert read_header(io.BytesIO(STORY[:length]), length, None).architecture == "llama"
    except Incomplete:
        assert length < HEADER_BYTES


@settings(max_examples=300)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 40), number=EXTREMES, cut=st.integers(0, HEADER_BYTES))
def test_mutated_header_never_crashes(seed: int, count: int, number: int, cut: int) -> None:
    """Flipped bytes, numbers at the edge and cuts anywhere: a header or a refusal, soon, and in little memory."""
    chance = random.Random(seed)
    content = bytearray(STORY[:HEADER_BYTES])
    for _ in range(count):
        content[chance.randrange(len(content))] = chance.randrange(256)
    at = chance.randrange(len(content) - 8)
    content[at : at + 8] = struct.pack("<Q", number)
    total = chance.choice([len(content), len(STORY), 2**62])
    del content[cut if chance.random() < 0.3 else len(content) :]
    started = time.monotonic()
    tracemalloc.start()
    try:
        read_header(io.BytesIO(bytes(content)), len(content), max(total, len(content)))
    except (NotAModel, Incomplete):
        pass
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < PEAK_BYTES
    assert time.monotonic() - started < SECONDS


def test_worst_header_is_bounded() -> None:
    """As many empty texts as are allowed, and one more: read, or refused at once."""
    most = pair(b"a", 9, struct.pack("<IQ", 8, 2**22) + b"\0" * (8 * 2**22))
    started = time.monotonic()
    assert read(header([ARCHITECTURE, most], [tensor()])).architecture == "llama"
    assert time.monotonic() - started < SECONDS
    with pytest.raises(NotAModel, match="claims to have"):
        read(header([ARCHITECTURE, most, pair(b"b", 9, struct.pack("<IQ", 8, 1))], [tensor()]))

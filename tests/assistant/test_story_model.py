"""The test model itself: other tests rely on every one of its bytes."""

from pathlib import Path

import pytest

from tests.story_model import ENDING, OPENING, story_text, story_tokens, write_story_model


def test_file_is_the_same_every_time(tmp_path: Path) -> None:
    """Same arguments, same bytes; another seed, other bytes; small enough to make in every run."""
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        assert write_story_model(tmp_path / name, seed=seed) == story_text()
    first, second, third = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == second != third
    assert len(first) < 600_000


@pytest.mark.parametrize("length", [48, 240, 5_000])
def test_length_is_what_an_engine_counts(length: int) -> None:
    """A story of N tokens has N tokens, with the emoji counted as four."""
    tokens = story_tokens(length)
    assert sum(len(token) if isinstance(token, bytes) else 1 for token in tokens) == length
    assert tokens[: len(OPENING)] == OPENING
    assert tokens[-len(ENDING) :] == ENDING


def test_repeated_tokens_are_refused(tmp_path: Path) -> None:
    """A chain needs different tokens; a story that repeats one is refused when it is written."""
    for tokens in (("a", "b", "a"), ("a", b"xx"), ("<s>",)):
        with pytest.raises(ValueError, match="different"):
            write_story_model(tmp_path / "x.gguf", tokens=tokens)
    with pytest.raises(ValueError, match="at least"):
        story_tokens(10)

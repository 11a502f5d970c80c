"""Who is addressed, and who only seems to be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustygpt.assistant.mentions import Mention, find_mention

MODELS = ("llama3.2:latest", "llama3.2:1b", "story", "story-v2", "hf.co/org/Model-GGUF:Q4", "gpt-4o", "My Model")


@pytest.mark.parametrize(
    ("content", "model", "text"),
    [
        ("@assistant hello", None, "@assistant"),
        ("Hello @Assistant, how are you?", None, "@Assistant"),
        ("(@assistant)", None, "@assistant"),
        ("ask @assistant.", None, "@assistant"),
        ("línea\n@assistant's turn", None, "@assistant"),
        ("@story please", "story", "@story"),
        ("@STORY-V2!", "story-v2", "@STORY-V2"),
        ("@llama3.2 hi", "llama3.2:latest", "@llama3.2"),
        ("@llama3.2:latest", "llama3.2:latest", "@llama3.2:latest"),
        ("@llama3.2:1b: hi", "llama3.2:1b", "@llama3.2:1b"),
        ("to @llama3.2. Thanks", "llama3.2:latest", "@llama3.2"),
        ("**@gpt-4o** hi", "gpt-4o", "@gpt-4o"),
        ("@hf.co/org/Model-GGUF:Q4 hi", "hf.co/org/Model-GGUF:Q4", "@hf.co/org/Model-GGUF:Q4"),
        ("hey @my model, hi", "My Model", "@my model"),
        ("@bob and @story", "story", "@story"),
        ("`@assistant` and @story", "story", "@story"),
        ("an odd ` tick and @story", "story", "@story"),
    ],
)
def test_mentions(content: str, model: str | None, text: str) -> None:
    """A mention is found with its place, ignoring case, the longest name first."""
    found = find_mention(content, MODELS)
    assert found is not None
    assert (found.model, content[found.start : found.end]) == (model, text)


@pytest.mark.parametrize(
    "content",
    [
        "",
        "assistant, please",
        "write to me@assistant.com",
        "bob.@story",
        "@assistants",
        "@assistant@example.org",
        "@story-v3",
        "@story.txt",
        "@gpt-4o-mini",
        "@llama3.2:70b",
        "@@assistant",
        "https://example.org/@assistant",
        "use `@assistant` to call it",
        "``a ` @story``",
        "```\n@assistant\n```",
        "~~~\n@assistant",
    ],
)
def test_no_mention(content: str) -> None:
    """Addresses, longer names, code and bare words call nobody."""
    assert find_mention(content, MODELS) is None


@given(st.text(alphabet=st.sampled_from("@`~ \nastory-v2.:/x"), max_size=200))
def test_any_text_is_read(content: str) -> None:
    """Whatever people write, the place of a mention holds its name."""
    found = find_mention(content, MODELS)
    assert found is None or content[found.start : found.end].lower() == f"@{found.model or 'assistant'}".removesuffix(":latest")


def test_long_hostile_text_takes_no_time() -> None:
    """A megabyte of opened code spans and at-signs is read in well under a second."""
    for unit in ("`" * 7 + "x ", "@", "@assistantx ", "``` ", "`a ``b ", "~~~"):
        assert find_mention(unit * (1_000_000 // len(unit)), MODELS) in (None, Mention(None, 0, 10))

"""What an upstream says of itself, made fit for users."""

import pytest

from rustygpt.assistant.providers.refusals import rejection


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("bad key sk-abcdefgh at http://10.0.0.5/", "bad key [key] at [address]"),
        ("see https://user:pw@api.example.com:8443/v1?x=1.", "see [address]."),
        (
            'Post "http://ollama:11434/api/chat": dial tcp 10.0.0.5:11434: refused',
            'Post "[address]": dial tcp [address]: refused',
        ),
        ("lookup box on 127.0.0.11:53: no such host", "lookup box on [address]: no such host"),
        ("no route to gpu.internal:8000, ollama:11434 or localhost:8080", "no route to [address], [address] or [address]"),
        ("dial [fe80::1%eth0]:11434 and 2001:db8::17, ::1", "dial [address] and [address], [address]"),
        ("redis://:word@cache/0 is down", "[address] is down"),
    ],
)
def test_addresses_are_masked(said: str, told: str) -> None:
    """URLs, IP addresses, and hosts with a port give way to a word; the sentence stays."""
    assert rejection("upstream", said, 502, secret="").message == f"upstream answered with status 502: {told}"


@pytest.mark.parametrize(
    "said",
    [
        "model llama3.2:3b not found, try qwen3:14b",
        "at 12:30:45 std::bad_alloc was thrown",
        "version 1.2.3 wants n_ctx >= 4096; see section 3.1: limits",
        "expected a key/value pair: got {'a': 1}",
    ],
)
def test_other_words_stay(said: str) -> None:
    """Names of models, times, versions and code are no addresses."""
    assert rejection("upstream", said, 400, secret="").message.endswith(said)


def test_long_words_are_masked_in_time() -> None:
    """A hostile megabyte is cut, and costs no more than reading it a few times."""
    for piece in ("a.", "a-", "1.", "a:", "::", "[", "a://", "0:"):
        assert len(rejection("upstream", piece * 500_000, 400, secret="").message) < 500

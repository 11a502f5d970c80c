"""What people type, and where it may lead."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rustygpt.errors import Invalid
from rustygpt.models.address import is_public
from rustygpt.models.source import FileSource, OllamaSource, model_name, parse_source

HF = "https://huggingface.co"


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("llama3.2", "llama3.2:latest"),
        ("llama3.2:1b", "llama3.2:1b"),
        ("org/model:tag", "org/model:tag"),
        ("hf.co/org/repo-GGUF:Q4_K_M", "hf.co/org/repo-GGUF:Q4_K_M"),
        (" qwen3 ", "qwen3:latest"),
    ],
)
def test_names_are_ollamas(text: str, name: str) -> None:
    """Whatever is no address is a name, with its tag."""
    assert parse_source(text, HF) == OllamaSource(name)


def test_hf_files_have_their_address() -> None:
    """hf:org/repo/file, also in a folder of the repository."""
    assert parse_source("hf:org/repo/a.gguf", HF) == FileSource(f"{HF}/org/repo/resolve/main/a.gguf", "a", "hf:org/repo/a.gguf")
    nested = parse_source("hf:org/repo/Q4/b.GGUF", "http://mirror.lan/hf")
    assert nested == FileSource("http://mirror.lan/hf/org/repo/resolve/main/Q4/b.GGUF", "b", "hf:org/repo/Q4/b.GGUF")


@pytest.mark.parametrize(
    "text",
    [
        *("file:///etc/passwd", "ftp://example.org/x.gguf", "gopher://x/y.gguf", "javascript://x/y.gguf", "://x.gguf"),
        *("http://", "http:///x.gguf", "https://[::/x.gguf", "http://x:99999/x.gguf", "http://u:p@example.org/x.gguf"),
        *("http://example.org\\@evil.example/x.gguf", "http://example.org/a b.gguf", "http://example.org/\n.gguf"),
        *("hf:org/repo", "hf:org/repo/", "hf:org/../x.gguf", "hf:org/repo/x.bin", "hf:/org//x.gguf", "hf:org/re po/x.gguf"),
        *("hf:org/repo/../../x.gguf", "-rf", "../x", "a/b/c/d/e", "name with spaces", "a:b:c", ":", "", "x" * 5_000),
    ],
)
def test_everything_else_is_refused(text: str) -> None:
    """Other schemes, paths that climb, users in addresses, control characters."""
    with pytest.raises(Invalid):
        parse_source(text, HF)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("My Model (1).gguf", "My-Model-1"),
        ("../../etc/passwd.gguf", "passwd"),
        ("C:\\models\\x.GGUF", "x"),
        (".hidden.gguf", "hidden"),
        ("模型-a.gguf", "a"),
        ("a\0b\r\nc.gguf", "a-b-c"),
    ],
)
def test_names_are_harmless(text: str, name: str) -> None:
    """Of whatever a file is called, letters, digits, dots and dashes remain."""
    assert model_name(text) == name


@given(st.text(max_size=300))
def test_no_name_leaves_the_folder(text: str) -> None:
    """Whatever the text: refused, or one plain part of a path."""
    try:
        name = model_name(text)
    except Invalid:
        return
    assert name
    assert not name.startswith((".", "-"))
    assert all(letter.isascii() and (letter.isalnum() or letter in "._-") for letter in name)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.8.8", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1"),
        *("224.0.0.1", "240.0.0.1", "255.255.255.255", "192.0.0.8", "198.18.0.1", "203.0.113.1"),
        *("::", "::1", "fe80::1", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "2001:db8::1"),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "64:ff9b::7f00:1", "2002:7f00:1::", "2001:0:7f00:1::", "not an address", ""),
    ],
)
def test_private_addresses_are_known(address: str) -> None:
    """Of this machine, its network, nobody or many, also in the disguises of IPv6."""
    assert not is_public(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_are_known(address: str) -> None:
    """What the Internet routes."""
    assert is_public(address)

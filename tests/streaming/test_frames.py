"""Frames: the exact bytes, and no text that could break them."""

import json

from hypothesis import given
from hypothesis import strategies as st

from rustygpt.streaming.cursor import Cursor
from rustygpt.streaming.frames import encode_control, encode_event
from tests.streaming.logged import EPOCH, delta


def test_frame_is_these_bytes() -> None:
    """The encoder's output, byte for byte: clients nobody here wrote depend on it."""
    assert encode_event(delta(7, "hé\n", prev=6), EPOCH).data == (
        b"id: abcd-7\nevent: message.delta\ndata: "
        b'{"type":"message.delta","conversation_id":"00000000-0000-0000-0000-000000000001","prev":6,'
        b'"at":"2026-11-21T12:00:00.000001Z","payload":{"id":"chatcmpl-00000000-0000-0000-0000-000000000004",'
        b'"object":"chat.completion.chunk","root_id":"00000000-0000-0000-0000-000000000002",'
        b'"message_id":"00000000-0000-0000-0000-000000000004","parent_id":"00000000-0000-0000-0000-000000000003","idx":0,'
        b'"choices":[{"index":0,"delta":{"role":"assistant","content":"h\xc3\xa9\\n"},"finish_reason":null}]}}\n\n'
    )


def test_only_the_first_delta_has_a_role() -> None:
    """As OpenAI's clients expect: role with the first chunk, content alone afterwards."""
    assert b'"delta":{"content":"x"}' in encode_event(delta(8, idx=1), EPOCH).data


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_no_text_breaks_a_frame(text: str) -> None:
    """Line breaks, separators, NUL, BOM and emoji come out as they went in, within one data line."""
    data = encode_event(delta(1, text), EPOCH).data
    lines = data.decode().split("\n")
    assert [line.partition(":")[0] for line in lines] == ["id", "event", "data", "", ""]
    assert b"\r" not in data
    assert json.loads(lines[2].removeprefix("data: "))["payload"]["choices"][0]["delta"]["content"] == text


def test_control_event_moves_the_cursor_only_when_told() -> None:
    """stream.gap carries the position after the hole as its id; an error of the stream has none."""
    gap = encode_control("stream.gap", {"reason": "history_pruned"}, cursor=Cursor(EPOCH, 9))
    assert gap.startswith(b"id: abcd-9\nevent: stream.gap\ndata: ")
    assert encode_control("error", {"code": "X"}).startswith(b"event: error\ndata: ")

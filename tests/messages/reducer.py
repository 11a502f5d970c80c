"""A client of the contract in miniature: what each event does to each of the three snapshots. Pure, and written from http-api.md alone.

A state is what the snapshot holds: messages by id, threads by root id, or one conversation. Every field is kept.
"""

import copy
from typing import Any

from tests.person import Event

State = dict[str, Any]
STATUS = {"stop": "complete", "length": "complete", "cancelled": "cancelled", "timeout": "error", "error": "error"}


def after(kind: str, state: State, events: list[Event], user_id: str) -> State:
    """Return the state of *kind* (messages, threads, conversation) that *events* lead to for the reader *user_id*."""
    state = copy.deepcopy(state)
    apply = {"messages": to_messages, "threads": to_threads, "conversation": to_conversation}[kind]
    for event in events:
        apply(state, event.type, copy.deepcopy(event.payload), user_id)
    return state


def to_messages(state: State, kind: str, payload: dict[str, Any], _user_id: str) -> None:
    """Apply one event to the messages of a conversation."""
    match kind:
        case "message.created":
            message = payload["message"]
            assert message["id"] not in state, "a message was created twice"
            state[message["id"]] = message
            if message["role"] == "assistant":
                _count_siblings(state, message)
        case "message.delta":
            _append(state[payload["message_id"]], payload)
        case "message.done":
            message = state[payload["message_id"]]
            assert message["status"] in {"queued", "streaming"}, "a reply ended twice"
            assert payload["chunks"] == message["next_idx"]
            assert payload["attempt"] == message["attempt"]
            message |= {key: payload[key] for key in ("finish_reason", "usage", "model", "context", "timing")}
            message["status"] = STATUS[payload["finish_reason"]]
        case "message.continued":
            message = state[payload["message_id"]]
            assert message["status"] not in {"queued", "streaming"}, "a reply goes on that has not stopped"
            assert (payload["next_idx"], payload["attempt"]) == (message["next_idx"], message["attempt"] + 1)
            message |= {"status": "queued", "attempt": payload["attempt"]}
            message |= dict.fromkeys(("finish_reason", "usage", "error", "context", "timing"))
        case "message.edited":
            state[payload["message_id"]] |= {key: payload[key] for key in ("content", "edited_at")}
        case "message.deleted":
            assert payload["next_idx"] == state[payload["message_id"]]["next_idx"]
            state[payload["message_id"]] |= {"content": "", **{key: payload[key] for key in ("deleted_at", "deleted_by")}}
        case "message.restored":
            state[payload["message_id"]] |= {"content": payload["content"], "deleted_at": None, "deleted_by": None}
        case "error":
            message = state[payload["message_id"]]
            assert payload["attempt"] == message["attempt"]
            message["error"] = {"code": payload["code"], "message": payload["message"]}
            if payload["code"] == "generation_interrupted":
                message["status"] = "interrupted"


def _count_siblings(state: State, message: dict[str, Any]) -> None:
    """A reply of the assistant is one sibling more for the others to the same message."""
    for other in state.values():
        if other["role"] == "assistant" and other["parent_id"] == message["parent_id"]:
            other["sibling_count"] = message["sibling_count"]


def _append(message: dict[str, Any], payload: dict[str, Any]) -> None:
    (choice,) = payload["choices"]
    assert (payload["idx"], choice["finish_reason"]) == (message["next_idx"], None), "a chunk is missing or came twice"
    assert (choice["delta"].get("role") == "assistant") == (payload["idx"] == 0)
    assert (payload["root_id"], payload["parent_id"]) == (message["root_id"], message["parent_id"])
    message["content"] += choice["delta"]["content"]
    message["next_idx"] += 1
    message["status"] = "streaming"


def to_threads(state: State, kind: str, payload: dict[str, Any], user_id: str) -> None:
    """Apply one event to the list of threads, *user_id*'s unread counts included."""
    match kind:
        case "thread.new":
            is_own = payload["summary"]["root_author"]["id"] == user_id
            state[payload["root_id"]] = {**payload["summary"], "unread": 0 if is_own else 1}
        case "message.created" if (message := payload["message"])["parent_id"]:
            is_own = message["author"] is not None and message["author"]["id"] == user_id
            thread = state[message["root_id"]]
            thread["unread"] = 0 if is_own else thread["unread"] + 1
        case "thread.activity":
            state[payload["root_id"]] |= payload
        case "message.edited" | "message.restored" if payload["message_id"] == payload["root_id"]:
            state[payload["root_id"]]["root_excerpt"] = payload["content"][:200]
        case "message.deleted" if payload["message_id"] == payload["root_id"]:
            state[payload["root_id"]]["root_excerpt"] = ""
        case "unread.update":
            state[payload["root_id"]]["unread"] = payload["unread"]


def to_conversation(state: State, kind: str, payload: dict[str, Any], user_id: str) -> None:
    """Apply one event to what the list of conversations says of one, but for its sum of unread messages."""
    match kind:
        case "message.created":
            state["last_activity_at"] = payload["message"]["created_at"]
        case "conversation.updated":
            state |= payload
        case "membership.changed":
            state |= {key: payload[key] for key in ("member_count", "assistant_mode")}
            if payload["user_id"] == user_id:
                state["role"] = payload["role"]

// Reading snapshots into the state: begin (events are held from here on), then apply or abandon.

import type { Conversation, Member, Message, Page, Snapshot } from "../api/types";
import { applyToList, applyToTranscript } from "./apply";
import { isAfter, parseCursor } from "./events";
import { compareMessages, EMPTY_TRANSCRIPT, withTranscript, type State } from "./state";

/** Call before the request is sent. A second begin goes on holding from the first. */
export function beginList(state: State): State {
  return { ...state, list: { ...state.list, is_stale: false, held: state.list.held ?? [] } };
}

export function applyList(state: State, snapshot: Snapshot<Conversation>): State {
  const position = parseCursor(snapshot.stream_cursor);
  const held = state.list.held ?? [];
  const list = { position, is_loaded: true, is_stale: false, held: null, counted: [] };
  const fresh: State = { ...state, conversations: snapshot.items, list, position: state.position ?? position };
  return held.filter((event) => isAfter(event.position, position)).reduce(applyToList, fresh);
}

/** The read failed: what is shown stays, and is known to be out of date. */
export function abandonList(state: State): State {
  return { ...state, list: { ...state.list, is_stale: true, held: null } };
}

/** Call before the requests are sent. */
export function beginTranscript(state: State, id: string): State {
  const before = state.transcripts[id] ?? EMPTY_TRANSCRIPT;
  return { ...state, transcripts: { ...state.transcripts, [id]: { ...before, is_stale: false, held: before.held ?? [] } } };
}

/** `messages` come newest first, as the server lists them. Ignored when the conversation was dropped meanwhile. */
export function applyTranscript(state: State, id: string, snapshot: Snapshot<Message>, members: readonly Member[]): State {
  return withTranscript(state, id, (before) => {
    const position = parseCursor(snapshot.stream_cursor);
    const messages = snapshot.items.toSorted(compareMessages);
    const fresh = { messages, members, older_cursor: snapshot.next_cursor, is_stale: false, is_loaded: true, held: null };
    // Members are read by a request of their own, perhaps before the snapshot's cursor: their events always apply, and may twice.
    const missed = (before.held ?? []).filter((event) => event.type === "membership.changed" || isAfter(event.position, position));
    return missed.reduce(applyToTranscript, fresh);
  });
}

export function abandonTranscript(state: State, id: string): State {
  return withTranscript(state, id, (before) => ({ ...before, is_stale: true, held: null }));
}

/** Put an older page in front; messages that are there already stay as they are, for events have kept them fresh. */
export function applyOlder(state: State, id: string, page: Page<Message>): State {
  return withTranscript(state, id, (before) => {
    const known = new Set(before.messages.map((message) => message.id));
    const older = page.items.filter((message) => !known.has(message.id));
    return { ...before, messages: [...older, ...before.messages].toSorted(compareMessages), older_cursor: page.next_cursor };
  });
}

/** Forget a transcript that is not shown any more; it is read again when needed. */
export function dropTranscript(state: State, id: string): State {
  return { ...state, transcripts: Object.fromEntries(Object.entries(state.transcripts).filter(([key]) => key !== id)) };
}

/** The reader has seen everything in a conversation. */
export function markRead(state: State, id: string): State {
  const conversations = state.conversations.map((item) => (item.id === id && item.unread > 0 ? { ...item, unread: 0 } : item));
  return { ...state, conversations };
}

// The pure reducer of stream events. `applyEvent(state, event)` never mutates, never waits, never fails;
// it answers the same state object when nothing changed. See state.ts for the rule it keeps.

import type { Conversation, Member, Message, MessageStatus } from "../api/types";
import type { DeltaPayload, Event, EventOf } from "./events";
import { isAfter } from "./events";
import { compareMessages, withTranscript, type State, type Transcript } from "./state";

const COUNTED_KEPT = 64;

export function applyEvent(state: State, event: Event): State {
  if (event.position !== null && !isAfter(event.position, state.position)) return state;
  let next = event.position === null ? state : { ...state, position: event.position };
  next = hold(next, event);
  next = applyToList(next, event);
  return applyToTranscripts(next, event);
}

/** Keep the event for the snapshots that are being read and may not contain it. */
function hold(state: State, event: Event): State {
  let next = state;
  if (next.list.held !== null) next = { ...next, list: { ...next.list, held: [...next.list.held, event] } };
  for (const id of concernedTranscripts(next, event)) {
    next = withTranscript(next, id, (transcript) =>
      transcript.held === null ? transcript : { ...transcript, held: [...transcript.held, event] },
    );
  }
  return next;
}

/** A gap concerns them all: the event does not tell which conversations it tore. */
function concernedTranscripts(state: State, event: Event): readonly string[] {
  if (event.type === "stream.gap") return Object.keys(state.transcripts);
  return event.conversation_id === null ? [] : [event.conversation_id];
}

/** The part of `applyEvent` that concerns the list of conversations. */
export function applyToList(state: State, event: Event): State {
  switch (event.type) {
    case "message.created":
      return countMessage(state, event);
    case "thread.activity":
      return touch(state, event.conversation_id, event.payload.last_activity_at);
    case "conversation.updated":
      return updateConversation(state, event);
    case "membership.changed":
      return changeMembership(state, event);
    case "unread.update":
      return isRead(state, event) ? state : staleList(state);
    case "stream.gap":
      return event.payload.message_id === undefined ? staleList(state) : state;
    case "generation.queued":
      return { ...state, queue: { ...state.queue, [event.payload.message_id]: event.payload.position } };
    case "message.continued":
    case "message.done":
      return leaveQueue(state, event.payload.message_id);
    default:
      return state;
  }
}

function leaveQueue(state: State, id: string): State {
  if (!(id in state.queue)) return state;
  return { ...state, queue: Object.fromEntries(Object.entries(state.queue).filter(([key]) => key !== id)) };
}

function staleList(state: State): State {
  return state.list.is_stale ? state : { ...state, list: { ...state.list, is_stale: true } };
}

function isRead(state: State, event: EventOf<"unread.update">): boolean {
  return event.payload.unread === 0 && state.conversations.find((item) => item.id === event.conversation_id)?.unread === 0;
}

function isListed(state: State, id: string | null): boolean {
  return !state.list.is_loaded || state.conversations.some((item) => item.id === id);
}

function withConversation(state: State, id: string | null, change: (item: Conversation) => Conversation): State {
  const index = state.conversations.findIndex((item) => item.id === id);
  const before = state.conversations[index];
  if (before === undefined) return state;
  const after = change(before);
  return after === before ? state : { ...state, conversations: state.conversations.with(index, after) };
}

function touch(state: State, id: string | null, at: string): State {
  return withConversation(state, id, (item) =>
    Date.parse(at) > Date.parse(item.last_activity_at) ? { ...item, last_activity_at: at } : item,
  );
}

function countMessage(state: State, event: EventOf<"message.created">): State {
  const { message } = event.payload;
  if (!isListed(state, message.conversation_id)) return staleList(state);
  const next = touch(state, message.conversation_id, message.created_at);
  const isCounted = !isAfter(event.position, state.list.position) || state.list.counted.includes(message.id);
  if (isCounted) return next;
  if (message.author?.id === state.user_id) return readByWriting(next, message.conversation_id);
  const counted = [...state.list.counted, message.id].slice(-COUNTED_KEPT);
  return withConversation({ ...next, list: { ...next.list, counted } }, message.conversation_id, (item) => ({
    ...item,
    unread: item.unread + 1,
  }));
}

/** Who writes has read the thread, on whatever device: how much is unread now, only the server can tell. */
function readByWriting(state: State, id: string): State {
  return state.conversations.some((item) => item.id === id && item.unread > 0) ? staleList(state) : state;
}

const PATCHABLE = ["title", "model", "assistant_mode", "system_prompt", "is_group"] as const;

function updateConversation(state: State, event: EventOf<"conversation.updated">): State {
  if (event.payload["archived_at"]) return dropConversation(state, event.conversation_id);
  const known = PATCHABLE.filter((key) => key in event.payload).map((key) => [key, event.payload[key]] as const);
  return withConversation(state, event.conversation_id, (item) => ({ ...item, ...Object.fromEntries(known) }));
}

function changeMembership(state: State, event: EventOf<"membership.changed">): State {
  const { user_id, role, action, member_count, assistant_mode } = event.payload;
  const isOwn = user_id === state.user_id;
  if (isOwn && action === "removed") return dropConversation(state, event.conversation_id);
  if (isOwn && action === "added" && !isListed(state, event.conversation_id)) return staleList(state);
  return withConversation(state, event.conversation_id, (item) => ({
    ...item,
    member_count,
    assistant_mode,
    role: isOwn ? role : item.role,
  }));
}

function dropConversation(state: State, id: string | null): State {
  const transcripts = Object.fromEntries(Object.entries(state.transcripts).filter(([key]) => key !== id));
  return { ...state, conversations: state.conversations.filter((item) => item.id !== id), transcripts };
}

function applyToTranscripts(state: State, event: Event): State {
  return concernedTranscripts(state, event).reduce(
    (next, id) => withTranscript(next, id, (transcript) => applyToTranscript(transcript, event)),
    state,
  );
}

/** A gap that names a message tears only the transcript that shows it. */
function isTornBy(transcript: Transcript, messageId: string | undefined): boolean {
  return messageId === undefined || transcript.messages.some((message) => message.id === messageId);
}

function stale(transcript: Transcript): Transcript {
  return transcript.is_stale ? transcript : { ...transcript, is_stale: true };
}

/** The part of `applyEvent` that concerns one conversation's messages and members. */
export function applyToTranscript(transcript: Transcript, event: Event): Transcript {
  switch (event.type) {
    case "message.created":
      return insertMessage(transcript, event.payload.message);
    case "message.delta":
      return changeMessage(transcript, event.payload.message_id, (message) => appendDelta(message, event.payload));
    case "message.done":
      return changeMessage(transcript, event.payload.message_id, (message) => finishMessage(message, event));
    case "message.continued":
      return changeMessage(transcript, event.payload.message_id, (message) => continueMessage(message, event));
    case "message.edited":
      return changeMessage(transcript, event.payload.message_id, (message) => ({
        ...message,
        content: event.payload.content,
        edited_at: event.payload.edited_at,
      }));
    case "message.deleted":
      return changeMessage(transcript, event.payload.message_id, (message) => deleteMessage(message, event));
    case "message.restored":
      return changeMessage(transcript, event.payload.message_id, (message) => restoreMessage(message, event));
    case "error":
      return changeMessage(transcript, event.payload.message_id, (message) => failMessage(message, event));
    case "stream.gap":
      return isTornBy(transcript, event.payload.message_id) ? stale(transcript) : transcript;
    case "membership.changed":
      return { ...transcript, members: changeMembers(transcript.members, event) };
    default:
      return transcript;
  }
}

/** Messages older than the window that was read belong to a page that has not been read yet. */
function insertMessage(transcript: Transcript, message: Message): Transcript {
  const { messages } = transcript;
  if (messages.some((known) => known.id === message.id)) return transcript;
  const place = messages.findLastIndex((known) => compareMessages(known, message) < 0) + 1;
  if (place === 0 && transcript.older_cursor !== null) return transcript;
  return { ...transcript, messages: countSiblings(messages, message).toSpliced(place, 0, message) };
}

/** One more answer to the same message: its siblings are so many now. */
function countSiblings(messages: readonly Message[], made: Message): readonly Message[] {
  if (made.role !== "assistant" || made.sibling_count === 1) return messages;
  const isFewer = (message: Message): boolean =>
    message.role === "assistant" && message.parent_id === made.parent_id && message.sibling_count < made.sibling_count;
  return messages.map((message) => (isFewer(message) ? { ...message, sibling_count: made.sibling_count } : message));
}

/** `change` answers null when the event shows that chunks are missing. */
function changeMessage(transcript: Transcript, id: string | undefined, change: (message: Message) => Message | null): Transcript {
  const index = transcript.messages.findLastIndex((message) => message.id === id);
  const before = transcript.messages[index];
  if (before === undefined) return transcript;
  const after = change(before);
  if (after === null) return stale(transcript);
  return after === before ? transcript : { ...transcript, messages: transcript.messages.with(index, after) };
}

/**
 * Chunks already there are skipped; a frame that starts past the next chunk shows a hole. A merged frame that starts
 * before it and ends after it cannot be cut (its chunks' lengths are not told), so it counts as a hole too.
 */
function appendDelta(message: Message, delta: DeltaPayload): Message | null {
  const from = delta.idx_from ?? delta.idx;
  if (delta.idx < message.next_idx) return message;
  if (from !== message.next_idx) return null;
  const text = delta.choices[0]?.delta.content ?? "";
  const status = message.status === "queued" ? "streaming" : message.status;
  return { ...message, status, content: message.content + text, next_idx: delta.idx + 1 };
}

const STATUS_OF: Readonly<Record<EventOf<"message.done">["payload"]["finish_reason"], MessageStatus>> = {
  stop: "complete",
  length: "complete",
  cancelled: "cancelled",
  timeout: "error",
  error: "error",
};

/** The last word of a former attempt changes nothing any more; that of a later one shows that its beginning is missing. */
function finishMessage(message: Message, event: EventOf<"message.done">): Message | null {
  const { finish_reason, usage, chunks, model, attempt, context, timing } = event.payload;
  if (attempt < message.attempt) return message;
  if (attempt > message.attempt || message.next_idx < chunks) return null;
  return { ...message, status: STATUS_OF[finish_reason], finish_reason, usage, model, context, timing };
}

/** The answer runs again from its next chunk: its text stays, its end is undone. */
function continueMessage(message: Message, event: EventOf<"message.continued">): Message | null {
  const { attempt, next_idx } = event.payload;
  if (attempt <= message.attempt) return message;
  if (message.next_idx < next_idx) return null;
  return { ...message, status: "queued", attempt, finish_reason: null, usage: null, error: null, context: null, timing: null };
}

/** An answer that has grown since was restored since: the deletion is told a second time. */
function deleteMessage(message: Message, event: EventOf<"message.deleted">): Message {
  const { deleted_at, deleted_by, next_idx } = event.payload;
  return message.next_idx > next_idx ? message : { ...message, content: "", deleted_at, deleted_by };
}

function restoreMessage(message: Message, event: EventOf<"message.restored">): Message | null {
  const { content, next_idx } = event.payload;
  if (message.next_idx > next_idx) return message;
  return message.next_idx < next_idx ? null : { ...message, content, deleted_at: null, deleted_by: null };
}

function failMessage(message: Message, event: EventOf<"error">): Message | null {
  const { code, message: text, attempt = message.attempt } = event.payload;
  if (attempt < message.attempt) return message;
  if (attempt > message.attempt) return null;
  const status: MessageStatus = code === "generation_interrupted" ? "interrupted" : "error";
  return { ...message, status, error: { code, message: text } };
}

function changeMembers(members: readonly Member[], event: EventOf<"membership.changed">): readonly Member[] {
  const { user_id, role, action, user } = event.payload;
  if (action === "removed") return members.filter((member) => member.user_id !== user_id);
  const known = members.find((member) => member.user_id === user_id);
  if (known !== undefined) return members.map((member) => (member === known ? { ...member, role } : member));
  const added = { user_id, role, display_name: user.display_name, email: null, joined_at: event.at };
  return [...members, added];
}

// The closed union of stream events, and the one place where a frame's text becomes one of them.
// A type that this page does not know is nobody's business here: it parses to null and is skipped, position included.

import type * as wire from "../api/schema";

/** A place in the event log: positions of one epoch are ordered, those of two epochs are not comparable. */
export interface Position {
  readonly epoch: string;
  readonly index: number;
}

interface Envelope<Type extends string, Payload> {
  readonly type: Type;
  /** Null for transient and for personal events that belong to no conversation. */
  readonly conversation_id: string | null;
  /** Null where the frame had no `id` of its own (transient, or inside a compacted block). */
  readonly position: Position | null;
  readonly at: string;
  readonly payload: Payload;
}

/** What the page reads of an event of the wire. */
type Told<Wire extends { readonly type: string; readonly payload: object }, Fields extends keyof Wire["payload"]> =
  Envelope<Wire["type"], Pick<Wire["payload"], Fields>>;

export type DeltaPayload = Pick<wire.Delta, "message_id" | "idx" | "idx_from"> & {
  readonly choices: readonly { readonly delta: Partial<Pick<wire.DeltaText, "content">> }[];
};

export type Event =
  | Told<wire.MessageCreated, "message">
  | Envelope<wire.MessageDelta["type"], DeltaPayload>
  | Told<wire.MessageDone, "message_id" | "finish_reason" | "usage" | "chunks" | "model" | "attempt" | "context" | "timing">
  | Told<wire.MessageContinued, "message_id" | "next_idx" | "attempt">
  | Told<wire.MessageEdited, "message_id" | "content" | "edited_at">
  | Told<wire.MessageDeleted, "message_id" | "deleted_at" | "deleted_by" | "next_idx">
  | Told<wire.MessageRestored, "message_id" | "content" | "next_idx">
  | Told<wire.ErrorEvent, "code" | "message" | "message_id" | "attempt">
  | Told<wire.MembershipChanged, "user_id" | "role" | "action" | "user" | "member_count" | "assistant_mode">
  | Told<wire.ConversationUpdated, keyof wire.ConversationChanged>
  | Told<wire.ThreadNew, "root_id">
  | Told<wire.ThreadActivityEvent, "root_id" | "last_activity_at">
  | Told<wire.UnreadUpdate, "root_id" | "unread">
  | Told<wire.GenerationQueued, "message_id" | "position">
  | Told<wire.StreamReady, "resumed" | "cursor" | "heartbeat_seconds">
  | Told<wire.StreamGap, "reason" | "message_id">;

export type EventOf<Type extends Event["type"]> = Extract<Event, { type: Type }>;

const KNOWN: ReadonlySet<string> = new Set<Event["type"]>([
  "message.created", "message.delta", "message.done", "message.continued", "message.edited", "message.deleted", "message.restored", "error",
  "membership.changed", "conversation.updated", "thread.new", "thread.activity", "unread.update", "generation.queued",
  "stream.ready", "stream.gap",
]);

/** Split `<epoch>-<position>`; null when it has another shape. */
export function parseCursor(cursor: string): Position | null {
  const cut = cursor.lastIndexOf("-");
  const index = Number(cursor.slice(cut + 1));
  return cut > 0 && Number.isSafeInteger(index) && index >= 0 ? { epoch: cursor.slice(0, cut), index } : null;
}

/** Whether `position` lies after `mark` in the same history; unknown places count as after. */
export function isAfter(position: Position | null, mark: Position | null): boolean {
  return position === null || mark === null || position.epoch !== mark.epoch || position.index > mark.index;
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Turn one frame (`data:` text and its own `id:`, if it had one) into an event; null when it is none this page follows. */
export function parseEvent(data: string, id: string | undefined): Event | null {
  let envelope: unknown;
  try {
    envelope = JSON.parse(data);
  } catch {
    return null;
  }
  if (!isRecord(envelope) || typeof envelope["type"] !== "string" || !KNOWN.has(envelope["type"]) || !isRecord(envelope["payload"])) {
    return null;
  }
  const position = id === undefined ? null : parseCursor(id);
  return { ...envelope, conversation_id: envelope["conversation_id"] ?? null, position } as unknown as Event;
}

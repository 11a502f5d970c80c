// The closed union of stream events, and the one place where a frame's text becomes one of them.
// A type that this page does not know is nobody's business here: it parses to null and is skipped, position included.

import type { AssistantMode, Author, Failure, FinishReason, Message, PromptContext, Role, Timing, Usage } from "../api/types";

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

export interface DeltaPayload {
  readonly message_id: string;
  readonly idx: number;
  /** Set when the frame was merged: it covers the chunks `idx_from` to `idx`. */
  readonly idx_from?: number;
  readonly choices: readonly { readonly delta: { readonly content?: string } }[];
}

export type Event =
  | Envelope<"message.created", { readonly message: Message }>
  | Envelope<"message.delta", DeltaPayload>
  | Envelope<"message.done", {
      readonly message_id: string;
      readonly finish_reason: FinishReason;
      readonly usage: Usage | null;
      /** How many chunks the whole answer has. */
      readonly chunks: number;
      /** Which model answered in the end. */
      readonly model: string | null;
      readonly attempt: number;
      readonly context: PromptContext | null;
      readonly timing: Timing;
    }>
  | Envelope<"message.continued", { readonly message_id: string; readonly next_idx: number; readonly attempt: number }>
  | Envelope<"message.edited", { readonly message_id: string; readonly content: string; readonly edited_at: string }>
  | Envelope<"message.deleted", { readonly message_id: string; readonly deleted_at: string; readonly deleted_by: Author | null; readonly next_idx: number }>
  | Envelope<"message.restored", { readonly message_id: string; readonly content: string; readonly next_idx: number }>
  | Envelope<"error", Failure & { readonly message_id?: string; readonly attempt?: number }>
  | Envelope<"membership.changed", {
      readonly user_id: string;
      readonly role: Role;
      readonly action: "added" | "removed" | "role_updated";
      readonly user: { readonly id: string; readonly display_name: string };
      readonly member_count: number;
      /** The effective one, which company may have changed. */
      readonly assistant_mode: AssistantMode;
    }>
  | Envelope<"conversation.updated", Readonly<Record<string, unknown>>>
  | Envelope<"thread.new", { readonly root_id: string }>
  | Envelope<"thread.activity", { readonly root_id: string; readonly last_activity_at: string }>
  | Envelope<"unread.update", { readonly root_id: string; readonly unread: number }>
  | Envelope<"generation.queued", { readonly message_id: string; readonly position: number }>
  | Envelope<"stream.ready", { readonly resumed: boolean; readonly cursor: string; readonly heartbeat_seconds: number }>
  | Envelope<"stream.gap", { readonly reason: string; readonly message_id?: string }>;

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

// How a list of messages is laid out: what stands between them, and what each one answers.

import type { Message } from "../api/types";

export interface Row {
  readonly message: Message;
  readonly previous: Message | null;
  /** What this message answers, when that is not the message right above it; null too when it is not in the window. */
  readonly answered: Message | null;
  readonly startsDay: boolean;
  /** A root that is not the first message: the model was told nothing of what stands above. */
  readonly startsTopic: boolean;
  /** Same author as above, shortly after: no name and no picture again. */
  readonly isContinued: boolean;
}

const CONTINUED_MS = 5 * 60_000;

function dayOf(message: Message): string {
  return new Date(message.created_at).toDateString();
}

function isContinued(message: Message, previous: Message): boolean {
  return (
    message.role === "user" &&
    previous.role === "user" &&
    message.author?.id === previous.author?.id &&
    message.parent_id === previous.id &&
    Date.parse(message.created_at) - Date.parse(previous.created_at) < CONTINUED_MS
  );
}

function toRow(message: Message, previous: Message | null, answered: Message | null): Row {
  const startsDay = previous === null || dayOf(message) !== dayOf(previous);
  const startsTopic = previous !== null && message.parent_id === null;
  return { message, previous, answered, startsDay, startsTopic, isContinued: previous !== null && !startsDay && isContinued(message, previous) };
}

/** Whether an answer stopped before its end, so that it can be continued. */
export function isUnfinished(message: Message): boolean {
  if (message.role !== "assistant" || message.deleted_at !== null) return false;
  return ["interrupted", "cancelled", "error"].includes(message.status) || message.finish_reason === "length";
}

/**
 * Rows of `messages`, taking over those of `before` that would be the same: only what changed is drawn again. What is the same
 * from the start on is not even looked at, so a token at the end of ten thousand messages costs one row.
 */
export function toRows(messages: readonly Message[], before: readonly Row[]): readonly Row[] {
  const changed = messages.findIndex((message, index) => before[index]?.message !== message);
  const same = changed === -1 ? messages.length : changed;
  if (same === messages.length && same === before.length) return before;
  const rest = messages.slice(same);
  const known = new Map(before.slice(same).map((row) => [row.message.id, row]));
  return before.slice(0, same).concat(
    rest.map((message, offset) => {
      const previous = messages[same + offset - 1] ?? null;
      const isPlain = message.parent_id === null || message.parent_id === previous?.id;
      const parent = isPlain ? null : (messages.findLast((other) => other.id === message.parent_id) ?? null);
      const old = known.get(message.id);
      const isSame = old !== undefined && old.message === message && isAlike(old.previous, previous) && old.answered?.id === parent?.id;
      return isSame ? old : toRow(message, previous, parent);
    }),
  );
}

/** A message above that only grew changes nothing below it. */
function isAlike(a: Message | null, b: Message | null): boolean {
  return a === b || (a !== null && b !== null && a.id === b.id);
}

/** The newest message that can be answered: what the composer continues from. */
export function lastAnswerable(messages: readonly Message[]): Message | null {
  return messages.findLast((message) => message.deleted_at === null) ?? null;
}

/** The answers that are being made, newest last. */
export function running(messages: readonly Message[]): readonly Message[] {
  return messages.filter((message) => message.status === "queued" || message.status === "streaming");
}

/** Read marks to set so that nothing is unread: for each thread of the last `unread` messages of others, its newest ordinal. */
export function readMarks(messages: readonly Message[], unread: number, userId: string): ReadonlyMap<string, number> {
  const roots = new Set(
    messages
      .filter((message) => message.author?.id !== userId)
      .slice(-Math.max(unread, 1))
      .map((message) => message.root_id),
  );
  const marks = new Map<string, number>();
  for (const { root_id, ordinal } of messages) {
    if (roots.has(root_id)) marks.set(root_id, Math.max(ordinal, marks.get(root_id) ?? 0));
  }
  return marks;
}

/** One line that says which message is meant. */
export function excerpt(content: string, length = 90): string {
  const line = content.replace(/[`*_#>~\s]+/g, " ").trim();
  return line.length > length ? `${line.slice(0, length).trimEnd()}…` : line;
}

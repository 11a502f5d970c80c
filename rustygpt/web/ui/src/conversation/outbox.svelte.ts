// Messages on their way: shown at once, dropped when the conversation has them, kept when they did not arrive.
//
// What a later try may mend (no network, a server that is away) is tried again by itself, in the order in which it was written; what the
// server refused waits for the person. A retry repeats the same client id, so that a message whose answer was lost is not posted twice.

import { ApiError } from "../api/client";
import { newClientId, postMessage, type NewMessage } from "../api/messages";
import type { Message } from "../api/types";

const FIRST_WAIT_MS = 1_000;
const LAST_WAIT_MS = 30_000;
const AWAY: ReadonlySet<number> = new Set([0, 502, 503, 504]);

export interface Entry extends NewMessage {
  readonly conversationId: string;
  /** `waiting`: it is tried again by itself. */
  readonly state: "sending" | "sent" | "failed" | "waiting";
  /** Known once the server has answered. */
  readonly messageId: string | null;
  readonly error: ApiError | null;
  /** Messages that were there before: one of them cannot be this one. */
  readonly known: ReadonlySet<string>;
}

export class Outbox {
  entries: readonly Entry[] = $state.raw([]);
  #timer: ReturnType<typeof setTimeout> | undefined;
  #failures = 0;
  #isFlushing = false;

  constructor() {
    globalThis.addEventListener("online", () => void this.flush());
  }

  /** What of `conversationId` is not among `messages` yet. */
  pending(conversationId: string, messages: readonly Message[], userId: string): readonly Entry[] {
    return this.entries.filter(
      (entry) =>
        entry.conversationId === conversationId &&
        !messages.some((message) =>
          entry.messageId === null
            ? message.author?.id === userId && message.content === entry.content && !entry.known.has(message.id)
            : message.id === entry.messageId,
        ),
    );
  }

  async send(conversationId: string, content: string, parentId: string | null, messages: readonly Message[]): Promise<void> {
    const known = new Set(messages.map((message) => message.id));
    const client_id = newClientId();
    const isBehind = this.entries.some((other) => other.state === "waiting");
    const state = isBehind ? "waiting" : "sending";
    const entry: Entry = { conversationId, content, parent_id: parentId, client_id, state, messageId: null, error: null, known };
    this.entries = [...this.entries.filter((other) => other.state !== "sent"), entry];
    await (isBehind ? this.flush() : this.#post(entry));
  }

  async retry(entry: Entry): Promise<void> {
    await this.#post(entry);
    await this.flush();
  }

  discard(entry: Entry): void {
    this.entries = this.entries.filter((other) => other.client_id !== entry.client_id);
  }

  /** Try all that wait, one after the other; at the first that still cannot be sent, later again. */
  async flush(): Promise<void> {
    if (this.#isFlushing) return;
    clearTimeout(this.#timer);
    this.#isFlushing = true;
    try {
      for (let entry = this.#waiting(); entry !== undefined; entry = this.#waiting()) {
        if ((await this.#post(entry)) === "waiting") break;
      }
    } finally {
      this.#isFlushing = false;
    }
    this.#wait();
  }

  #waiting(): Entry | undefined {
    return this.entries.find((entry) => entry.state === "waiting");
  }

  /** Doubling, with jitter: a thousand pages do not come back in the same moment. */
  #wait(): void {
    clearTimeout(this.#timer);
    if (this.#waiting() === undefined) return;
    const top = Math.min(LAST_WAIT_MS, FIRST_WAIT_MS * 2 ** (this.#failures - 1));
    this.#timer = setTimeout(() => void this.flush(), top / 2 + (Math.random() * top) / 2);
  }

  async #post(entry: Entry): Promise<Entry["state"]> {
    this.#change(entry.client_id, { state: "sending", error: null });
    let state: Entry["state"] = "sent";
    try {
      const { message_id } = await postMessage(entry.conversationId, entry);
      this.#failures = 0;
      this.#change(entry.client_id, { state, messageId: message_id });
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      state = AWAY.has(error.status) ? "waiting" : "failed";
      if (state === "waiting") this.#failures += 1;
      this.#change(entry.client_id, { state, error });
      if (!this.#isFlushing) this.#wait();
    }
    return state;
  }

  #change(clientId: string, change: Partial<Entry>): void {
    this.entries = this.entries.map((entry) => (entry.client_id === clientId ? { ...entry, ...change } : entry));
  }
}

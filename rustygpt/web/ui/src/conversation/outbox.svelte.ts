// Messages on their way: shown at once, dropped when the conversation has them, kept with a retry when they did not arrive.
//
// A retry repeats the same client id, so that a message whose answer was lost is not posted twice.

import { ApiError } from "../api/client";
import { newClientId, postMessage, type NewMessage } from "../api/messages";
import type { Message } from "../api/types";

export interface Entry extends NewMessage {
  readonly conversationId: string;
  readonly state: "sending" | "sent" | "failed";
  /** Known once the server has answered. */
  readonly messageId: string | null;
  readonly error: ApiError | null;
  /** Messages that were there before: one of them cannot be this one. */
  readonly known: ReadonlySet<string>;
}

export class Outbox {
  entries: readonly Entry[] = $state.raw([]);

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
    const entry: Entry = { conversationId, content, parent_id: parentId, client_id, state: "sending", messageId: null, error: null, known };
    this.entries = [...this.entries.filter((other) => other.state !== "sent"), entry];
    await this.#post(entry);
  }

  async retry(entry: Entry): Promise<void> {
    this.#change(entry.client_id, { state: "sending", error: null });
    await this.#post(entry);
  }

  discard(entry: Entry): void {
    this.entries = this.entries.filter((other) => other.client_id !== entry.client_id);
  }

  async #post(entry: Entry): Promise<void> {
    try {
      const { message_id } = await postMessage(entry.conversationId, entry);
      this.#change(entry.client_id, { state: "sent", messageId: message_id });
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#change(entry.client_id, { state: "failed", error });
    }
  }

  #change(clientId: string, change: Partial<Entry>): void {
    this.entries = this.entries.map((entry) => (entry.client_id === clientId ? { ...entry, ...change } : entry));
  }
}

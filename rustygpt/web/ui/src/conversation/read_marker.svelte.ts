// Tells the server what has been seen: only while the tab is looked at, and once for what is new.

import { ApiError } from "../api/client";
import { markThreadRead } from "../api/messages";
import type { Message } from "../api/types";
import type { Live } from "../stream/live.svelte";
import { readMarks } from "./rows";

export class ReadMarker {
  readonly #marked = new Map<string, number>();

  constructor(
    private readonly live: Live,
    private readonly conversationId: string,
    private readonly userId: string,
  ) {}

  mark(unread: number, messages: readonly Message[]): void {
    if (unread === 0 || document.hidden || messages.length === 0) return;
    this.live.markRead(this.conversationId);
    for (const [rootId, ordinal] of readMarks(messages, unread, this.userId)) {
      if ((this.#marked.get(rootId) ?? -1) >= ordinal) continue;
      this.#marked.set(rootId, ordinal);
      void this.#send(rootId, ordinal);
    }
  }

  /** A mark that does not arrive costs a badge after the next reload, nothing else. */
  async #send(rootId: string, ordinal: number): Promise<void> {
    try {
      await markThreadRead(rootId, ordinal);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#marked.delete(rootId);
    }
  }
}

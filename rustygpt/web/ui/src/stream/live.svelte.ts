// The page's living state: reads snapshots, feeds the reducer from the connection, and shows the result once per frame.
//
// The reducer runs for every event at once; components see the newest state at most once per painted frame, so a fast
// model costs the page one render per frame and not one per token.

import { ApiError } from "../api/client";
import { listConversations, listMembers } from "../api/conversations";
import { listMessages } from "../api/messages";
import type { Conversation, Message } from "../api/types";
import { applyEvent } from "./apply";
import { StreamConnection, type ConnectionStatus } from "./connection";
import type { Event } from "./events";
import * as snapshot from "./snapshot";
import { initialState, type State } from "./state";

const TRANSCRIPTS_KEPT = 6;
const REPAIR_PAUSE_MS = 2_000;

/** Told about events as they happen, for what is said aloud; never for what is shown. */
export type EventWitness = (event: Event, state: State) => void;

export class Live {
  state: State;
  status: ConnectionStatus = $state("connecting");
  /** Why the conversation that is open could not be read, null when it could. */
  failure: ApiError | null = $state(null);
  #newest: State;
  #isScheduled = false;
  #opened: string[] = [];
  #repair: ReturnType<typeof setTimeout> | undefined;
  #isRunning = false;
  #witness: EventWitness;
  #connection = new StreamConnection({
    event: (event) => this.#receive(event),
    status: (status) => (this.status = status),
    cursorRefused: () => void this.#restart(),
  });

  constructor(userId: string, witness: EventWitness) {
    this.#newest = initialState(userId);
    this.state = $state.raw(this.#newest);
    this.#witness = witness;
  }

  /** Read the list and follow the stream, until `stop`. */
  start(): void {
    this.#isRunning = true;
    void this.#restart();
  }

  stop(): void {
    this.#isRunning = false;
    this.#connection.close();
    clearTimeout(this.#repair);
  }

  /** The tab became visible, or the network is back. */
  reconcile(): void {
    if (!this.#isRunning) return;
    this.#connection.reconcile();
    this.#heal();
  }

  /** Show a conversation: read it unless it is here, and forget the one that was not looked at for longest. */
  open(id: string): void {
    this.failure = null;
    this.#opened = [id, ...this.#opened.filter((other) => other !== id)];
    for (const forgotten of this.#opened.splice(TRANSCRIPTS_KEPT)) this.#change(snapshot.dropTranscript(this.#newest, forgotten));
    if (this.#newest.transcripts[id] === undefined) void this.#readTranscript(id);
    else this.#heal();
  }

  async readOlder(id: string): Promise<void> {
    const cursor = this.#newest.transcripts[id]?.older_cursor;
    if (cursor == null) return;
    const page = await listMessages(id, cursor);
    // A snapshot that was read meanwhile starts its own pages.
    if (this.#newest.transcripts[id]?.older_cursor === cursor) this.#change(snapshot.applyOlder(this.#newest, id, page));
  }

  markRead(id: string): void {
    this.#change(snapshot.markRead(this.#newest, id));
  }

  /** List a conversation that was just created, unless its events were faster. */
  addConversation(conversation: Conversation): void {
    if (this.#newest.conversations.some((item) => item.id === conversation.id)) return;
    this.#change({ ...this.#newest, conversations: [conversation, ...this.#newest.conversations] });
  }

  removeConversation(id: string): void {
    const conversations = this.#newest.conversations.filter((item) => item.id !== id);
    this.#change(snapshot.dropTranscript({ ...this.#newest, conversations }, id));
  }

  /** The newest message known, which may be one frame ahead of the shown one. */
  findMessage(conversationId: string, messageId: string): Message | undefined {
    return this.#newest.transcripts[conversationId]?.messages.findLast((message) => message.id === messageId);
  }

  #receive(event: Event): void {
    this.#change(applyEvent(this.#newest, event));
    this.#witness(event, this.#newest);
    this.#heal();
  }

  #change(next: State): void {
    if (next === this.#newest) return;
    this.#newest = next;
    if (this.#isScheduled) return;
    this.#isScheduled = true;
    if (document.hidden) setTimeout(() => this.#publish(), 100);
    else requestAnimationFrame(() => this.#publish());
  }

  #publish(): void {
    this.#isScheduled = false;
    this.state = this.#newest;
  }

  /** Read the list, then follow the stream from its cursor. */
  async #restart(): Promise<void> {
    const ids = Object.keys(this.#newest.transcripts);
    this.#change({ ...this.#newest, position: null });
    const cursor = await this.#readList();
    if (!this.#isRunning) return;
    if (cursor === null) {
      this.#repair = setTimeout(() => void this.#restart(), REPAIR_PAUSE_MS);
      return;
    }
    this.#connection.open(cursor);
    for (const id of ids) void this.#readTranscript(id);
  }

  /** The snapshot's cursor, or null when it could not be read. */
  async #readList(): Promise<string | null> {
    this.#change(snapshot.beginList(this.#newest));
    try {
      const list = await listConversations();
      this.#change(snapshot.applyList(this.#newest, list));
      return list.stream_cursor;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      this.#change(snapshot.abandonList(this.#newest));
      if (this.status === "connecting" && error.status === 0) this.status = navigator.onLine ? "reconnecting" : "offline";
      return null;
    }
  }

  async #readTranscript(id: string): Promise<void> {
    this.#change(snapshot.beginTranscript(this.#newest, id));
    try {
      const [messages, members] = await Promise.all([listMessages(id), listMembers(id)]);
      this.#change(snapshot.applyTranscript(this.#newest, id, messages, members.items));
      if (this.#opened[0] === id) this.failure = null;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (error.status === 404) this.removeConversation(id);
      else this.#change(snapshot.abandonTranscript(this.#newest, id));
      if (this.#opened[0] === id) this.failure = error;
      this.#healLater();
    }
  }

  /** Read again what the reducer found torn: the list, the open conversation; others when they are opened. */
  #heal(): void {
    if (!this.#isRunning || this.#repair !== undefined) return;
    const { list, transcripts } = this.#newest;
    if (list.is_loaded && list.is_stale && list.held === null) void this.#readList().then((cursor) => cursor === null && this.#healLater());
    const id = this.#opened[0];
    const open = id === undefined ? undefined : transcripts[id];
    if (id !== undefined && open?.is_stale && open.held === null) void this.#readTranscript(id);
  }

  #healLater(): void {
    clearTimeout(this.#repair);
    this.#repair = setTimeout(() => {
      this.#repair = undefined;
      this.#heal();
    }, REPAIR_PAUSE_MS);
  }
}

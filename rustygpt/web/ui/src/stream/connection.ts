// One stream of the user's events, kept open for as long as the page is.
//
// A reader at a cursor: whatever happens to the connection, the next one asks for what comes after the last id that was
// received. Read with fetch and not with EventSource, because a page that must not lose anything has to see what
// EventSource hides: heartbeats (comments), the status of a refusal, `retry:`, and frames without an id of their own.

import { createParser, type EventSourceMessage } from "eventsource-parser";
import { parseEvent, type Event } from "./events";

export type ConnectionStatus = "connecting" | "live" | "reconnecting" | "offline" | "signed_out";

export interface ConnectionListener {
  event(event: Event): void;
  status(status: ConnectionStatus): void;
  /** The server does not know the cursor's form any more: everything has to be read again before the next `open`. */
  cursorRefused(): void;
}

export interface ConnectionOptions {
  readonly url: string;
  /** Milliseconds. */
  readonly firstRetry: number;
  readonly lastRetry: number;
  /** Silence, in milliseconds, after which a connection counts as dead before `stream.ready` has told the heartbeat. */
  readonly silence: number;
  readonly fetch: typeof fetch;
  readonly isOnline: () => boolean;
  readonly random: () => number;
}

export const BROWSER_OPTIONS: ConnectionOptions = {
  url: "/api/stream",
  firstRetry: 250,
  lastRetry: 10_000,
  silence: 20_000,
  fetch: (input, init) => fetch(input, init),
  isOnline: () => navigator.onLine,
  random: () => Math.random(),
};

/** How a connection ended, and so what to do next. */
type Ending = { readonly next: "retry"; readonly wait: number } | { readonly next: "signed_out" } | { readonly next: "refused" };

// Two heartbeats and a half: one may be late, two missing are a dead line.
const HEARTBEATS_OF_SILENCE = 2.5;

export class StreamConnection {
  #cursor: string | null = null;
  #abort: AbortController | null = null;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #watchdog: ReturnType<typeof setTimeout> | undefined;
  #heardAt = 0;
  #silence: number;
  #failures = 0;
  /** What the server asked for with `retry:`, in milliseconds; holds for one reconnect. */
  #asked: number | null = null;
  #isOpen = false;

  constructor(
    private readonly listener: ConnectionListener,
    private readonly options: ConnectionOptions = BROWSER_OPTIONS,
  ) {
    this.#silence = options.silence;
  }

  /** Start reading after `cursor`. */
  open(cursor: string): void {
    this.close();
    this.#cursor = cursor;
    this.#isOpen = true;
    this.#failures = 0;
    this.listener.status("connecting");
    void this.#run();
  }

  close(): void {
    this.#isOpen = false;
    clearTimeout(this.#timer);
    clearTimeout(this.#watchdog);
    this.#abort?.abort();
    this.#abort = null;
  }

  /** The tab was woken, or the network came back: do not wait for the timers. */
  reconcile(): void {
    if (!this.#isOpen) return;
    if (this.#abort === null) {
      clearTimeout(this.#timer);
      this.#failures = 0;
      void this.#run();
    } else if (Date.now() - this.#heardAt > this.#silence / 2) {
      this.#abort.abort();
    }
  }

  async #run(): Promise<void> {
    const abort = new AbortController();
    this.#abort = abort;
    this.#listen();
    const ending = await this.#read(abort.signal).catch((): Ending => ({ next: "retry", wait: this.#backoff() }));
    clearTimeout(this.#watchdog);
    if (this.#abort !== abort) return;
    this.#abort = null;
    if (this.#isOpen) this.#continue(ending);
  }

  #continue(ending: Ending): void {
    if (ending.next !== "retry") {
      this.#isOpen = false;
      if (ending.next === "signed_out") this.listener.status("signed_out");
      else this.listener.cursorRefused();
      return;
    }
    this.listener.status(this.options.isOnline() ? "reconnecting" : "offline");
    this.#timer = setTimeout(() => void this.#run(), ending.wait);
  }

  async #read(signal: AbortSignal): Promise<Ending> {
    const headers = { Accept: "text/event-stream", ...(this.#cursor === null ? {} : { "Last-Event-ID": this.#cursor }) };
    const response = await this.options.fetch(this.options.url, { headers, signal, cache: "no-store", credentials: "same-origin" });
    if (response.status === 401 || response.status === 403 || response.status === 423) return { next: "signed_out" };
    if (response.status === 400) return { next: "refused" };
    if (!response.ok || response.body === null) return { next: "retry", wait: this.#refusal(response) };
    const parser = createParser({
      onEvent: (frame) => this.#receive(frame),
      onRetry: (milliseconds) => (this.#asked = milliseconds),
    });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      parser.feed(part.value);
      this.#listen();
    }
    return { next: "retry", wait: this.#ended() };
  }

  #receive(frame: EventSourceMessage): void {
    const event = parseEvent(frame.data, frame.id);
    if (event !== null) {
      if (event.type === "stream.ready") {
        this.#failures = 0;
        this.#silence = event.payload.heartbeat_seconds * 1000 * HEARTBEATS_OF_SILENCE;
        this.#cursor ??= event.payload.cursor;
        this.listener.status("live");
      }
      this.listener.event(event);
    }
    // After the event was applied: a cursor that runs ahead of the state would lose it.
    if (frame.id !== undefined) this.#cursor = frame.id;
  }

  /** Something was heard: start the watchdog again. */
  #listen(): void {
    this.#heardAt = Date.now();
    clearTimeout(this.#watchdog);
    this.#watchdog = setTimeout(() => this.#abort?.abort(), this.#silence);
  }

  /** A clean end (maximum lifetime, drain): come back when the server asked for it, or at once. */
  #ended(): number {
    const wait = this.#failures === 0 ? (this.#asked ?? 0) : this.#backoff();
    this.#asked = null;
    this.#failures += 1;
    return wait;
  }

  #refusal(response: Response): number {
    const seconds = Number(response.headers.get("Retry-After"));
    const wait = this.#backoff();
    return Number.isFinite(seconds) && seconds > 0 ? Math.max(wait, seconds * 1000 * (1 + this.options.random() / 4)) : wait;
  }

  /** Doubling with full jitter below the top half, so that a thousand pages do not come back in the same moment. */
  #backoff(): number {
    const top = Math.min(this.options.lastRetry, this.options.firstRetry * 2 ** this.#failures);
    this.#failures += 1;
    return top / 2 + (this.options.random() * top) / 2;
  }
}

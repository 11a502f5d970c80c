// The connection reads on from the last id it received, whatever breaks: its far end is scripted here, frame by frame.

import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { BROWSER_OPTIONS, StreamConnection, type ConnectionOptions, type ConnectionStatus } from "./connection";
import type { Event } from "./events";

const READY = 'event: stream.ready\ndata: {"type":"stream.ready","conversation_id":null,"payload":{"resumed":true,"cursor":"e-0","heartbeat_seconds":10}}\n\n';

const frame = (id: string, type = "thread.new"): string => `id: ${id}\nevent: ${type}\ndata: {"type":"${type}","conversation_id":"c","payload":{"root_id":"r"}}\n\n`;

/** One accepted request: what was asked, and the pen to write its answer with. */
interface Line {
  readonly cursor: string | null;
  write(text: string): void;
  end(): void;
  breakOff(): void;
  readonly signal: AbortSignal;
}

class Far {
  readonly lines: Line[] = [];
  /** What to answer instead of a stream, for the next request. */
  refusals: (Response | "network")[] = [];

  readonly fetch = (_url: unknown, init?: RequestInit): Promise<Response> => {
    const refusal = this.refusals.shift();
    if (refusal === "network") return Promise.reject(new TypeError("refused"));
    if (refusal !== undefined) return Promise.resolve(refusal);
    const signal = init?.signal as AbortSignal;
    const cursor = new Headers(init?.headers).get("Last-Event-ID");
    const body = new ReadableStream<Uint8Array>({
      start: (controller) => {
        signal.addEventListener("abort", () => controller.error(new DOMException("aborted", "AbortError")));
        const write = (text: string): void => controller.enqueue(new TextEncoder().encode(text));
        this.lines.push({ cursor, write, end: () => controller.close(), breakOff: () => controller.error(new TypeError("reset")), signal });
      },
    });
    return Promise.resolve(new Response(body, { status: 200 }));
  };
}

let far: Far;
let events: Event[];
let statuses: ConnectionStatus[];
let refused: number;
let connection: StreamConnection;

beforeEach(() => {
  vi.useFakeTimers();
  far = new Far();
  events = [];
  statuses = [];
  refused = 0;
  const options: ConnectionOptions = { ...BROWSER_OPTIONS, fetch: far.fetch as typeof fetch, isOnline: () => true, random: () => 0.5 };
  connection = new StreamConnection(
    { event: (event) => events.push(event), status: (status) => statuses.push(status), cursorRefused: () => (refused += 1) },
    options,
  );
});

afterEach(() => {
  connection.close();
  vi.useRealTimers();
});

/** Let streams and promises go on, without letting time pass. */
const settle = (): Promise<unknown> => vi.advanceTimersByTimeAsync(0);

const line = (index: number): Line => {
  const found = far.lines[index];
  if (found === undefined) throw new Error(`there was no request ${index}, but ${far.lines.length}`);
  return found;
};

describe("StreamConnection", () => {
  it("reads after the cursor it was given, and is live when the stream is ready", async () => {
    connection.open("e-7");
    await settle();
    line(0).write(READY + frame("e-8"));
    await settle();
    expect([line(0).cursor, statuses.at(-1), events.map((event) => event.position?.index)]).toEqual(["e-7", "live", [undefined, 8]]);
  });

  it("comes back after the last id it received when the line breaks in the middle of a frame", async () => {
    connection.open("e-7");
    await settle();
    line(0).write(READY + frame("e-8") + frame("e-9").slice(0, 30));
    await settle();
    line(0).breakOff();
    await vi.advanceTimersByTimeAsync(500);
    expect([line(1).cursor, statuses.at(-1)]).toEqual(["e-8", "reconnecting"]);
  });

  it("keeps frames without an id apart from those with one, and does not move its cursor for them", async () => {
    connection.open("e-7");
    await settle();
    line(0).write(`${READY}${frame("e-8")}data: {"type":"thread.new","conversation_id":"c","payload":{"root_id":"r"}}\n\n`);
    await settle();
    line(0).breakOff();
    await vi.advanceTimersByTimeAsync(500);
    expect([events.at(-1)?.position, line(1).cursor]).toEqual([null, "e-8"]);
  });

  it("comes back as late as the server asks for when it ends the stream", async () => {
    connection.open("e-7");
    await settle();
    line(0).write(`retry: 7000\n\n${READY}`);
    await settle();
    line(0).end();
    await vi.advanceTimersByTimeAsync(6_900);
    expect(far.lines).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(200);
    expect(far.lines).toHaveLength(2);
  });

  it("waits longer after each failure, up to a limit, and starts over once it was live", async () => {
    far.refusals = Array.from({ length: 12 }, () => "network");
    connection.open("e-7");
    await vi.advanceTimersByTimeAsync(60_000);
    expect(far.refusals).toHaveLength(0);
    line(0).write(READY);
    await settle();
    line(0).breakOff();
    await vi.advanceTimersByTimeAsync(250);
    expect(far.lines).toHaveLength(2);
  });

  it("takes a line that says nothing, not even a heartbeat, for dead", async () => {
    connection.open("e-7");
    await settle();
    line(0).write(READY);
    await vi.advanceTimersByTimeAsync(20_000);
    line(0).write(": heartbeat\n\n");
    await vi.advanceTimersByTimeAsync(20_000);
    expect(far.lines).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(6_000);
    expect([line(0).signal.aborted, far.lines.length]).toEqual([true, 2]);
  });

  it("says that the person is signed out, and stops, when the server no longer knows them", async () => {
    far.refusals = [new Response(null, { status: 401 })];
    connection.open("e-7");
    await vi.advanceTimersByTimeAsync(60_000);
    expect([statuses, far.lines.length]).toEqual([["connecting", "signed_out"], 0]);
  });

  it("asks for everything to be read again when its cursor is refused", async () => {
    far.refusals = [new Response(null, { status: 400 })];
    connection.open("nonsense");
    await vi.advanceTimersByTimeAsync(60_000);
    expect([refused, far.lines.length]).toEqual([1, 0]);
  });

  it("obeys Retry-After when there are too many streams", async () => {
    far.refusals = [new Response(null, { status: 429, headers: { "Retry-After": "30" } })];
    connection.open("e-7");
    await vi.advanceTimersByTimeAsync(29_000);
    expect(far.lines).toHaveLength(0);
    await vi.advanceTimersByTimeAsync(10_000);
    expect(far.lines).toHaveLength(1);
  });

  it("does not wait for its timer when the network is back", async () => {
    far.refusals = Array.from({ length: 8 }, () => "network");
    connection.open("e-7");
    await vi.advanceTimersByTimeAsync(20_000);
    far.refusals = [];
    connection.reconcile();
    await settle();
    expect(far.lines).toHaveLength(1);
  });

  it("checks a line that has been silent for long when the tab is woken, and leaves a fresh one alone", async () => {
    connection.open("e-7");
    await settle();
    line(0).write(READY);
    await settle();
    connection.reconcile();
    await vi.advanceTimersByTimeAsync(15_000);
    expect(far.lines).toHaveLength(1);
    connection.reconcile();
    await vi.advanceTimersByTimeAsync(500);
    expect([line(0).signal.aborted, far.lines.length]).toEqual([true, 2]);
  });

  it("says nothing more after it was closed", async () => {
    connection.open("e-7");
    await settle();
    line(0).write(READY);
    await settle();
    connection.close();
    await vi.advanceTimersByTimeAsync(60_000);
    expect([far.lines.length, statuses.at(-1)]).toEqual([1, "live"]);
  });
});

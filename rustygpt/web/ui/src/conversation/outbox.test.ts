import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { Outbox } from "./outbox.svelte";

/** The far end: answers of `POST …/messages` in their order, and what was asked. */
const far = { answers: [] as (Response | null)[], asked: [] as { content: string; client_id: string }[] };
let hearOnline: () => void = () => undefined;

function posted(id: string): Response {
  return Response.json({ message_id: id }, { status: 201 });
}

function refused(status: number, detail: string): Response {
  return Response.json({ status, code: "X", detail }, { status });
}

beforeEach(() => {
  far.answers = [];
  far.asked = [];
  vi.useFakeTimers();
  vi.stubGlobal("document", { cookie: "" });
  vi.stubGlobal("addEventListener", (kind: string, listener: () => void) => kind === "online" && (hearOnline = listener));
  vi.stubGlobal("fetch", (_path: string, init: RequestInit) => {
    far.asked.push(JSON.parse(String(init.body)) as (typeof far.asked)[number]);
    const answer = far.answers.shift();
    return answer === null || answer === undefined ? Promise.reject(new TypeError("no network")) : Promise.resolve(answer);
  });
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

test("what the network kept back is sent by itself, with the same client id", async () => {
  const outbox = new Outbox();
  far.answers = [null, refused(503, "away"), posted("m1")];
  await outbox.send("c", "Hello", null, []);
  expect(outbox.entries.map((entry) => entry.state)).toEqual(["waiting"]);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(outbox.entries.map((entry) => [entry.state, entry.messageId])).toEqual([["sent", "m1"]]);
  expect(far.asked.length).toBe(3);
  expect(new Set(far.asked.map((each) => each.client_id)).size).toBe(1);
  await vi.advanceTimersByTimeAsync(120_000);
  expect(far.asked.length).toBe(3);
});

test("back online, what waits goes at once and in its order", async () => {
  const outbox = new Outbox();
  await outbox.send("c", "First", null, []);
  await outbox.send("c", "Second", null, []);
  far.asked = [];
  far.answers = [posted("m1"), posted("m2")];
  hearOnline();
  await vi.advanceTimersByTimeAsync(0);
  expect(far.asked.map((each) => each.content)).toEqual(["First", "Second"]);
  expect(outbox.entries.map((entry) => entry.messageId)).toEqual(["m1", "m2"]);
});

test("what the server refuses is not tried again by itself", async () => {
  const outbox = new Outbox();
  far.answers = [refused(429, "Your quota of 7 answers is used up.")];
  await outbox.send("c", "Hello", null, []);
  expect(outbox.entries.map((entry) => [entry.state, entry.error?.message])).toEqual([["failed", "Your quota of 7 answers is used up."]]);
  await vi.advanceTimersByTimeAsync(120_000);
  expect(far.asked.length).toBe(1);
});

test("what was discarded is not sent", async () => {
  const outbox = new Outbox();
  await outbox.send("c", "Hello", null, []);
  const [entry] = outbox.entries;
  if (entry !== undefined) outbox.discard(entry);
  await vi.advanceTimersByTimeAsync(120_000);
  expect(far.asked.length).toBe(1);
});

import { afterEach, beforeEach, expect, test, vi } from "vitest";
import { ApiError } from "../api/client";
import { Starter } from "./start";

interface Asked {
  readonly what: string;
  readonly body: { readonly [name: string]: unknown };
  readonly key: string | undefined;
}

/** The far end: what it says to a post of a message and what it was asked. Conversations are numbered. */
const far = { posts: [] as (number | null)[], asked: [] as Asked[], made: 0 };
const WISH = { message: "Hello", title: "", emails: [] };

function answer(path: string, init: RequestInit): Promise<Response> {
  const body = JSON.parse(String(init.body ?? "{}")) as Asked["body"];
  far.asked.push({ what: `${init.method ?? ""} ${path}`, body, key: (init.headers as Record<string, string>)["Idempotency-Key"] });
  if (path.endsWith("/messages")) {
    const status = far.posts.shift();
    if (status === null) return Promise.reject(new TypeError("no network"));
    return Promise.resolve(Response.json(status === undefined ? { message_id: "m" } : { status, code: "X", detail: "no" }, { status: status ?? 201 }));
  }
  if (init.method === "DELETE") return Promise.resolve(new Response(null, { status: 204 }));
  if (init.method === "POST") far.made += 1;
  return Promise.resolve(Response.json({ id: `c${far.made}`, title: body["title"] }));
}

const asked = (): readonly string[] => far.asked.map(({ what }) => what);

beforeEach(() => {
  Object.assign(far, { posts: [], asked: [], made: 0 });
  vi.stubGlobal("document", { cookie: "" });
  vi.stubGlobal("fetch", answer);
});
afterEach(() => vi.unstubAllGlobals());

async function refused(starter: Starter, wish: Parameters<Starter["start"]>[0] = WISH): Promise<void> {
  await expect(starter.start(wish)).rejects.toBeInstanceOf(ApiError);
}

test("what does not get through goes on with the same conversation and the same message", async () => {
  const starter = new Starter();
  far.posts = [429, null, 503];
  for (let tries = 0; tries < 3; tries += 1) await refused(starter);
  expect((await starter.start(WISH)).conversation.id).toBe("c1");
  expect(asked()).toEqual(["POST /api/conversations", ...Array<string>(4).fill("POST /api/conversations/c1/messages")]);
  expect(new Set(far.asked.slice(1).map(({ body }) => body["client_id"])).size).toBe(1);
  expect(far.asked[0]?.key).toMatch(/^[0-9a-f]{32}$/);
  await starter.start(WISH);
  expect(far.made).toBe(2);
});

test("other words are another message in the same conversation, which is named after them", async () => {
  const starter = new Starter();
  far.posts = [429];
  await refused(starter);
  await starter.start({ ...WISH, message: "Goodbye" });
  expect(far.made).toBe(1);
  expect(far.asked[2]).toMatchObject({ what: "PATCH /api/conversations/c1", body: { title: "Goodbye" } });
  expect(far.asked[3]?.body["client_id"]).not.toBe(far.asked[1]?.body["client_id"]);
});

test("what is refused for good, and what was wished otherwise, leaves no conversation", async () => {
  const starter = new Starter();
  far.posts = [422, 429];
  await refused(starter);
  expect(asked().at(-1)).toBe("DELETE /api/conversations/c1");
  await refused(starter);
  await starter.start({ ...WISH, model: "other" });
  expect(asked().slice(-3)).toEqual(["DELETE /api/conversations/c2", "POST /api/conversations", "POST /api/conversations/c3/messages"]);
});

test("who goes elsewhere leaves no empty conversation, and none is archived that may have a message or was opened", async () => {
  for (const [status, opened, isArchived] of [[429, null, true], [429, "c1", false], [null, null, false]] as const) {
    Object.assign(far, { posts: [status], asked: [], made: 0 });
    const starter = new Starter();
    await refused(starter);
    starter.leave(opened);
    expect(asked().includes("DELETE /api/conversations/c1")).toBe(isArchived);
  }
});

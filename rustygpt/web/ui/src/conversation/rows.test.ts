import { describe, expect, it } from "vitest";
import type { Message } from "../api/types";
import { snapshotAt, World } from "../stream/world.testing";
import { excerpt, lastAnswerable, readMarks, running, toRows } from "./rows";
import { titleOf } from "./title";

const world = new World([{ kind: "post" }, { kind: "other" }, { kind: "answer" }, { kind: "delta", text: "Hi" }]);
const messages = snapshotAt(world, world.head).items.toReversed();
const [first, second, answer] = messages as [Message, Message, Message];

describe("toRows", () => {
  it("names what a message answers only where that is not the message above", () => {
    const late: Message = { ...answer, id: "late", parent_id: first.id };
    expect(toRows([...messages, late], []).map((row) => row.answered?.id ?? null)).toEqual([null, null, null, first.id]);
  });

  it("marks a root below other messages as a new topic, and the first message not", () => {
    const root: Message = { ...second, id: "root", root_id: "root", parent_id: null };
    expect(toRows([...messages, root], []).map((row) => row.startsTopic)).toEqual([false, false, false, true]);
  });

  it("draws only the message that grew again", () => {
    const rows = toRows(messages, []);
    const grown = toRows([first, second, { ...answer, content: "Hi there" }], rows);
    expect(grown.map((row, index) => row === rows[index])).toEqual([true, true, false]);
    const after = toRows([first, { ...second, content: "edited" }, answer], rows);
    expect(after.map((row, index) => row === rows[index])).toEqual([true, false, true]);
  });

  it("joins messages of one person that follow each other soon", () => {
    const soon: Message = { ...second, id: "soon", parent_id: second.id, created_at: second.created_at };
    const late: Message = { ...soon, id: "late", parent_id: "soon", created_at: new Date(Date.parse(second.created_at) + 600_000).toISOString() };
    expect(toRows([first, second, soon, late], []).map((row) => row.isContinued)).toEqual([false, false, true, false]);
  });
});

describe("what the composer and the marks go by", () => {
  it("continues from the newest message that is not deleted", () => {
    expect(lastAnswerable(messages)?.id).toBe(answer.id);
    expect(lastAnswerable([first, { ...second, deleted_at: "2026-01-01T00:00:00Z" }])?.id).toBe(first.id);
    expect(lastAnswerable([])).toBeNull();
  });

  it("finds the answers that are being made", () => {
    expect(running(messages).map((message) => message.id)).toEqual([answer.id]);
  });

  it("marks the threads of as many messages of others as are unread", () => {
    const other: Message = { ...second, id: "x", root_id: "thread-2", ordinal: 9 };
    expect(readMarks([...messages, other], 1, "me")).toEqual(new Map([["thread-2", 9]]));
    expect(readMarks([...messages, other], 3, "me")).toEqual(new Map([["m0", 3], ["thread-2", 9]]));
  });
});

describe("short texts", () => {
  it("takes the first line as a title and cuts it at a word", () => {
    expect(titleOf("  Hello\nmore")).toBe("Hello");
    const title = titleOf("word ".repeat(40));
    expect([title.length <= 61, title.endsWith("word…")]).toEqual([true, true]);
    expect(titleOf("x".repeat(100))).toBe(`${"x".repeat(60)}…`);
  });

  it("makes one line of Markdown", () => {
    expect(excerpt("# Title\n\n- **one**\n- `two`")).toBe("Title - one - two");
  });
});

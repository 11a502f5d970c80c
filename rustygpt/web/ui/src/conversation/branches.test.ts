import { describe, expect, it } from "vitest";
import type { Message } from "../api/types";
import { snapshotAt, World } from "../stream/world.testing";
import { choose, shownOf, siblingsOf } from "./branches";

const world = new World([{ kind: "post" }, { kind: "answer" }, { kind: "finish" }]);
const [question, first] = snapshotAt(world, world.head).items.toReversed() as [Message, Message];
const one: Message = { ...first, sibling_count: 2 };
const follow: Message = { ...question, id: "follow", parent_id: one.id };
const two: Message = { ...one, id: "two", sibling_index: 1 };
const late: Message = { ...question, id: "late", parent_id: one.id };
const ids = (messages: readonly Message[]): readonly string[] => messages.map((message) => message.id);

describe("shownOf", () => {
  it("leaves a conversation without alternatives as it is", () => {
    const messages = [question, first];
    expect(shownOf(messages, new Map())).toBe(messages);
  });

  it("shows the newest answer, and not what followed from the others", () => {
    expect(ids(shownOf([question, one, follow, two], new Map()))).toEqual([question.id, "two"]);
  });

  it("shows the answer that was chosen, with what followed from it", () => {
    const messages = [question, one, follow, two];
    const choices = choose(new Map(), one, messages);
    expect(ids(shownOf(messages, choices))).toEqual([question.id, one.id, "follow"]);
    expect(ids(shownOf(messages, choose(choices, two, messages)))).toEqual([question.id, "two"]);
  });

  it("hides nothing that anybody writes later, whatever was chosen", () => {
    const before = [question, one, follow, two];
    const messages = [...before, late];
    expect(ids(shownOf(messages, choose(new Map(), two, before)))).toEqual([question.id, one.id, "follow", "late"]);
    expect(ids(shownOf(messages, choose(new Map(), two, messages)))).toEqual([question.id, "two"]);
  });

  it("leaves a deleted answer to those who choose it, unless there is no other", () => {
    const deleted = { ...two, deleted_at: "2026-01-01T00:00:00Z" };
    const messages = [question, one, deleted];
    expect(ids(shownOf(messages, new Map()))).toEqual([question.id, one.id]);
    expect(ids(shownOf(messages, choose(new Map(), deleted, messages)))).toEqual([question.id, "two"]);
    expect(ids(shownOf([question, deleted], new Map()))).toEqual([question.id, "two"]);
  });
});

describe("siblingsOf", () => {
  it("finds the answers to the same message in their order", () => {
    expect(ids(siblingsOf(two, [question, two, one, follow]))).toEqual([one.id, "two"]);
    expect(siblingsOf(question, [question])).toEqual([question]);
  });
});

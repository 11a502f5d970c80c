import { describe, expect, it } from "vitest";
import type { Conversation, Message, Role } from "../api/types";
import { listAt, ME, snapshotAt, World } from "../stream/world.testing";
import { mayAskAgain, mayDelete, mayEdit, mayRestore, rightsOf } from "./rights";

const world = new World([{ kind: "post" }, { kind: "other" }, { kind: "answer" }, { kind: "finish" }]);
const [own, others, answer] = snapshotAt(world, world.head).items.toReversed() as [Message, Message, Message];
const [conversation] = listAt(world, world.head).items as [Conversation];
const as = (role: Role, change: Partial<Conversation> = {}) => rightsOf({ ...conversation, role, ...change }, ME);
const deletedBy = (message: Message, id: string): Message => ({ ...message, deleted_at: "2026-01-01T00:00:00Z", deleted_by: { id, display_name: id } });

describe("rights", () => {
  it("lets authors edit and delete what is theirs, and those with an office delete everything", () => {
    expect([own, others, answer].map((message) => mayEdit(message, as("owner")))).toEqual([true, false, false]);
    expect([own, others, answer].map((message) => mayDelete(message, as("member")))).toEqual([true, false, false]);
    expect([own, others, answer].map((message) => mayDelete(message, as("admin")))).toEqual([true, true, true]);
    expect([own, others, answer].map((message) => mayDelete(message, as("viewer")))).toEqual([false, false, false]);
  });

  it("lets those restore who deleted, and those with an office", () => {
    const [mine, theirs] = [deletedBy(own, ME), deletedBy(own, "bob")];
    expect([own, mine, theirs].map((message) => mayRestore(message, as("member")))).toEqual([false, true, false]);
    expect([own, mine, theirs].map((message) => mayRestore(message, as("owner")))).toEqual([false, true, true]);
    expect([mine, theirs].map((message) => mayDelete(message, as("owner")) || mayEdit(message, as("owner")))).toEqual([false, false]);
  });

  it("asks again only for whole answers, and where the assistant answers at all", () => {
    expect([own, answer].map((message) => mayAskAgain(message, as("member")))).toEqual([false, true]);
    expect(mayAskAgain({ ...answer, status: "streaming" }, as("owner"))).toBe(false);
    expect(mayDelete({ ...answer, status: "queued" }, as("owner"))).toBe(false);
    expect(mayAskAgain(answer, as("owner", { assistant_mode: "off" }))).toBe(false);
    expect(mayAskAgain(answer, as("viewer"))).toBe(false);
    expect(rightsOf(undefined, ME)).toEqual({ userId: ME, canWrite: false, hasOffice: false, canAsk: false });
  });
});

import { describe, expect, it } from "vitest";
import { isAfter, parseCursor, parseEvent } from "./events";

describe("parseCursor", () => {
  it("splits at the last dash, for an epoch may have one", () => {
    expect(parseCursor("a-b-12")).toEqual({ epoch: "a-b", index: 12 });
  });

  it.each(["", "12", "-12", "a-", "a-1.5", "a-x", "a--1"])("refuses %j", (cursor) => {
    expect(parseCursor(cursor)).toSatisfy((position) => position === null || position.index >= 0);
    if (cursor !== "a-" && cursor !== "a--1") expect(parseCursor(cursor)).toBeNull();
  });
});

describe("isAfter", () => {
  const place = (epoch: string, index: number) => ({ epoch, index });

  it("orders positions of one epoch, and takes what it cannot compare as new", () => {
    expect(isAfter(place("a", 2), place("a", 1))).toBe(true);
    expect(isAfter(place("a", 1), place("a", 1))).toBe(false);
    expect(isAfter(place("b", 1), place("a", 9))).toBe(true);
    expect(isAfter(null, place("a", 9))).toBe(true);
  });
});

describe("parseEvent", () => {
  it.each(["", "no json", "[]", "null", '{"type":"thread.new"}', '{"type":"thread.new","payload":[]}', '{"type":"unheard.of","payload":{}}'])(
    "skips %j",
    (data) => expect(parseEvent(data, "e-1")).toBeNull(),
  );

  it("keeps the frame's own id as a position", () => {
    const data = '{"type":"thread.new","conversation_id":"c","payload":{"root_id":"r"}}';
    expect(parseEvent(data, "e-3")).toMatchObject({ type: "thread.new", conversation_id: "c", position: { epoch: "e", index: 3 } });
    expect(parseEvent(data, undefined)?.position).toBeNull();
  });
});

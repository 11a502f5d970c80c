import { describe, expect, it } from "vitest";
import { boundsOf, callers, curl, groupsOf, insides, resolve, wordsFor, type Description, type Operation } from "./document";

const operation = (id: string, tag: string, security: Operation["security"] = []): Operation => ({
  operationId: id, tags: [tag], summary: `Do ${id}`, responses: {}, security,
});
const description: Description = {
  info: { title: "API", version: "1", description: "" },
  tags: [{ name: "One", description: "" }, { name: "Two", description: "" }],
  paths: {
    "/a": { get: operation("list_a", "One"), post: operation("make_a", "One", [{ session: [], csrf: [] }, { api_key: ["chat"] }]) },
    "/b/{id}": { get: operation("read_b", "Two") },
  },
  components: { schemas: { Thing: { type: "object", properties: { id: { type: "string" } } } }, responses: {} },
};

describe("the description", () => {
  it("is grouped by tag, and narrowed by every word", () => {
    expect(groupsOf(description, "").map((group) => group.entries.map((entry) => entry.operation.operationId))).toEqual([
      ["list_a", "make_a"], ["read_b"],
    ]);
    expect(groupsOf(description, "post  A").map((group) => group.entries.length)).toEqual([1]);
    expect(groupsOf(description, "nothing")).toEqual([]);
  });

  it("tells types in a few words", () => {
    expect(wordsFor({ $ref: "#/components/schemas/Thing" })).toBe("Thing");
    expect(wordsFor({ anyOf: [{ type: "string", format: "uuid" }, { type: "null" }] })).toBe("uuid | null");
    expect(wordsFor({ type: "array", items: { enum: ["a", "b"] } })).toBe(`list of "a" | "b"`);
    expect(boundsOf({ type: "integer", minimum: 1, maximum: 200 })).toBe("1 to 200");
    expect(boundsOf({ anyOf: [{ type: "string", maxLength: 9 }, { type: "null" }] })).toBe("at most 9 characters");
  });

  it("leads into what it refers to", () => {
    const list = { type: "array", items: { $ref: "#/components/schemas/Thing" } };
    expect(insides(list).map((schema) => Object.keys(resolve(description, schema).properties ?? {}))).toEqual([["id"]]);
  });

  it("says who may call, and how", () => {
    const entry = groupsOf(description, "make_a")[0]?.entries[0];
    if (entry === undefined) throw new Error("not found");
    expect(callers(entry.operation)).toBe("session with CSRF token, or API key with scope chat");
    expect(curl(entry, "https://chat.example")).toContain(`curl -X POST 'https://chat.example/a' \\\n  -H "Authorization`);
  });
});

import fc from "fast-check";
import { expect, test } from "vitest";
import { localPath } from "./local_path";

test("paths of this site are kept", () => {
  for (const path of ["/", "/c/0198", "/settings?tab=1#top", "/a//b"]) expect(localPath(path)).toBe(path);
});

test("everything else is the start page", () => {
  const foreign = [null, "", "settings", "//evil.example", "/\\evil.example", "/\t/evil.example", "/.//evil.example", "https://evil.example", "javascript:alert(1)"];
  for (const text of foreign) expect(localPath(text)).toBe("/");
});

test("no text leads to another site", () => {
  const hostile = fc.string({ unit: fc.constantFrom("/", "\\", ".", ":", "@", "\t", "\n", " ", "a", "%") });
  fc.assert(fc.property(hostile, (text) => new URL(localPath(text), "https://chat.example.org").origin === "https://chat.example.org"));
});

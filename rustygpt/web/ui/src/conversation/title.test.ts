import { expect, test } from "vitest";
import { followingTitle } from "./title";

test("the title follows the message that it was made of", () => {
  expect(followingTitle("Wich tree?", "Wich tree?\nMore", "Which tree?\nMore")).toBe("Which tree?");
  expect(followingTitle("A secret", " A  secret ", "")).toBe("");
});

test("a title that somebody chose stays, and one that would be the same is not written", () => {
  expect(followingTitle("Trees", "Wich tree?", "Which tree?")).toBeNull();
  expect(followingTitle("", "Wich tree?", "Which tree?")).toBeNull();
  expect(followingTitle("Tree", "Tree\nWich", "Tree\nWhich")).toBeNull();
});

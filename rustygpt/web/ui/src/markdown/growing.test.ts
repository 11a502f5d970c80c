// A growing message looks at every moment as if it had been rendered whole.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { GrowingMarkdown } from "./growing";
import { normalise, toBlocks } from "./html";

const PIECES = [
  "A line of *text* with `code`.", "Two  \nlines", "# Heading", "Setext\n---", "- one\n- two", "- one\n\n  more of it\n\n- two", "1. first\n2. second",
  "> quoted\n> twice", "```python\nx = 1\n\n\ny = 2\n```", "~~~\nunclosed", "    indented code", "| a | b |\n|---|---|\n| 1 | 2 |", "***", "<b>raw</b>",
  "<div>\nblock\n</div>", "- [ ] open\n- [x] done", "text\r\nwith carriage returns", "\t- tabs", "a | b", "-", "  ", "\u2028emoji 🦀",
];

const document = fc
  .array(fc.tuple(fc.constantFrom(...PIECES), fc.constantFrom("\n", "\n\n", "\n\n\n", " ", "")), { maxLength: 12 })
  .map((parts) => parts.map(([piece, gap]) => piece + gap).join(""));

const whole = (content: string): string =>
  toBlocks(normalise(content))
    .map((block) => block.html)
    .join("");

describe("GrowingMarkdown", () => {
  it("shows at every step what rendering the whole would show", () => {
    fc.assert(
      fc.property(document, fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 1, maxLength: 30 }), (content, steps) => {
        const growing = new GrowingMarkdown(toBlocks);
        for (let end = 0, turn = 0; end < content.length; turn += 1) {
          end = Math.min(content.length, end + (steps[turn % steps.length] ?? 1));
          const shown = growing.render(content.slice(0, end)).map((block) => block.html);
          expect(shown.join("")).toBe(whole(content.slice(0, end)));
        }
      }),
      { numRuns: 400 },
    );
  });

  it("starts over when the text is another one", () => {
    const growing = new GrowingMarkdown(toBlocks);
    growing.render("one\n\ntwo\n\nthree\n\nfour");
    expect(growing.render("other").map((block) => block.html.trim())).toEqual(["<p>other</p>"]);
  });

  it("lexes only the tail of a long message", () => {
    let lexed = 0;
    const growing = new GrowingMarkdown((source) => {
      lexed += source.length;
      return toBlocks(source);
    });
    const content = Array.from({ length: 200 }, (_, index) => `Paragraph ${index}.`).join("\n\n");
    for (let end = 10; end <= content.length; end += 10) growing.render(content.slice(0, end));
    expect(lexed).toBeLessThan(content.length * 12);
  });
});

describe("toBlocks", () => {
  it("shows raw HTML as text", () => {
    expect(whole("<img src=x onerror=alert(1)> <script>alert(1)</script>")).not.toMatch(/<(?:img|script)/);
  });

  it("makes links of pictures, so that showing a message asks no other host for anything", () => {
    expect(whole("![a cat](https://example.org/cat.png?secret=1)")).toBe('<p><a href="https://example.org/cat.png?secret=1">a cat</a></p>\n');
  });

  it("escapes code and the name of its language", () => {
    expect(whole('```"><script>\n</code><script>\n```')).not.toMatch(/<script>/);
  });
});

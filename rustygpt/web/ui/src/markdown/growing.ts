// A message while it grows: what can no longer change is rendered once and kept, and only the tail is lexed again, so that
// the cost of a token does not grow with the message.
//
// The last blocks stay open, because what follows may still join them: a list goes on after a blank line, a line of dashes
// makes a heading of the paragraph above it. And a piece is cut off only behind a blank line: "2. text" is a list by itself
// and part of the paragraph below one. (A link that is defined at the end resolves when the message is finished.)

import { normalise, type Block } from "./html";

const OPEN_BLOCKS = 2;
const BLANK_LINE = /\n[ \t]*\n$/;

export class GrowingMarkdown {
  #settled: readonly Block[] = [];
  #prefix = "";

  constructor(private readonly toBlocks: (source: string) => readonly Block[]) {}

  /** The visible blocks of `content`, which usually is the last one with more at its end. */
  render(content: string): readonly Block[] {
    const source = normalise(content);
    if (!source.startsWith(this.#prefix)) {
      this.#settled = [];
      this.#prefix = "";
    }
    const tail = source.slice(this.#prefix.length);
    const blocks = this.toBlocks(tail);
    const shown = [...this.#settled, ...visible(blocks)];
    this.#settle(blocks, tail);
    return shown;
  }

  #settle(blocks: readonly Block[], tail: string): void {
    const open = visible(blocks).at(-OPEN_BLOCKS);
    if (open === undefined) return;
    const before = blocks.slice(0, blocks.indexOf(open));
    const closed = before.slice(0, before.findLastIndex((block) => BLANK_LINE.test(block.raw)) + 1);
    const prefix = closed.map((block) => block.raw).join("");
    // Where the lexer's pieces do not add up to the source, nothing is settled: right and slower.
    if (prefix === "" || !tail.startsWith(prefix)) return;
    this.#settled = [...this.#settled, ...visible(closed)];
    this.#prefix += prefix;
  }
}

function visible(blocks: readonly Block[]): readonly Block[] {
  return blocks.filter((block) => block.html !== "");
}

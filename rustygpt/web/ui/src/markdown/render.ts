// Markdown to HTML that is safe to show, in blocks.
//
// Whoever writes a message (a person, a model, a page that a model quotes) is not trusted: raw HTML is shown as text, the
// result is sanitised once more, and pictures become links, because loading one tells its host who reads what.

import DOMPurify from "dompurify";
import { Marked, type Token, type Tokens } from "marked";
import { language } from "../text/language.svelte";

/** A top-level piece of a message; `raw` is the source it came from. */
export interface Block {
  readonly raw: string;
  readonly html: string;
}

const OPEN_BLOCKS = 2;

const ESCAPES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

function escape(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ESCAPES[character] ?? character);
}

function codeBlock({ text, lang }: Tokens.Code): string {
  const label = escape((lang ?? "").trim().split(/\s+/)[0] || "text");
  const copy = escape(language.text.message.copyCode);
  return (
    `<figure class="code"><figcaption><span>${label}</span><button type="button" data-copy>${copy}</button></figcaption>` +
    `<pre tabindex="0"><code>${escape(text)}\n</code></pre></figure>`
  );
}

const marked = new Marked({
  gfm: true,
  breaks: true,
  async: false,
  renderer: {
    html: (token) => (token.block ? `<p>${escape(token.text)}</p>` : escape(token.text)),
    code: codeBlock,
    // Below the page's own headings.
    heading({ tokens, depth }) {
      const level = Math.min(depth + 2, 6);
      return `<h${level}>${this.parser.parseInline(tokens)}</h${level}>`;
    },
    image: ({ href, text }) => `<a href="${escape(href)}">${escape(text || href)}</a>`,
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
    table(token) {
      const cells = (row: Tokens.TableCell[]): string => row.map((cell) => this.tablecell(cell)).join("");
      const rows = token.rows.map((row) => `<tr>${cells(row)}</tr>`).join("");
      return `<div class="table" tabindex="0"><table><thead><tr>${cells(token.header)}</tr></thead><tbody>${rows}</tbody></table></div>`;
    },
  },
});

const ALLOWED = {
  ALLOWED_TAGS: [
    "p", "br", "hr", "strong", "em", "del", "code", "pre", "blockquote", "ul", "ol", "li", "a", "h1", "h2", "h3", "h4", "h5", "h6",
    "table", "thead", "tbody", "tr", "th", "td", "div", "figure", "figcaption", "span", "button",
  ],
  ALLOWED_ATTR: ["href", "start", "align", "class", "tabindex", "type", "data-copy", "target", "rel"],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:|#)/i,
};

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName !== "A") return;
  node.setAttribute("target", "_blank");
  node.setAttribute("rel", "noopener noreferrer nofollow");
});

function toHtml(tokens: Token[]): string {
  return DOMPurify.sanitize(marked.parser(tokens), ALLOWED);
}

/** Line ends as the lexer wants them, so that the tokens' `raw` add up to the source. */
export function normalise(content: string): string {
  return content.replace(/\r\n?/g, "\n");
}

function toBlocks(source: string): Block[] {
  return marked
    .lexer(source)
    .filter((token) => token.type !== "def")
    .map((token) => ({ raw: token.raw, html: token.type === "space" ? "" : toHtml([token]) }));
}

/** The whole of a finished message. */
export function renderBlocks(content: string): readonly Block[] {
  return toBlocks(normalise(content)).filter((block) => block.html !== "");
}

/**
 * A message while it grows. What can no longer change is rendered once and kept; only the tail is lexed again, so the
 * cost of a token does not grow with the message. The last two blocks stay open: a list or a quote may go on after a
 * blank line. (A link defined at the end and used before it resolves when the message is finished.)
 */
export class GrowingMarkdown {
  #settled: readonly Block[] = [];
  #prefix = "";

  render(content: string): readonly Block[] {
    const source = normalise(content);
    if (!source.startsWith(this.#prefix)) {
      this.#settled = [];
      this.#prefix = "";
    }
    const tail = source.slice(this.#prefix.length);
    const blocks = toBlocks(tail);
    const shown = [...this.#settled, ...blocks.filter((block) => block.html !== "")];
    this.#settle(blocks, tail);
    return shown;
  }

  #settle(blocks: readonly Block[], tail: string): void {
    const visible = blocks.filter((block) => block.html !== "");
    const open = visible.at(-OPEN_BLOCKS);
    if (open === undefined || visible.length === OPEN_BLOCKS) return;
    const closed = blocks.slice(0, blocks.indexOf(open));
    const prefix = closed.map((block) => block.raw).join("");
    // Where the lexer's pieces do not add up to the source, nothing is settled: right and slower.
    if (!tail.startsWith(prefix)) return;
    this.#settled = [...this.#settled, ...closed.filter((block) => block.html !== "")];
    this.#prefix += prefix;
  }
}

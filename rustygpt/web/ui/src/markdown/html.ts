// Markdown to HTML, in blocks. Not yet safe to show: see render.ts.
//
// Raw HTML is shown as text: what a model writes about HTML should be read, not carried out. Pictures become links: loading
// one tells its host who reads what, and a model can be talked into writing a picture's address out of a secret.

import { Marked, type Token, type Tokens } from "marked";

/** A top-level piece of a message; `raw` is the source it came from, `html` is empty for blank lines. */
export interface Block {
  readonly raw: string;
  readonly html: string;
}

const ESCAPES: Readonly<Record<string, string>> = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };

function escape(text: string): string {
  return text.replace(/[&<>"']/g, (character) => ESCAPES[character] ?? character);
}

/** The button gets its text, in the reader's language, from render.ts. */
function codeBlock({ text, lang }: Tokens.Code): string {
  const label = escape((lang ?? "").trim().split(/\s+/)[0] || "text");
  return (
    `<figure class="code"><figcaption><span>${label}</span><button type="button" data-copy></button></figcaption>` +
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
    image: ({ href, text }) => `<a href="${escape(href)}">${escape(text || href)}</a>`,
    checkbox: ({ checked }) => (checked ? "☑ " : "☐ "),
    // All of one level below the page's own: writers skip levels, and who moves by headings gets lost in the holes.
    heading({ tokens, depth }) {
      return `<h2 class="depth-${depth}">${this.parser.parseInline(tokens)}</h2>`;
    },
    table(token) {
      const cells = (row: Tokens.TableCell[]): string => row.map((cell) => this.tablecell(cell)).join("");
      const rows = token.rows.map((row) => `<tr>${cells(row)}</tr>`).join("");
      return `<div class="table" tabindex="0"><table><thead><tr>${cells(token.header)}</tr></thead><tbody>${rows}</tbody></table></div>`;
    },
  },
});

/** Line ends as the lexer wants them, so that the blocks' `raw` add up to the source. */
export function normalise(content: string): string {
  return content.replace(/\r\n?/g, "\n");
}

function toBlock(token: Token): Block {
  return { raw: token.raw, html: token.type === "space" || token.type === "def" ? "" : marked.parser([token]) };
}

/** `source` has to be normalised. */
export function toBlocks(source: string): readonly Block[] {
  return marked.lexer(source).map(toBlock);
}

// What a message looks like: safe HTML, whoever wrote it. A person, a model, a page that a model quotes: none is trusted.

import DOMPurify from "dompurify";
import { language } from "../text/language.svelte";
import { GrowingMarkdown } from "./growing";
import { normalise, toBlocks, type Block } from "./html";

export type { Block };

const ALLOWED = {
  ALLOWED_TAGS: [
    "p", "br", "hr", "strong", "em", "del", "code", "pre", "blockquote", "ul", "ol", "li", "a", "h2",
    "table", "thead", "tbody", "tr", "th", "td", "div", "figure", "figcaption", "span", "button",
  ],
  ALLOWED_ATTR: ["href", "start", "align", "class", "tabindex", "type", "data-copy"],
  ALLOWED_URI_REGEXP: /^(?:https?:|mailto:)/i,
};

DOMPurify.addHook("afterSanitizeAttributes", (node) => {
  if (node.tagName === "BUTTON") node.textContent = language.text.message.copyCode;
  if (node.tagName !== "A") return;
  node.setAttribute("target", "_blank");
  node.setAttribute("rel", "noopener noreferrer nofollow");
});

function toSafeBlocks(source: string): readonly Block[] {
  return toBlocks(source).map(({ raw, html }) => ({ raw, html: html === "" ? "" : DOMPurify.sanitize(html, ALLOWED) }));
}

/** The visible blocks of a finished message. */
export function renderBlocks(content: string): readonly Block[] {
  return toSafeBlocks(normalise(content)).filter((block) => block.html !== "");
}

/** One for each message that grows. */
export function growingMarkdown(): GrowingMarkdown {
  return new GrowingMarkdown(toSafeBlocks);
}

// The title that the page makes of a message, and how it follows that message.

import { changeConversation } from "../api/conversations";
import type { Conversation } from "../api/types";
import type { Rights } from "./rights";

const TITLE_LENGTH = 60;

/** The first line, cut at a word. */
export function titleOf(message: string): string {
  const line = message.trim().split("\n")[0]?.replace(/\s+/g, " ").trim() ?? "";
  if (line.length <= TITLE_LENGTH) return line;
  const space = line.lastIndexOf(" ", TITLE_LENGTH);
  return `${line.slice(0, space > TITLE_LENGTH / 2 ? space : TITLE_LENGTH)}…`;
}

/** What the title becomes when a message says `after` (nothing: "") and not `before` any more; null where it stays as it is. */
export function followingTitle(title: string, before: string, after: string): string | null {
  const next = titleOf(after);
  return title === titleOf(before) && title !== next ? next : null;
}

/** Let the title follow a message that was changed, where it was made of it and one may; say whether it did. Rejects with the server's refusal. */
export async function followTitle(conversation: Conversation | undefined, rights: Rights, before: string, after: string): Promise<boolean> {
  if (conversation === undefined || !rights.hasOffice) return false;
  const title = followingTitle(conversation.title, before, after);
  if (title !== null) await changeConversation(conversation.id, { title });
  return title !== null;
}

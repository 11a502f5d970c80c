// Starting a conversation: create it, add the people, post the first message; in that order, so that everyone sees it.

import { ApiError } from "../api/client";
import { addMember, createConversation, type NewConversation } from "../api/conversations";
import { newClientId, postMessage } from "../api/messages";
import type { AssistantMode, Conversation } from "../api/types";

const TITLE_LENGTH = 60;

export interface Start {
  readonly message: string;
  /** Empty: taken from the message. */
  readonly title: string;
  readonly emails: readonly string[];
  readonly model?: string;
  readonly mode?: AssistantMode;
}

export interface Started {
  readonly conversation: Conversation;
  /** Who could not be added, and why; the conversation exists all the same. */
  readonly refused: readonly { readonly email: string; readonly error: ApiError }[];
}

/** The first line, cut at a word. */
export function titleOf(message: string): string {
  const line = message.trim().split("\n")[0]?.replace(/\s+/g, " ").trim() ?? "";
  if (line.length <= TITLE_LENGTH) return line;
  const space = line.lastIndexOf(" ", TITLE_LENGTH);
  return `${line.slice(0, space > TITLE_LENGTH / 2 ? space : TITLE_LENGTH)}…`;
}

export async function startConversation({ message, title, emails, model, mode }: Start): Promise<Started> {
  const body: NewConversation = {
    title: title.trim() || titleOf(message),
    ...(emails.length > 0 ? { is_group: true } : {}),
    ...(model === undefined ? {} : { model }),
    ...(mode === undefined ? {} : { assistant_mode: mode }),
  };
  const conversation = await createConversation(body);
  const refused: { email: string; error: ApiError }[] = [];
  for (const email of emails) {
    try {
      await addMember(conversation.id, email, "member");
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      refused.push({ email, error });
    }
  }
  await postMessage(conversation.id, { content: message, parent_id: null, client_id: newClientId() });
  return { conversation, refused };
}

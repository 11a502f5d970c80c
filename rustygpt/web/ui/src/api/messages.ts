// Messages, stopping and continuing an answer, and read marks.

import { call, withQuery } from "./client";
import type { PostMessage, ReadState } from "./schema";
import type { Message, Posted, Snapshot } from "./types";

/** `client_id` makes a repeated request the same message. */
export type NewMessage = { readonly [Field in "content" | "client_id"]: NonNullable<PostMessage[Field]> } & {
  readonly parent_id: string | null;
};

export const MESSAGES_PAGE = 60;

/** 128 random bits. Not `crypto.randomUUID`: browsers keep that for https, and a server in one's own network often has none. */
export function newClientId(): string {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** Newest first. */
export const listMessages = (conversationId: string, cursor?: string | null): Promise<Snapshot<Message>> =>
  call("GET", withQuery(`/api/conversations/${conversationId}/messages`, { limit: MESSAGES_PAGE, cursor }));

export const postMessage = (conversationId: string, { content, parent_id, client_id }: NewMessage): Promise<Posted> =>
  call("POST", `/api/conversations/${conversationId}/messages`, { content, client_id, ...(parent_id === null ? {} : { parent_id }) });

export const cancelAnswer = (messageId: string): Promise<void> => call("POST", `/api/messages/${messageId}/cancel`);

/** Let an answer go on that stopped before its end. */
export const continueAnswer = (messageId: string): Promise<void> => call("POST", `/api/messages/${messageId}/continue`);

/** Ask for another answer beside this one, or for one to a person's message; null leaves the model to the server. */
export const askAgain = (messageId: string, model: string | null): Promise<Posted> =>
  call("POST", `/api/messages/${messageId}/regenerate`, model === null ? {} : { model });

export const editMessage = (messageId: string, content: string): Promise<void> =>
  call("POST", `/api/messages/${messageId}/edit`, { content });
export const deleteMessage = (messageId: string): Promise<void> => call("POST", `/api/messages/${messageId}/delete`);
export const restoreMessage = (messageId: string): Promise<void> => call("POST", `/api/messages/${messageId}/restore`);

export const markThreadRead = (rootId: string, ordinal: number): Promise<ReadState> =>
  call("POST", `/api/threads/${rootId}/read`, { ordinal });

// Starting a conversation: create it, add the people, post the first message; in that order, so that everyone sees it.
//
// At any moment there is at most one conversation without its message. What did not get through keeps its conversation, and the next try
// goes on with it, under the same keys, so that nothing whose answer was lost is done twice; what the server refused for good is archived.

import { ApiError } from "../api/client";
import { addMember, archiveConversation, changeConversation, createConversation, type NewConversation } from "../api/conversations";
import { newClientId, postMessage } from "../api/messages";
import type { AssistantMode, Conversation } from "../api/types";
import { titleOf } from "./title";

export interface Start {
  readonly message: string;
  /** Empty: taken from the message. */
  readonly title: string;
  readonly emails: readonly string[];
  readonly model?: string;
  readonly mode?: AssistantMode;
}

interface Refused {
  readonly email: string;
  readonly error: ApiError;
}

export interface Started {
  readonly conversation: Conversation;
  /** Who could not be added, and why; the conversation exists all the same. */
  readonly refused: readonly Refused[];
}

interface Attempt {
  /** All that was asked for but the message: other wishes are another conversation. */
  readonly wishes: string;
  readonly body: NewConversation;
  readonly key: string;
  conversation: Conversation | null;
  readonly asked: Set<string>;
  readonly refused: Refused[];
  post: { readonly content: string; readonly client_id: string } | null;
  /** No post can have arrived: each that was tried was refused, and none lost its answer. */
  isEmpty: boolean;
}

const LATER: ReadonlySet<number> = new Set([401, 408, 429]);
const isRefusal = (status: number): boolean => status >= 400 && status < 500 && status !== 408;
const isForGood = (status: number): boolean => isRefusal(status) && !LATER.has(status);

function bodyOf({ message, title, emails, model, mode }: Start): NewConversation {
  return {
    title: title.trim() || titleOf(message),
    ...(emails.length > 0 ? { is_group: true } : {}),
    ...(model === undefined ? {} : { model }),
    ...(mode === undefined ? {} : { assistant_mode: mode }),
  };
}

export class Starter {
  #attempt: Attempt | null = null;
  #isBusy = false;

  /** Reject with the ApiError of the step that did not succeed. One at a time. */
  async start(wish: Start): Promise<Started> {
    this.#isBusy = true;
    try {
      return await this.#start(wish);
    } finally {
      this.#isBusy = false;
    }
  }

  async #start(wish: Start): Promise<Started> {
    const attempt = await this.#attemptFor(wish);
    try {
      const conversation = await this.#prepare(attempt, wish);
      await this.#post(attempt, conversation.id, wish.message);
      this.#attempt = null;
      return { conversation, refused: attempt.refused };
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      if (isForGood(error.status)) await this.#abandon();
      throw error;
    }
  }

  /** The person goes elsewhere: `opened` is the conversation they go to, if it is one. */
  leave(opened: string | null): void {
    const attempt = this.#attempt;
    if (attempt?.conversation == null) return;
    // Who opens it has it from now on.
    if (attempt.conversation.id === opened) this.#attempt = null;
    else if (attempt.isEmpty && attempt.post !== null && !this.#isBusy) void this.#abandon();
  }

  async #attemptFor(wish: Start): Promise<Attempt> {
    const { title, emails, model, mode } = wish;
    const wishes = JSON.stringify([title, emails, model, mode]);
    const body = bodyOf(wish);
    if (this.#attempt !== null && this.#attempt.wishes !== wishes) await this.#abandon();
    // Nothing is known to be made yet, and another body under the same key would be refused.
    if (this.#attempt?.conversation === null && this.#attempt.body.title !== body.title) this.#attempt = null;
    this.#attempt ??= { wishes, body, key: newClientId(), conversation: null, asked: new Set(), refused: [], post: null, isEmpty: true };
    return this.#attempt;
  }

  /** The conversation as it was wished for, with its people. */
  async #prepare(attempt: Attempt, wish: Start): Promise<Conversation> {
    const { title } = bodyOf(wish);
    attempt.conversation ??= await createConversation(attempt.body, attempt.key);
    if (attempt.conversation.title !== title) attempt.conversation = await changeConversation(attempt.conversation.id, { title: title ?? "" });
    for (const email of wish.emails) {
      if (attempt.asked.has(email)) continue;
      try {
        await addMember(attempt.conversation.id, email, "member");
      } catch (error) {
        if (!(error instanceof ApiError) || !isForGood(error.status)) throw error;
        attempt.refused.push({ email, error });
      }
      attempt.asked.add(email);
    }
    return attempt.conversation;
  }

  async #post(attempt: Attempt, conversationId: string, content: string): Promise<void> {
    // The same words again are the same message; other words are another one.
    if (attempt.post?.content !== content) attempt.post = { content, client_id: newClientId() };
    try {
      await postMessage(conversationId, { ...attempt.post, parent_id: null });
    } catch (error) {
      if (!(error instanceof ApiError) || !isRefusal(error.status)) attempt.isEmpty = false;
      throw error;
    }
  }

  /** Forget what was tried, and archive the conversation that has no message. Where even that does not succeed, the person can do it. */
  async #abandon(): Promise<void> {
    const attempt = this.#attempt;
    this.#attempt = null;
    if (attempt?.conversation == null || !attempt.isEmpty) return;
    try {
      await archiveConversation(attempt.conversation.id);
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
    }
  }
}

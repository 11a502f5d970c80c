// What a screen reader says: whole sentences about what happened, never tokens.

import type { FinishReason, Message } from "../api/types";
import type { Event } from "../stream/events";
import type { State } from "../stream/state";
import { language } from "../text/language.svelte";

export class Speaker {
  /** The sentence in the live region. */
  sentence = $state("");
  /** The conversation on the screen; nothing is said about others. */
  conversationId: string | null = null;
  /** Shown as well as said, until dismissed. */
  warnings: readonly string[] = $state.raw([]);
  #isOdd = false;

  warn(sentence: string): void {
    this.warnings = [...this.warnings, sentence];
  }

  dismiss(): void {
    this.warnings = [];
  }

  say(sentence: string): void {
    // A region that is set to the text it has says nothing: an invisible mark makes every sentence a new one.
    this.#isOdd = !this.#isOdd;
    this.sentence = this.#isOdd ? sentence : `${sentence}\u200b`;
  }

  /** Turn an event of the shown conversation into a sentence, where it deserves one. */
  witness(event: Event, state: State): void {
    if (event.conversation_id === null || event.conversation_id !== this.conversationId) return;
    const { spoken } = language.text;
    if (event.type === "message.created") {
      const { message } = event.payload;
      if (message.role === "assistant") this.say(spoken.started);
      else if (message.author?.id !== state.user_id) this.say(spoken.message(speakerOf(message)));
    } else if (event.type === "message.continued") {
      this.say(spoken.started);
    } else if (event.type === "message.done") {
      this.say(this.#ending(event.payload.finish_reason));
    }
  }

  #ending(reason: FinishReason): string {
    const { spoken } = language.text;
    if (reason === "cancelled") return spoken.stopped;
    return reason === "stop" || reason === "length" ? spoken.finished : spoken.failed;
  }
}

/** The name that stands over a message. */
export function speakerOf(message: Message): string {
  if (message.role === "assistant") return language.text.message.assistant;
  return message.author?.display_name ?? language.text.message.formerMember;
}

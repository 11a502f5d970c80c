// Which of several answers to one message is shown, with what follows it: the one where something happened last, or that was chosen since.

import type { Message } from "../api/types";

/** By the message that was answered: the answer somebody chose to see, and the newest message there was by then. */
export type Choices = ReadonlyMap<string, { readonly answer: string; readonly after: string | undefined }>;

export function choose(choices: Choices, answer: Message, messages: readonly Message[]): Choices {
  return new Map(choices).set(answer.parent_id ?? "", { answer: answer.id, after: messages.at(-1)?.id });
}

/** Answers to the same message, in their order; those of a page that has not been read are not among them. */
export function siblingsOf(message: Message, messages: readonly Message[]): readonly Message[] {
  if (message.sibling_count === 1) return [message];
  const isSibling = (other: Message): boolean => other.role === "assistant" && other.parent_id === message.parent_id;
  return messages.filter(isSibling).toSorted((a, b) => a.sibling_index - b.sibling_index);
}

/** `messages` without the answers that are not shown and what follows those; the same array where there is nothing to choose. */
export function shownOf(messages: readonly Message[], choices: Choices): readonly Message[] {
  if (!messages.some((message) => message.sibling_count > 1)) return messages;
  const chosen = chosenAnswers(messages, choices);
  const hidden = new Set<string>();
  for (const message of messages) {
    const isOther = isOneOfSeveral(message) && chosen.get(message.parent_id ?? "") !== message.id;
    if (isOther || hidden.has(message.parent_id ?? "")) hidden.add(message.id);
  }
  return hidden.size === 0 ? messages : messages.filter((message) => !hidden.has(message.id));
}

function isOneOfSeveral(message: Message): boolean {
  return message.role === "assistant" && message.sibling_count > 1;
}

/** By the message that was answered: the answer to show. */
function chosenAnswers(messages: readonly Message[], choices: Choices): ReadonlyMap<string, string> {
  const latest = latestBelow(messages);
  const places = new Map(messages.map((message, place) => [message.id, place]));
  const best = new Map<string, { readonly id: string; readonly rank: number }>();
  for (const message of messages.filter(isOneOfSeveral)) {
    const parent = message.parent_id ?? "";
    const choice = choices.get(parent);
    // What was chosen counts as having happened then: what anybody writes elsewhere later is not hidden by it.
    const chosenAt = choice?.answer === message.id ? (places.get(choice.after ?? "") ?? -1) + 0.5 : -1;
    const own = latest.get(message.id) ?? -1;
    // A deleted answer that nobody answered is shown only to who chose it, or where there is no other.
    const isLeft = message.deleted_at !== null && own === places.get(message.id);
    const rank = Math.max(isLeft ? -1 : own, chosenAt);
    const before = best.get(parent);
    if (before === undefined || rank >= before.rank) best.set(parent, { id: message.id, rank });
  }
  return new Map([...best].map(([parent, { id }]) => [parent, id]));
}

/** For each message, the place of the newest one among it and all that follows from it. */
function latestBelow(messages: readonly Message[]): ReadonlyMap<string, number> {
  const latest = new Map<string, number>();
  for (let place = messages.length - 1; place >= 0; place -= 1) {
    const message = messages[place];
    if (message === undefined) continue;
    const own = Math.max(place, latest.get(message.id) ?? -1);
    latest.set(message.id, own);
    if (message.parent_id !== null) latest.set(message.parent_id, Math.max(own, latest.get(message.parent_id) ?? -1));
  }
  return latest;
}

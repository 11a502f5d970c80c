// What was typed and not sent, per conversation, over reloads of the tab. Gone with the tab: a draft is nobody else's business.

const key = (conversationId: string): string => `rustygpt.draft.${conversationId}`;

export function readDraft(conversationId: string): string {
  try {
    return sessionStorage.getItem(key(conversationId)) ?? "";
  } catch {
    return "";
  }
}

export function keepDraft(conversationId: string, content: string): void {
  try {
    if (content === "") sessionStorage.removeItem(key(conversationId));
    else sessionStorage.setItem(key(conversationId), content);
  } catch {
    // Storage is blocked or full: the draft lasts as long as the page.
  }
}

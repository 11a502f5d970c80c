// Where the focus goes when something lies over the page, and that it comes back.

import type { Attachment } from "svelte/attachments";

/** Focus the first control of a panel when it appears over the page, and what had the focus before when it goes. */
export function borrowFocus(isOver: () => boolean): Attachment<HTMLElement> {
  return (panel) => {
    if (!isOver()) return;
    const before = document.activeElement;
    panel.querySelector<HTMLElement>("a, button, input")?.focus();
    return () => {
      if (before instanceof HTMLElement && before.isConnected) before.focus();
    };
  };
}

// Which rows of a long conversation are in the document: a few hundred around the place that is read, however many there are.
//
// The cost of a token is then that of the rows on the screen: the newest row is in the document only where it is looked at.

/** Rows from `start` up to and without `end`; an `end` of null goes on to the newest row, also to those that come. */
export interface Window {
  readonly start: number;
  readonly end: number | null;
}

const FIRST = 80;
const STEP = 60;
/** More rows than this are never in the document. */
export const MOST = 240;

export function newest(count: number): Window {
  return { start: Math.max(0, count - FIRST), end: null };
}

/** Rows further up; those that fall out at the other end are far below the screen. */
export function earlier({ start, end }: Window, count: number): Window {
  const first = Math.max(0, start - STEP);
  const last = Math.min(end ?? count, first + MOST);
  return { start: first, end: last >= count ? null : last };
}

export function later({ start, end }: Window, count: number): Window {
  if (end === null) return { start, end };
  const last = Math.min(count, end + STEP);
  return { start: Math.max(start, last - MOST), end: last === count ? null : last };
}

export function around(index: number, count: number): Window {
  const start = Math.max(0, index - FIRST / 2);
  return { start, end: start + FIRST >= count ? null : start + FIRST };
}

/** `added` rows were put before the first one: the same rows stay in the document. */
export function moved({ start, end }: Window, added: number): Window {
  return { start: start + added, end: end === null ? null : end + added };
}

/** Let go of old rows when the newest are followed for long. */
export function trimmed(window: Window, count: number): Window {
  return window.end === null && count - window.start > MOST ? newest(count) : window;
}

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { around, earlier, later, MOST, moved, newest, trimmed, type Window } from "./window";

const size = (window: Window, count: number): number => (window.end ?? count) - window.start;

describe("the window over the rows", () => {
  it("never holds more rows than it may, nor rows that are not there, wherever one scrolls", () => {
    const move = fc.constantFrom<(window: Window, count: number) => Window>(earlier, later, (_, count) => newest(count), trimmed);
    fc.assert(
      fc.property(fc.nat(5_000), fc.nat(4_999), fc.array(move, { maxLength: 60 }), (count, index, moves) => {
        let window = around(Math.min(index, count), count);
        for (const next of moves) {
          window = next(window, count);
          expect(window.start).toBeGreaterThanOrEqual(0);
          expect(window.end ?? count).toBeLessThanOrEqual(count);
          expect(size(window, count)).toBeLessThanOrEqual(MOST);
          expect(size(window, count)).toBeGreaterThanOrEqual(Math.min(count, 40));
        }
      }),
    );
  });

  it("reaches the first row and the newest", () => {
    let window = newest(1_000);
    for (let turn = 0; window.start > 0; turn += 1) {
      expect(turn).toBeLessThan(1_000);
      window = earlier(window, 1_000);
    }
    for (let turn = 0; window.end !== null; turn += 1) {
      expect(turn).toBeLessThan(1_000);
      window = later(window, 1_000);
    }
    expect(size(window, 1_000)).toBeGreaterThan(0);
  });

  it("keeps the same rows when older ones are put before them", () => {
    expect(moved({ start: 5, end: 50 }, 60)).toEqual({ start: 65, end: 110 });
    expect(moved({ start: 0, end: null }, 60)).toEqual({ start: 60, end: null });
  });
});

// The reducer's rule, as a property: a snapshot read at any cursor, plus the events after it (repeated, merged, cut off and
// taken up again, arriving while the snapshot is read) equals the snapshot read now.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { applyEvent } from "./apply";
import { applyList, applyOlder, applyTranscript, beginList, beginTranscript, markRead } from "./snapshot";
import { initialState, type State } from "./state";
import { CONVERSATION, deliver, listAt, membersAt, ME, snapshotAt, World } from "./world.testing";

const OTHER = "someone-else";

function open(world: World, at: number): State {
  let state = applyList(beginList(initialState(ME)), listAt(world, at));
  state = applyTranscript(beginTranscript(state, CONVERSATION), CONVERSATION, snapshotAt(world, at), membersAt(world, at));
  return state;
}

function shown(state: State): unknown {
  const transcript = state.transcripts[CONVERSATION];
  return { messages: transcript?.messages, members: transcript?.members, isStale: transcript?.is_stale };
}

describe("applyEvent", () => {
  it("makes of a snapshot and the events after it the snapshot of now", () => {
    fc.assert(
      fc.property(World.arbitrary, fc.nat(), (world, start) => {
        const at = start % (world.head + 1);
        const state = world.events.filter((event) => (event.position?.index ?? 0) > at).reduce(applyEvent, open(world, at));
        expect(shown(state)).toEqual(shown(open(world, world.head)));
      }),
      { numRuns: 300 },
    );
  });

  it("comes to the same end however often the connection is cut, repeats itself or merges deltas", () => {
    fc.assert(
      fc.property(World.arbitrary, fc.nat(), fc.infiniteStream(fc.nat(99)), (world, start, chances) => {
        const at = start % (world.head + 1);
        const state = deliver(world, at, "at ids", chances).reduce(applyEvent, open(world, at));
        expect(shown(state)).toEqual(shown(open(world, world.head)));
      }),
      { numRuns: 300 },
    );
  });

  it("is right or knows that it is torn when a line is cut inside a block, and right after reading again", () => {
    fc.assert(
      fc.property(World.arbitrary, fc.nat(), fc.infiniteStream(fc.nat(99)), (world, start, chances) => {
        const at = start % (world.head + 1);
        const state = deliver(world, at, "anywhere", chances).reduce(applyEvent, open(world, at));
        const whole = open(world, world.head);
        if (!state.transcripts[CONVERSATION]?.is_stale) expect(shown(state)).toEqual(shown(whole));
        const members = membersAt(world, world.head);
        const healed = applyTranscript(beginTranscript(state, CONVERSATION), CONVERSATION, snapshotAt(world, world.head), members);
        expect(shown(healed)).toEqual(shown(whole));
      }),
      { numRuns: 300 },
    );
  });

  it("loses nothing that arrives while a snapshot is being read, wherever the snapshot stands", () => {
    fc.assert(
      fc.property(World.arbitrary, fc.array(fc.nat(), { minLength: 5, maxLength: 5 }), (world, numbers) => {
        const places = numbers.map((number) => number % (world.head + 1)).sort((a, b) => a - b);
        const [opened = 0, asked = 0, membersRead = 0, read = 0, arrived = 0] = places;
        const between = (from: number, to: number) => world.events.filter(({ position }) => position !== null && position.index > from && position.index <= to);
        let state = between(opened, asked).reduce(applyEvent, open(world, opened));
        state = beginTranscript(beginList(state), CONVERSATION);
        state = between(asked, arrived).reduce(applyEvent, state);
        state = applyList(state, listAt(world, read));
        state = applyTranscript(state, CONVERSATION, snapshotAt(world, read), membersAt(world, membersRead));
        state = between(arrived, world.head).reduce(applyEvent, state);
        expect(shown(state)).toEqual(shown(open(world, world.head)));
      }),
      { numRuns: 300 },
    );
  });

  it("reads a hole in the chunks as a reason to read the conversation again, and never shows text with a hole", () => {
    fc.assert(
      fc.property(World.arbitrary, fc.nat(), (world, number) => {
        const deltas = world.events.filter((event) => event.type === "message.delta");
        const lost = deltas[number % Math.max(deltas.length, 1)];
        const state = world.events.filter((event) => event !== lost).reduce(applyEvent, open(world, 0));
        const whole = open(world, world.head);
        for (const message of state.transcripts[CONVERSATION]?.messages ?? []) {
          const right = whole.transcripts[CONVERSATION]?.messages.find(({ id }) => id === message.id);
          expect(right?.content.startsWith(message.content)).toBe(true);
        }
        const isTorn = lost !== undefined && world.isFollowed(lost);
        if (isTorn) expect(state.transcripts[CONVERSATION]?.is_stale).toBe(true);
      }),
      { numRuns: 200 },
    );
  });

  it("ignores an event that it has seen", () => {
    fc.assert(
      fc.property(World.arbitrary, (world) => {
        const state = world.events.reduce(applyEvent, open(world, 0));
        expect(world.events.reduce(applyEvent, state)).toBe(state);
      }),
    );
  });

  it("is not moved by events that are repeated without their ids", () => {
    fc.assert(
      fc.property(World.arbitrary, (world) => {
        const state = world.events.reduce(applyEvent, open(world, 0));
        const again = world.events.map((event) => ({ ...event, position: null })).reduce(applyEvent, state);
        expect(shown(again)).toEqual(shown(state));
      }),
      { numRuns: 200 },
    );
  });

  it("forgets the holes that it saw while the snapshot was read that fills them", () => {
    const torn = new World([{ kind: "post" }, { kind: "answer" }, ...[..."abcd"].map((text) => ({ kind: "delta", text }) as const)]);
    let state = applyTranscript(beginTranscript(initialState(ME), CONVERSATION), CONVERSATION, snapshotAt(torn, 2), []);
    state = beginTranscript(state, CONVERSATION);
    state = torn.events.slice(4).reduce(applyEvent, state);
    expect(state.transcripts[CONVERSATION]?.is_stale).toBe(true);
    state = applyTranscript(state, CONVERSATION, snapshotAt(torn, 5), []);
    expect(state.transcripts[CONVERSATION]).toMatchObject({ is_stale: false, held: null });
    expect(state.transcripts[CONVERSATION]?.messages.at(-1)?.content).toBe("abcd");
  });

  it("never changes the state it is given", () => {
    fc.assert(
      fc.property(World.arbitrary, (world) => {
        const state = open(world, 0);
        const before = structuredClone(state);
        world.events.reduce(applyEvent, state);
        expect(state).toEqual(before);
      }),
      { numRuns: 50 },
    );
  });
});

describe("single events", () => {
  const world = (): World => new World([{ kind: "post" }, { kind: "answer" }, { kind: "delta", text: "Hello" }, { kind: "delta", text: " you" }]);

  it("counts an unread message once, and not those of the reader", () => {
    const { events } = new World([{ kind: "post" }, { kind: "other" }, { kind: "other" }]);
    let state = applyList(beginList(initialState(ME)), listAt(new World([]), 0));
    state = [...events, ...events.map((event) => ({ ...event, position: null }))].reduce(applyEvent, state);
    expect(state.conversations[0]?.unread).toBe(2);
    expect(markRead(state, CONVERSATION).conversations[0]?.unread).toBe(0);
  });

  it("drops a conversation at the event that removes its reader, and shows nothing of it afterwards", () => {
    const { events } = new World([{ kind: "post" }, { kind: "remove", user: ME }, { kind: "other" }]);
    const state = events.slice(0, 2).reduce(applyEvent, open(new World([]), 0));
    expect(state.conversations).toEqual([]);
    expect(state.transcripts).toEqual({});
  });

  it("asks for the list when a conversation appears that it does not know", () => {
    const state = applyList(beginList(initialState(ME)), { items: [], next_cursor: null, stream_cursor: "e-0" });
    const { events } = new World([
      { kind: "remove", user: ME },
      { kind: "add", user: ME },
    ]);
    expect(events.reduce(applyEvent, state).list.is_stale).toBe(true);
  });

  it("keeps the partial text of an interrupted answer, with the reason", () => {
    const torn = new World([...world().steps, { kind: "interrupt" }]);
    const message = torn.events.reduce(applyEvent, open(torn, 0)).transcripts[CONVERSATION]?.messages.at(-1);
    expect(message).toMatchObject({ content: "Hello you", status: "interrupted", error: { code: "generation_interrupted" } });
  });

  it("takes up an answer again that was stopped, and forgets how it had ended", () => {
    const resumed = new World([...world().steps, { kind: "interrupt" }, { kind: "continue" }, { kind: "delta", text: "!" }]);
    const message = resumed.events.reduce(applyEvent, open(resumed, 0)).transcripts[CONVERSATION]?.messages.at(-1);
    expect(message).toMatchObject({ content: "Hello you!", status: "streaming", error: null, finish_reason: null, attempt: 2 });
  });

  it("sees by the end of an attempt that it missed its beginning", () => {
    const resumed = new World([...world().steps, { kind: "cancel" }, { kind: "continue" }, { kind: "finish" }]);
    const missed = resumed.events.filter((event) => event.type !== "message.continued");
    expect(missed.reduce(applyEvent, open(resumed, 0)).transcripts[CONVERSATION]?.is_stale).toBe(true);
  });

  it("forgets the place in the queue of an answer that has ended", () => {
    const { events } = world();
    const id = events[1]?.type === "message.created" ? events[1].payload.message.id : "";
    const place = { type: "generation.queued", conversation_id: CONVERSATION, position: null, at: "", payload: { message_id: id, position: 3 } } as const;
    const state = applyEvent(open(world(), 2), place);
    expect(state.queue).toEqual({ [id]: 3 });
    const ended = new World([...world().steps, { kind: "finish" }]);
    expect(ended.events.reduce(applyEvent, state).queue).toEqual({});
  });

  it("marks everything as torn by a gap that names no message", () => {
    const gap = { type: "stream.gap", conversation_id: null, position: { epoch: "e", index: 9 }, at: "", payload: { reason: "history_pruned" } } as const;
    const state = applyEvent(open(world(), 0), gap);
    expect([state.list.is_stale, state.transcripts[CONVERSATION]?.is_stale]).toEqual([true, true]);
  });

  it("marks only the conversation of the message that a gap names", () => {
    const shownWorld = world();
    const state = open(shownWorld, shownWorld.head);
    const gap = (id: string) => ({ type: "stream.gap", conversation_id: null, position: null, at: "", payload: { reason: "slow_consumer", message_id: id } }) as const;
    expect(applyEvent(state, gap("no such message")).transcripts[CONVERSATION]?.is_stale).toBe(false);
    const id = state.transcripts[CONVERSATION]?.messages.at(-1)?.id ?? "";
    const torn = applyEvent(state, gap(id));
    expect([torn.list.is_stale, torn.transcripts[CONVERSATION]?.is_stale]).toEqual([false, true]);
  });

  it("takes positions of another epoch as new", () => {
    const state = world().events.reduce(applyEvent, open(world(), 0));
    const next = { type: "thread.activity", conversation_id: CONVERSATION, position: { epoch: "f", index: 1 }, at: "", payload: { root_id: "", last_activity_at: "2030-01-01T00:00:00Z" } } as const;
    expect(applyEvent(state, next).conversations[0]?.last_activity_at).toBe("2030-01-01T00:00:00Z");
  });

  it("leaves the text alone when a message of an unread page is edited, and when another conversation speaks", () => {
    const state = open(world(), 0);
    const [created] = new World([{ kind: "other" }]).events;
    if (created?.type !== "message.created") throw new Error("the world begins with a message");
    const elsewhere = { ...created, conversation_id: OTHER, payload: { message: { ...created.payload.message, conversation_id: OTHER } } };
    expect(applyEvent(state, elsewhere).transcripts[CONVERSATION]).toBe(state.transcripts[CONVERSATION]);
  });

  it("does not put a message of an older, unread page into the window", () => {
    const full = new World([{ kind: "post" }, { kind: "other" }, { kind: "other" }]);
    const snapshot = snapshotAt(full, full.head);
    const newest = { ...snapshot, items: snapshot.items.slice(0, 1), next_cursor: "more" };
    let state = applyTranscript(beginTranscript(initialState(ME), CONVERSATION), CONVERSATION, newest, []);
    state = full.events.map((event) => ({ ...event, position: null })).reduce(applyEvent, state);
    expect(state.transcripts[CONVERSATION]?.messages).toHaveLength(1);
    state = applyOlder(state, CONVERSATION, { items: snapshot.items.slice(1), next_cursor: null });
    expect(state.transcripts[CONVERSATION]?.messages).toEqual(snapshot.items.toReversed());
  });
});

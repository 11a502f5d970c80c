// What the page knows, as one immutable value.
//
// The rule that makes it right: a snapshot read at cursor c, plus the events after c, equals a snapshot read now.
// While a snapshot is being read, events go on being applied to what is shown and are also held back; when the
// snapshot arrives it replaces what is shown and the held events are applied to it. Every event is safe to apply twice.

import type { Conversation, Member, Message } from "../api/types";
import type { Event, Position } from "./events";

export interface Transcript {
  /** In the order of the conversation, oldest first; the newest page and whatever older pages were read. */
  readonly messages: readonly Message[];
  readonly members: readonly Member[];
  /** Cursor of the next older page, null when the oldest message is here. */
  readonly older_cursor: string | null;
  /** Something was missed: a snapshot must be read. */
  readonly is_stale: boolean;
  /** False until the first snapshot has arrived. */
  readonly is_loaded: boolean;
  /** Events since a read began; null when none is under way. */
  readonly held: readonly Event[] | null;
}

export interface State {
  /** The signed-in user's id: their own removal and their own messages are special. */
  readonly user_id: string;
  /** Of the last event with a position. */
  readonly position: Position | null;
  readonly conversations: readonly Conversation[];
  readonly list: {
    /** The cursor the list was read at; events up to it are counted in its unread numbers already. */
    readonly position: Position | null;
    readonly is_loaded: boolean;
    readonly is_stale: boolean;
    readonly held: readonly Event[] | null;
    /** The last messages counted as unread, so that a repeated event counts once. */
    readonly counted: readonly string[];
  };
  readonly transcripts: Readonly<Record<string, Transcript>>;
  /** Places in the queue of a model, by message; told by transient events only. */
  readonly queue: Readonly<Record<string, number>>;
}

export const EMPTY_TRANSCRIPT: Transcript = {
  messages: [],
  members: [],
  older_cursor: null,
  is_stale: false,
  is_loaded: false,
  held: null,
};

export function initialState(userId: string): State {
  return {
    user_id: userId,
    position: null,
    conversations: [],
    list: { position: null, is_loaded: false, is_stale: false, held: null, counted: [] },
    transcripts: {},
    queue: {},
  };
}

/** Replace one transcript, if it is there at all. */
export function withTranscript(state: State, id: string, change: (transcript: Transcript) => Transcript): State {
  const before = state.transcripts[id];
  if (before === undefined) return state;
  const after = change(before);
  return after === before ? state : { ...state, transcripts: { ...state.transcripts, [id]: after } };
}

/** Total order of a conversation's messages: time, then thread, then place in the thread. */
export function compareMessages(a: Message, b: Message): number {
  return (
    Date.parse(a.created_at) - Date.parse(b.created_at) ||
    (a.root_id < b.root_id ? -1 : a.root_id > b.root_id ? 1 : a.ordinal - b.ordinal)
  );
}

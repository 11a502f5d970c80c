// A small server for tests: steps make a log of events, and `snapshotAt` says what the REST routes would answer at a cursor.
// It keeps its own idea of a message on purpose: the reducer is compared with it, not with itself.

import fc from "fast-check";
import type { Conversation, Member, Message, Snapshot } from "../api/types";
import type { Event } from "./events";

export const ME = "me";
export const CONVERSATION = "conversation";
const EPOCH = "e";

export type Step =
  | { readonly kind: "post" | "other" | "answer" | "again" | "finish" | "cancel" | "interrupt" | "fail" | "continue" }
  | { readonly kind: "edit" | "delete" | "restore"; readonly which: number }
  | { readonly kind: "delta"; readonly text: string }
  | { readonly kind: "add" | "remove"; readonly user: string };

type Body = Pick<Event, "type" | "payload">;

const at = (index: number): string => new Date(Date.UTC(2026, 0, 1, 0, 0, index)).toISOString();

/** An answer that is not finished yet, as the server knows it. */
interface Answer {
  readonly id: string;
  chunks: number;
  attempt: number;
}

export class World {
  readonly events: Event[] = [];
  /** What the messages and members were after each position. */
  readonly #messages: Message[][] = [[]];
  readonly #members: Member[][] = [[{ user_id: ME, email: null, display_name: "Me", role: "owner", joined_at: at(0) }]];
  readonly #answers: Answer[] = [];
  /** What deleted messages said. */
  readonly #texts = new Map<string, string>();
  /** Answers that stopped before their end. */
  readonly #stopped: Answer[] = [];

  static readonly arbitrary: fc.Arbitrary<World> = fc
    .array(
      fc.oneof(
        { weight: 2, arbitrary: fc.constantFrom<Step>({ kind: "post" }, { kind: "other" }) },
        { weight: 2, arbitrary: fc.constant<Step>({ kind: "answer" }) },
        { weight: 8, arbitrary: fc.string({ minLength: 1, maxLength: 4 }).map((text): Step => ({ kind: "delta", text })) },
        { weight: 2, arbitrary: fc.constantFrom<Step>({ kind: "finish" }, { kind: "cancel" }, { kind: "interrupt" }, { kind: "fail" }) },
        { weight: 1, arbitrary: fc.constantFrom<Step>({ kind: "continue" }, { kind: "again" }) },
        {
          weight: 1,
          arbitrary: fc.tuple(fc.constantFrom("edit" as const, "delete" as const, "restore" as const), fc.nat(9)).map(([kind, which]): Step => ({ kind, which })),
        },
        { weight: 1, arbitrary: fc.constantFrom<Step>({ kind: "add", user: "bob" }, { kind: "remove", user: "bob" }) },
      ),
      { maxLength: 40, size: "large" },
    )
    .map((steps) => new World(steps));

  constructor(readonly steps: readonly Step[]) {
    for (const step of steps) this.#take(step);
  }

  get head(): number {
    return this.events.length;
  }

  messagesAt(position: number): readonly Message[] {
    return this.#messages[position] ?? [];
  }

  membersAt(position: number): readonly Member[] {
    return this.#members[position] ?? [];
  }

  /** Whether a later event shows that this delta is missing. */
  isFollowed(delta: Event): boolean {
    if (delta.type !== "message.delta") return false;
    const rest = this.events.slice(this.events.indexOf(delta) + 1);
    return rest.some((event) => (event.type === "message.delta" || event.type === "message.done") && event.payload.message_id === delta.payload.message_id);
  }

  #take(step: Step): void {
    const answer = this.#answers.at(-1);
    if (step.kind === "post" || step.kind === "other") this.#create("user", step.kind === "post" ? ME : "bob", `said ${this.head}`);
    else if (step.kind === "answer") this.#answers.push({ id: this.#create("assistant", null, ""), chunks: 0, attempt: 1 });
    else if (step.kind === "again") this.#again();
    else if (step.kind === "continue") this.#continue();
    else if (step.kind === "edit" || step.kind === "delete" || step.kind === "restore") this.#rewrite(step.kind, step.which);
    else if (step.kind === "add" || step.kind === "remove") this.#changeMembers(step.kind, step.user);
    else if (answer !== undefined && step.kind === "delta") this.#extend(answer, step.text);
    else if (answer !== undefined && step.kind !== "delta") this.#end(answer, step.kind);
  }

  #append(body: Body, messages: readonly Message[], members = this.membersAt(this.head)): void {
    const index = this.head + 1;
    this.events.push({ ...body, conversation_id: CONVERSATION, position: { epoch: EPOCH, index }, at: at(index) } as Event);
    this.#messages.push([...messages]);
    this.#members.push([...members]);
  }

  /** Another answer to what the last answer answers. */
  #again(): void {
    const sibling = this.messagesAt(this.head).findLast((message) => message.role === "assistant");
    if (sibling !== undefined) this.#answers.push({ id: this.#create("assistant", null, "", sibling.parent_id), chunks: 0, attempt: 1 });
  }

  #rewrite(kind: "edit" | "delete" | "restore", which: number): void {
    const message = this.messagesAt(this.head)[which];
    if (message === undefined || message.status === "queued" || message.status === "streaming") return;
    const { id } = message;
    const time = at(this.head + 1);
    if (kind === "edit" && message.role === "user" && message.deleted_at === null) {
      const change = { content: `edited ${this.head}`, edited_at: time };
      this.#texts.set(id, change.content);
      this.#append({ type: "message.edited", payload: { message_id: id, ...change } }, this.#change(id, change));
    } else if (kind === "delete" && message.deleted_at === null) {
      this.#texts.set(id, message.content);
      const change = { deleted_at: time, deleted_by: { id: ME, display_name: "Me" } };
      this.#append({ type: "message.deleted", payload: { message_id: id, ...change, next_idx: message.next_idx } }, this.#change(id, { ...change, content: "" }));
    } else if (kind === "restore" && message.deleted_at !== null) {
      const content = this.#texts.get(id) ?? "";
      const change = { content, deleted_at: null, deleted_by: null };
      this.#append({ type: "message.restored", payload: { message_id: id, content, next_idx: message.next_idx } }, this.#change(id, change));
    }
  }

  #create(role: "user" | "assistant", author: string | null, content: string, parent = this.messagesAt(this.head).at(-1)?.id ?? null): string {
    const before = this.messagesAt(this.head);
    const isSibling = (message: Message): boolean => role === "assistant" && message.role === "assistant" && message.parent_id === parent;
    const sibling_index = before.filter(isSibling).length;
    const sibling_count = sibling_index + 1;
    const messages = before.map((message) => (isSibling(message) ? { ...message, sibling_count } : message));
    const id = `m${messages.length}`;
    const message: Message = {
      id,
      conversation_id: CONVERSATION,
      root_id: "m0",
      parent_id: parent,
      ordinal: messages.length + 1,
      depth: messages.length,
      author: author === null ? null : { id: author, display_name: author },
      role,
      content,
      status: role === "user" ? "complete" : "queued",
      finish_reason: null,
      usage: null,
      next_idx: 0,
      attempt: 1,
      model: null,
      created_at: at(this.head + 1),
      edited_at: null,
      deleted_at: null,
      deleted_by: null,
      sibling_index,
      sibling_count,
      context: null,
      timing: null,
      error: null,
    };
    this.#append({ type: "message.created", payload: { message } }, [...messages, message]);
    return id;
  }

  #change(id: string, change: Partial<Message>): readonly Message[] {
    return this.messagesAt(this.head).map((message) => (message.id === id ? { ...message, ...change } : message));
  }

  #extend(answer: Answer, text: string): void {
    const content = (this.messagesAt(this.head).find((message) => message.id === answer.id)?.content ?? "") + text;
    const idx = answer.chunks;
    answer.chunks += 1;
    this.#append(
      { type: "message.delta", payload: { message_id: answer.id, idx, choices: [{ delta: { content: text } }] } },
      this.#change(answer.id, { content, status: "streaming", next_idx: answer.chunks }),
    );
  }

  #continue(): void {
    const place = this.#stopped.findLastIndex(({ id }) => this.messagesAt(this.head).find((message) => message.id === id)?.deleted_at === null);
    const [answer] = place === -1 ? [] : this.#stopped.splice(place, 1);
    if (answer === undefined) return;
    answer.attempt += 1;
    this.#answers.push(answer);
    const { id, chunks, attempt } = answer;
    const undone = { status: "queued", finish_reason: null, usage: null, error: null, attempt, context: null, timing: null } as const;
    this.#append({ type: "message.continued", payload: { message_id: id, next_idx: chunks, attempt } }, this.#change(id, undone));
  }

  #end(answer: Answer, kind: "finish" | "cancel" | "interrupt" | "fail"): void {
    const { id, chunks, attempt } = answer;
    this.#answers.pop();
    if (kind !== "finish") this.#stopped.push(answer);
    const finish_reason = kind === "finish" ? "stop" : kind === "cancel" ? "cancelled" : "error";
    const status = kind === "finish" ? "complete" : kind === "cancel" ? "cancelled" : "error";
    const usage = kind === "finish" ? { prompt_tokens: 1, completion_tokens: chunks, total_tokens: chunks + 1 } : null;
    const context = { budget_tokens: 100, prompt_tokens: chunks, is_estimated: false, left_out: chunks % 2, oldest_id: null, ignored: [] };
    const timing = { queued_seconds: 0, first_token_seconds: null, seconds: chunks, tokens_per_second: null };
    const told = { finish_reason, usage, model: "story", context, timing } as const;
    const ended = { ...told, status } as const;
    this.#append({ type: "message.done", payload: { message_id: id, chunks, attempt, ...told } }, this.#change(id, ended));
    if (status !== "error") return;
    const error = { code: kind === "interrupt" ? "generation_interrupted" : "provider_failed", message: "It broke." };
    const failed = { ...ended, error, status: kind === "interrupt" ? "interrupted" : "error" } as const;
    this.#append({ type: "error", payload: { ...error, message_id: id, attempt } }, this.#change(id, failed));
  }

  #changeMembers(kind: "add" | "remove", user: string): void {
    const before = this.membersAt(this.head);
    const isIn = before.some((member) => member.user_id === user);
    if (isIn === (kind === "add")) return;
    const others = before.filter((member) => member.user_id !== user);
    const joined: Member = { user_id: user, email: null, display_name: user, role: "member", joined_at: at(this.head + 1) };
    const after = kind === "add" ? [...before, joined] : others;
    const payload = {
      user_id: user,
      role: "member",
      action: kind === "add" ? "added" : "removed",
      user: { id: user, display_name: user },
      member_count: after.length,
      assistant_mode: "always",
    } as const;
    this.#append({ type: "membership.changed", payload }, this.messagesAt(this.head), after);
  }
}

const cursor = (position: number): string => `${EPOCH}-${position}`;

/** `GET …/messages` at a position: newest first. */
export function snapshotAt(world: World, position: number): Snapshot<Message> {
  return { items: world.messagesAt(position).toReversed(), next_cursor: null, stream_cursor: cursor(position) };
}

export function membersAt(world: World, position: number): readonly Member[] {
  return world.membersAt(position);
}

/** `GET /api/conversations` at a position. */
export function listAt(world: World, position: number): Snapshot<Conversation> {
  const item: Conversation = {
    id: CONVERSATION,
    title: "Title",
    role: "owner",
    is_group: false,
    member_count: world.membersAt(position).length,
    last_activity_at: at(0),
    unread: 0,
    model: null,
    assistant_mode: "always",
    system_prompt: "", parameters: {},
    created_at: at(0),
  };
  return { items: [item], next_cursor: null, stream_cursor: cursor(position) };
}

/**
 * The events after `start` as a bad line brings them: cut and taken up again at the last id received, with runs of deltas of
 * one message merged into frames, some of them inside blocks whose frames have no id but the last. `cuts` says where the line
 * may break: behind a frame with an id, or anywhere, also inside a block.
 */
export function deliver(world: World, start: number, cuts: "at ids" | "anywhere", chances: Iterable<number>): Event[] {
  const dice = chances[Symbol.iterator]();
  const roll = (): number => dice.next().value as number;
  const sent: Event[] = [];
  let received = start;
  for (let rounds = 0; received < world.head; rounds += 1) {
    let next = received;
    const isLastRound = rounds > 20;
    while (next < world.head) {
      const [frame, last] = frameFrom(world, next, roll() < 40 ? 1 + (roll() % 5) : 1);
      next = last;
      const isInsideBlock = roll() < 15 && next < world.head;
      sent.push(isInsideBlock ? { ...frame, position: null } : frame);
      if (!isInsideBlock) received = next;
      if (!isLastRound && (cuts === "anywhere" || !isInsideBlock) && roll() < 10) break;
    }
  }
  return sent;
}

/** One frame of at most `size` events after `from`: only adjacent deltas of one message are merged. */
function frameFrom(world: World, from: number, size: number): readonly [Event, number] {
  const first = world.events[from];
  if (first === undefined) throw new Error("there is no such event");
  let merged = first;
  let last = from + 1;
  for (let next = world.events[last]; last < from + size && next !== undefined; next = world.events[last]) {
    if (merged.type !== "message.delta" || next.type !== "message.delta" || merged.payload.message_id !== next.payload.message_id) break;
    const content = (merged.payload.choices[0]?.delta.content ?? "") + (next.payload.choices[0]?.delta.content ?? "");
    const idx_from = merged.payload.idx_from ?? merged.payload.idx;
    merged = { ...next, payload: { ...next.payload, idx_from, choices: [{ delta: { content } }] } };
    last += 1;
  }
  return [merged, last];
}

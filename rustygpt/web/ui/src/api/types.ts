// What the server sends and takes, under the names that the page has for it. The shapes are the server's own (`schema.ts`, which is made
// of its description); names of fields stay in snake_case: they are the wire's.

import type * as wire from "./schema";

export type {
  Assignment, AuditEntry, Conversation, EffectiveSettings, Failure, Identities, Invite, Job, Me, Message, Model, Models, NewInvite, Posted, Problem, PromptContext, QuotaState, Session,
  NewUserBody, Profile, ProfileBody, SetupState, Share, SignedIn, Timing, Usage, User,
} from "./schema";

export type Role = wire.Member["role"];
export type AssistantMode = wire.Conversation["assistant_mode"];
export type MessageStatus = wire.Message["status"];
export type FinishReason = NonNullable<wire.Message["finish_reason"]>;

/** One sign-in of the user's own, for the settings page. */
export type SessionItem = wire.ActiveSession;
export type Author = wire.Person;

/** `email` is null for who came while one looked: the event does not tell it. */
export type Member = Omit<wire.Member, "email"> & { readonly email: string | null };

export interface Page<Item> {
  readonly items: readonly Item[];
  readonly next_cursor: string | null;
}

/** A page read together with the place in the event log it is true at. */
export interface Snapshot<Item> extends Page<Item> {
  readonly stream_cursor: string;
}

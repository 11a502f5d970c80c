// Conversations, their members, and the models they can use.

import { call, withQuery } from "./client";
import type { Accepted, CreateConversation, UpdateConversation } from "./schema";
import type { Conversation, Invite, Member, Models, NewInvite, Page, Role, Snapshot } from "./types";

export type NewConversation = CreateConversation;

export type ConversationChange = UpdateConversation;

const one = (id: string): string => `/api/conversations/${id}`;

/** `key` makes a repeated request the same conversation. */
export const createConversation = (body: NewConversation, key: string): Promise<Conversation> => call("POST", "/api/conversations", body, key);
export const changeConversation = (id: string, body: ConversationChange): Promise<Conversation> => call("PATCH", one(id), body);
export const archiveConversation = (id: string): Promise<void> => call("DELETE", one(id));
export const readModels = (): Promise<Models> => call("GET", "/api/models");

const PAGE = 200;
const PAGES = 5;

/** All conversations (at most 1 000), with the cursor of the first page: the oldest one is the one that loses nothing. */
export async function listConversations(): Promise<Snapshot<Conversation>> {
  let page = await call<Snapshot<Conversation>>("GET", withQuery("/api/conversations", { limit: PAGE }));
  const { stream_cursor } = page;
  const items = [...page.items];
  for (let read = 1; page.next_cursor !== null && read < PAGES; read += 1) {
    page = await call("GET", withQuery("/api/conversations", { limit: PAGE, cursor: page.next_cursor }));
    items.push(...page.items);
  }
  return { items, next_cursor: page.next_cursor, stream_cursor };
}

export const listMembers = (id: string): Promise<Page<Member>> => call("GET", withQuery(`${one(id)}/participants`, { limit: PAGE }));
export const addMember = (id: string, email: string, role: Role): Promise<Member> =>
  call("POST", `${one(id)}/participants`, { email, role });
export const changeRole = (id: string, userId: string, role: Role): Promise<Member> =>
  call("PATCH", `${one(id)}/participants/${userId}`, { role });
export const removeMember = (id: string, userId: string): Promise<void> => call("DELETE", `${one(id)}/participants/${userId}`);

/** How many people a link made by the page lets in, for seven days. */
const INVITE_USES = 10;

export const listInvites = (id: string): Promise<Page<Invite>> => call("GET", withQuery(`${one(id)}/invites`, { limit: PAGE }));
export const makeInvite = (id: string, role: Role): Promise<NewInvite> => call("POST", `${one(id)}/invites`, { role, max_uses: INVITE_USES });
export const revokeInvite = (inviteId: string): Promise<void> => call("POST", `/api/invites/${inviteId}/revoke`);
export const acceptInvite = (token: string): Promise<Accepted> => call("POST", "/api/invites/accept", { token });

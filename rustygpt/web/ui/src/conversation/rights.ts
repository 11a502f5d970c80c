// What somebody may do with a message, as the server will judge it: the page offers nothing that would be refused.

import type { Conversation, Message } from "../api/types";

export interface Rights {
  readonly userId: string;
  readonly canWrite: boolean;
  /** Owners and admins of the conversation may delete and restore what others wrote. */
  readonly hasOffice: boolean;
  readonly canAsk: boolean;
}

export function rightsOf(conversation: Conversation | undefined, userId: string): Rights {
  const canWrite = conversation !== undefined && conversation.role !== "viewer";
  const hasOffice = conversation?.role === "owner" || conversation?.role === "admin";
  return { userId, canWrite, hasOffice, canAsk: canWrite && conversation.assistant_mode !== "off" };
}

function isUnderWay(message: Message): boolean {
  return message.status === "queued" || message.status === "streaming";
}

export function mayEdit(message: Message, rights: Rights): boolean {
  return rights.canWrite && message.role === "user" && message.author?.id === rights.userId && message.deleted_at === null;
}

export function mayDelete(message: Message, rights: Rights): boolean {
  const isOwn = message.author?.id === rights.userId;
  return rights.canWrite && message.deleted_at === null && !isUnderWay(message) && (isOwn || rights.hasOffice);
}

export function mayRestore(message: Message, rights: Rights): boolean {
  return rights.canWrite && message.deleted_at !== null && (message.deleted_by?.id === rights.userId || rights.hasOffice);
}

export function mayAskAgain(message: Message, rights: Rights): boolean {
  return rights.canAsk && message.role === "assistant" && message.deleted_at === null && !isUnderWay(message);
}

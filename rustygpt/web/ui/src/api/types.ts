// What the server sends and takes, field by field as in the HTTP contract. Names stay in snake_case: they are the wire's.

export type Role = "owner" | "admin" | "member" | "viewer";
export type AssistantMode = "always" | "mention" | "off";
export type MessageStatus = "complete" | "streaming" | "queued" | "interrupted" | "cancelled" | "error";
export type FinishReason = "stop" | "length" | "cancelled" | "timeout" | "error";

export interface User {
  readonly id: string;
  readonly email: string;
  readonly display_name: string;
  readonly role: string;
  readonly status: "active" | "pending" | "disabled";
}

export interface Session {
  readonly id: string;
  readonly issued_at: string;
  readonly expires_at: string;
  readonly absolute_expires_at: string;
}

/** Answer of login, set-up and registration; the cookies come with it. */
export interface SignedIn {
  readonly user: User;
  readonly session: Session;
  readonly csrf_token: string;
}

export interface SetupState {
  readonly is_setup: boolean;
  readonly oauth: readonly string[];
  readonly signup: boolean;
}

/** The user's accounts at providers such as "github". */
export interface Identities {
  readonly items: readonly { readonly provider: string; readonly email: string | null; readonly linked_at: string }[];
  readonly has_password: boolean;
}

/** One sign-in of the user's own, for the settings page. */
export interface SessionItem {
  readonly id: string;
  readonly is_current: boolean;
  /** Browser and system in words. */
  readonly device: string;
  readonly ip: string | null;
  readonly issued_at: string;
  readonly last_seen_at: string;
}

export interface Model {
  readonly id: string;
  readonly provider: string;
  readonly context_tokens: number | null;
  readonly is_default: boolean;
  readonly state: "available" | "loaded";
  readonly size_bytes: number | null;
  readonly source: string | null;
  /** How many weights, such as "8.0B". */
  readonly parameters: string | null;
  readonly quantization: string | null;
  readonly is_removable: boolean;
}

/** A pull of a model; `code` is the server's word for why it failed. */
export interface Job {
  readonly id: string;
  readonly model: string;
  readonly source: string;
  readonly state: "queued" | "running" | "done" | "error" | "cancelled";
  readonly bytes_done: number;
  readonly bytes_total: number | null;
  readonly message: string;
  readonly is_cancelling: boolean;
  readonly finished_at: string | null;
}

/** `notice` says in a sentence which provider was found and how to change it. */
export interface Models {
  readonly items: readonly Model[];
  /** What embeds texts only. */
  readonly others: readonly Model[];
  readonly default_model: string | null;
  readonly notice: string;
}

export interface Conversation {
  readonly id: string;
  readonly title: string;
  readonly role: Role;
  readonly is_group: boolean;
  readonly member_count: number;
  readonly last_activity_at: string;
  readonly unread: number;
  readonly model: string | null;
  readonly assistant_mode: AssistantMode;
  readonly system_prompt: string | null;
  readonly created_at: string;
}

/** A link by which people join a conversation. */
export interface Invite {
  readonly id: string;
  readonly role: Role;
  readonly uses: number;
  readonly max_uses: number;
  readonly expires_at: string;
}

/** As it is shown once. */
export interface NewInvite extends Invite {
  readonly url: string;
}

export interface Member {
  readonly user_id: string;
  readonly email: string | null;
  readonly display_name: string;
  readonly role: Role;
  readonly joined_at: string;
}

export interface Usage {
  readonly prompt_tokens: number;
  readonly completion_tokens: number;
  readonly total_tokens: number;
}

export interface Failure {
  readonly code: string;
  readonly message: string;
}

/** What of the conversation an answer's model was given. */
export interface PromptContext {
  /** Null where nobody knows the model's context. */
  readonly budget_tokens: number | null;
  readonly prompt_tokens: number;
  readonly is_estimated: boolean;
  /** How many earlier messages did not fit. */
  readonly left_out: number;
  readonly oldest_id: string | null;
}

/** Seconds and tokens a second; null is not known. */
export interface Timing {
  readonly queued_seconds: number | null;
  readonly first_token_seconds: number | null;
  readonly seconds: number | null;
  readonly tokens_per_second: number | null;
}

export interface Author {
  readonly id: string;
  readonly display_name: string;
}

export interface Message {
  readonly id: string;
  readonly conversation_id: string;
  readonly root_id: string;
  readonly parent_id: string | null;
  /** Dense within the thread, from the root on. */
  readonly ordinal: number;
  readonly depth: number;
  readonly author: Author | null;
  readonly role: "user" | "assistant";
  readonly content: string;
  readonly status: MessageStatus;
  readonly finish_reason: FinishReason | null;
  readonly usage: Usage | null;
  /** How many stored chunks `content` holds; the next delta to apply has this number. */
  readonly next_idx: number;
  /** From 1; an answer that was continued has more, and ends once in each. */
  readonly attempt: number;
  readonly model: string | null;
  readonly created_at: string;
  readonly edited_at: string | null;
  readonly deleted_at: string | null;
  readonly deleted_by: Author | null;
  /** From 0, among the assistant's answers to the same message; 0 of 1 for what people wrote. */
  readonly sibling_index: number;
  readonly sibling_count: number;
  /** Null, like `timing`, until the answer has ended, and for what people wrote. */
  readonly context: PromptContext | null;
  readonly timing: Timing | null;
  readonly error: Failure | null;
}

export interface Page<Item> {
  readonly items: readonly Item[];
  readonly next_cursor: string | null;
}

/** A page read together with the place in the event log it is true at. */
export interface Snapshot<Item> extends Page<Item> {
  readonly stream_cursor: string;
}

export interface Posted {
  readonly message_id: string;
  readonly root_id: string;
  readonly conversation_id: string;
  readonly parent_id: string | null;
  readonly depth: number;
  readonly generation: { readonly message_id: string; readonly state: string } | null;
}

/** `application/problem+json`. */
export interface Problem {
  readonly status: number;
  readonly code: string;
  readonly title: string;
  readonly detail: string;
  readonly request_id?: string;
  readonly errors?: readonly { readonly field: string; readonly message: string }[];
}

// One's own API keys: how programs act for the user.

import { call, withQuery } from "./client";
import type { ApiKey, NewApiKey } from "./schema";
import type { Page } from "./types";

export type { ApiKey, NewApiKey } from "./schema";
export type Scope = ApiKey["scopes"][number];

/** So many keys a user may have; one page holds them all. */
const MAX_KEYS = 100;

export const listKeys = (): Promise<Page<ApiKey>> => call("GET", withQuery("/api/keys", { limit: MAX_KEYS }));
/** `expires_at` is a time with its zone, or null for a key without an end. */
export const makeKey = (name: string, scopes: readonly Scope[], expires_at: string | null): Promise<NewApiKey> =>
  call("POST", "/api/keys", { name, scopes, expires_at });
export const revokeKey = (id: string): Promise<void> => call("DELETE", `/api/keys/${id}`);

// Set-up, sign-in and the user's own sessions.

import { call } from "./client";
import type { Registration } from "./schema";
import type { Identities, Me, Page, QuotaState, SessionItem, SetupState, SignedIn } from "./types";

export type { Registration } from "./schema";

export const readSetup = (): Promise<SetupState> => call("GET", "/api/setup");
export const setUp = (administrator: Registration): Promise<SignedIn> => call("POST", "/api/setup", administrator);
export const register = (account: Registration): Promise<SignedIn> => call("POST", "/api/auth/register", account);
export const login = (email: string, password: string): Promise<SignedIn> => call("POST", "/api/auth/login", { email, password });
export const logout = (): Promise<void> => call("POST", "/api/auth/logout");
export const readMe = (): Promise<Me> => call("GET", "/api/auth/me");
export const listSessions = (): Promise<Page<SessionItem>> => call("GET", "/api/auth/sessions");
export const revokeSession = (id: string): Promise<void> => call("DELETE", `/api/auth/sessions/${id}`);
/** `current_password` is null where there is none yet. */
export const changePassword = (current_password: string | null, new_password: string): Promise<void> =>
  call("POST", "/api/auth/password", current_password === null ? { new_password } : { current_password, new_password });
export const listIdentities = (): Promise<Identities> => call("GET", "/api/auth/identities");
export const unlinkIdentity = (provider: string): Promise<void> => call("DELETE", `/api/auth/identities/${provider}`);
export const readUsage = (): Promise<QuotaState> => call("GET", "/api/usage");

// Set-up, sign-in and the user's own sessions.

import { call } from "./client";
import type { Identities, Page, Session, SessionItem, SetupState, SignedIn, User } from "./types";

export interface Registration {
  readonly email: string;
  readonly password: string;
  readonly display_name: string;
  /** Lets somebody in though sign-up is off, and into a conversation. */
  readonly invite_token?: string;
}

export const readSetup = (): Promise<SetupState> => call("GET", "/api/setup");
export const setUp = (administrator: Registration): Promise<SignedIn> => call("POST", "/api/setup", administrator);
export const register = (account: Registration): Promise<SignedIn> => call("POST", "/api/auth/register", account);
export const login = (email: string, password: string): Promise<SignedIn> => call("POST", "/api/auth/login", { email, password });
export const logout = (): Promise<void> => call("POST", "/api/auth/logout");
export const readMe = (): Promise<{ readonly user: User; readonly session: Session }> => call("GET", "/api/auth/me");
export const listSessions = (): Promise<Page<SessionItem>> => call("GET", "/api/auth/sessions");
export const revokeSession = (id: string): Promise<void> => call("DELETE", `/api/auth/sessions/${id}`);
/** `current_password` is null where there is none yet. */
export const changePassword = (current_password: string | null, new_password: string): Promise<void> =>
  call("POST", "/api/auth/password", current_password === null ? { new_password } : { current_password, new_password });
export const listIdentities = (): Promise<Identities> => call("GET", "/api/auth/identities");
export const unlinkIdentity = (provider: string): Promise<void> => call("DELETE", `/api/auth/identities/${provider}`);

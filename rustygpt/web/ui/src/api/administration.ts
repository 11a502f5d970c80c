// What administrators see and change of the server.

import { call, withQuery } from "./client";
import type { Assignment, AuditEntry, EffectiveSettings, NewUserBody, Page, Profile, ProfileBody, User } from "./types";

export const listUsers = (query: string, status: string | null, cursor: string | null): Promise<Page<User>> =>
  call("GET", withQuery("/api/admin/users", { query: query === "" ? null : query, status, cursor }));
export const createUser = (account: NewUserBody): Promise<User> => call("POST", "/api/admin/users", account);
export const changeUser = (id: string, change: { readonly role?: User["role"]; readonly status?: User["status"] }): Promise<User> =>
  call("PATCH", `/api/admin/users/${id}`, change);

export const readConfig = (): Promise<EffectiveSettings> => call("GET", "/api/config");
/** Null goes back to what is configured. */
export const changeConfig = (change: Readonly<Record<string, Readonly<Record<string, boolean | number | null>>>>): Promise<EffectiveSettings> =>
  call("POST", "/api/config", change);

export const listProfiles = (): Promise<Page<Profile>> => call("GET", "/api/admin/limits/profiles");
export const createProfile = (profile: ProfileBody): Promise<Profile> => call("POST", "/api/admin/limits/profiles", profile);
export const changeProfile = (id: string, profile: ProfileBody): Promise<Profile> => call("PUT", `/api/admin/limits/profiles/${id}`, profile);
export const deleteProfile = (id: string): Promise<void> => call("DELETE", `/api/admin/limits/profiles/${id}`);
export const listAssignments = (): Promise<Page<Assignment>> => call("GET", "/api/admin/limits/assignments");
export const createAssignment = (profile_id: string, method: string, route: string): Promise<Assignment> =>
  call("POST", "/api/admin/limits/assignments", { profile_id, method, route });
export const deleteAssignment = (id: string): Promise<void> => call("DELETE", `/api/admin/limits/assignments/${id}`);

export const listAudit = (cursor: string | null): Promise<Page<AuditEntry>> => call("GET", withQuery("/api/admin/audit", { cursor, limit: 20 }));

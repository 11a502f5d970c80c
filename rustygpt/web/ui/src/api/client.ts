// The one way to the server: JSON in and out, the CSRF header, a deadline, and errors as data.

import type { Problem } from "./types";

const DEADLINE_MS = 20_000;

/** A refusal of the server (`status` ≥ 400), or no answer at all (`status` 0, code `NETWORK`). */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    readonly fields: readonly { readonly field: string; readonly message: string }[] = [],
  ) {
    super(detail);
    this.name = "ApiError";
  }
}

let onSignedOut: () => void = () => undefined;

/** Say what happens when the server no longer knows who asks. */
export function whenSignedOut(listener: () => void): void {
  onSignedOut = listener;
}

function csrfToken(): string {
  const entry = document.cookie.split("; ").find((cookie) => cookie.startsWith("CSRF-TOKEN="));
  return entry === undefined ? "" : decodeURIComponent(entry.slice("CSRF-TOKEN=".length));
}

async function toError(response: Response): Promise<ApiError> {
  let problem: Partial<Problem> = {};
  try {
    problem = (await response.json()) as Partial<Problem>;
  } catch {
    // A proxy's page instead of ours; the status has to do.
  }
  const detail = problem.detail ?? problem.title ?? `${response.status} ${response.statusText}`;
  return new ApiError(response.status, problem.code ?? "UNKNOWN", detail, problem.errors ?? []);
}

async function send(method: string, path: string, body: unknown, key: string | undefined): Promise<Response> {
  const headers: Record<string, string> = { Accept: "application/json" };
  if (method !== "GET") headers["X-CSRF-TOKEN"] = csrfToken();
  if (body !== undefined) headers["Content-Type"] = "application/json";
  if (key !== undefined) headers["Idempotency-Key"] = key;
  const init: RequestInit = { method, headers, credentials: "same-origin", signal: AbortSignal.timeout(DEADLINE_MS) };
  try {
    return await fetch(path, body === undefined ? init : { ...init, body: JSON.stringify(body) });
  } catch (cause) {
    throw new ApiError(0, "NETWORK", cause instanceof Error ? cause.message : "no answer");
  }
}

async function request(method: string, path: string, body?: unknown, key?: string): Promise<Response> {
  const sent = csrfToken();
  const response = await send(method, path, body, key);
  if (response.ok) return response;
  const error = await toError(response);
  // Another answer brought new cookies while this request was on its way; it was refused before anything was done.
  if (error.code === "RGP.AUTH.CSRF" && method !== "GET" && csrfToken() !== sent) return request(method, path, body, key);
  if (error.code === "RGP.AUTH.REQUIRED" || error.code === "RGP.AUTH.SESSION_EXPIRED") onSignedOut();
  throw error;
}

/**
 * The answer is trusted to have the contract's shape: it comes from the server that this page came from. A repeated call with the same
 * `key` and body is done once.
 */
export async function call<Answer>(method: "GET" | "POST" | "PUT" | "PATCH" | "DELETE", path: string, body?: unknown, key?: string): Promise<Answer> {
  const response = await request(method, path, body, key);
  return (response.status === 204 ? undefined : await response.json()) as Answer;
}

/** Post a form with a file, telling how far it is from 0 to 1; there is no deadline, `signal` stops it. Rejects as `call` does. */
export function sendFile<Answer>(path: string, form: FormData, onprogress: (share: number) => void, signal: AbortSignal): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch does not tell how much it has sent
    const fail = (): void => reject(new ApiError(0, "NETWORK", "no answer"));
    request.open("POST", path);
    request.setRequestHeader("Accept", "application/json");
    request.setRequestHeader("X-CSRF-TOKEN", csrfToken());
    request.upload.addEventListener("progress", ({ loaded, total }) => onprogress(total === 0 ? 0 : loaded / total));
    request.addEventListener("error", fail);
    request.addEventListener("abort", fail);
    request.addEventListener("load", () => {
      const { status, statusText, responseText } = request;
      if (status < 400) resolve(JSON.parse(responseText) as Answer);
      else void toError(new Response(responseText, { status, statusText })).then(reject);
    });
    signal.addEventListener("abort", () => request.abort());
    request.send(form);
  });
}

/** A path with its query; undefined and null are left out. */
export function withQuery(path: string, query: Readonly<Record<string, string | number | null | undefined>>): string {
  const entries = Object.entries(query).filter((entry): entry is [string, string | number] => entry[1] != null);
  const search = new URLSearchParams(entries.map(([key, value]) => [key, String(value)])).toString();
  return search === "" ? path : `${path}?${search}`;
}

// The address bar as state. Paths: `/` (a new conversation), `/c/<id>`, `/settings`, `/administration`, `/invite/<token>`, and the two by which a sign-in at a provider comes back,
// `/login` and `/auth/success`; at anything else there is nothing.

import { localPath } from "./local_path";

export type Route =
  | { readonly page: "new" }
  | { readonly page: "missing" }
  | { readonly page: "conversation"; readonly id: string }
  | { readonly page: "settings" }
  | { readonly page: "administration" }
  | { readonly page: "invite"; readonly token: string }
  /** `error` is a word of the server for why a sign-in by a provider failed, or null; `next` is where to go after signing in. */
  | { readonly page: "login"; readonly error: string | null; readonly next: string }
  | { readonly page: "success"; readonly next: string };

/** The token of the invite to which a path leads, or null. */
export function inviteIn(path: string): string | null {
  return /^\/invite\/([\w-]{1,256})$/.exec(path)?.[1] ?? null;
}

function parse(address: string): Route {
  const { pathname: whole, searchParams } = new URL(address, location.origin);
  const pathname = whole.replace(/\/$/, "");
  const conversation = /^\/c\/([0-9a-f-]{36})$/.exec(pathname);
  if (conversation?.[1] !== undefined) return { page: "conversation", id: conversation[1] };
  const token = inviteIn(pathname);
  if (token !== null) return { page: "invite", token };
  const next = localPath(searchParams.get("redirect_to"));
  if (pathname === "/login") return { page: "login", error: searchParams.get("error"), next };
  if (pathname === "/auth/success") return { page: "success", next };
  if (pathname === "/administration") return { page: "administration" };
  if (pathname === "/settings") return { page: "settings" };
  return pathname === "" || pathname === "/index.html" ? { page: "new" } : { page: "missing" };
}

export class Router {
  route: Route = $state.raw(parse(location.href));

  constructor() {
    addEventListener("popstate", () => (this.route = parse(location.href)));
  }

  go(path: string, options: { readonly replace?: boolean } = {}): void {
    if (path !== location.pathname + location.search) history[options.replace ? "replaceState" : "pushState"](null, "", path);
    this.route = parse(path);
  }
}

/** Let a click on an ordinary link change the route, unless the person wants it elsewhere (new tab, download) or it leads to the server. */
export function follow(router: Router, event: MouseEvent): void {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = (event.target as Element | null)?.closest("a");
  if (!link || link.target !== "" || link.rel === "external" || link.origin !== location.origin || link.hasAttribute("download")) return;
  event.preventDefault();
  router.go(link.pathname);
}

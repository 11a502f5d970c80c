// The address bar as state. Paths: `/` (a new conversation), `/c/<id>`, `/settings`; anything else counts as `/`.

export type Route = { readonly page: "new" } | { readonly page: "conversation"; readonly id: string } | { readonly page: "settings" };

function parse(path: string): Route {
  const conversation = /^\/c\/([0-9a-f-]{36})$/.exec(path);
  if (conversation?.[1] !== undefined) return { page: "conversation", id: conversation[1] };
  return path === "/settings" ? { page: "settings" } : { page: "new" };
}

export class Router {
  route: Route = $state.raw(parse(location.pathname));

  constructor() {
    addEventListener("popstate", () => (this.route = parse(location.pathname)));
  }

  go(path: string, options: { readonly replace?: boolean } = {}): void {
    if (path !== location.pathname) history[options.replace ? "replaceState" : "pushState"](null, "", path);
    this.route = parse(path);
  }
}

/** Let a click on an ordinary link change the route, unless the person wants it elsewhere (new tab, download). */
export function follow(router: Router, event: MouseEvent): void {
  if (event.defaultPrevented || event.button !== 0 || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
  const link = (event.target as Element | null)?.closest("a");
  if (!link || link.target !== "" || link.origin !== location.origin || link.hasAttribute("download")) return;
  event.preventDefault();
  router.go(link.pathname);
}

// What every part of the page may reach: made once, handed down by context.

import { createContext } from "svelte";
import type { Router } from "./routing/router.svelte";
import type { SessionStore } from "./session/session.svelte";
import type { Speaker } from "./spoken/speaker.svelte";
import type { Live } from "./stream/live.svelte";
import type { ThemeStore } from "./styles/theme.svelte";

export interface Dashboard {
  readonly session: SessionStore;
  readonly router: Router;
  readonly theme: ThemeStore;
  readonly speaker: Speaker;
}

export const [useDashboard, provideDashboard] = createContext<Dashboard>();

/** The living state of the signed-in user: there is one where there is a user, and it ends with them. */
export const [useLive, provideLive] = createContext<Live>();

// Who is signed in, as far as this page knows. The server decides on every request; this only says what to show.

import { login, logout, readMe, readSetup, register, setUp, type Registration } from "../api/account";
import { ApiError, whenSignedOut } from "../api/client";
import type { SetupState, User } from "../api/types";

export type Phase = "starting" | "unreachable" | "setup" | "signed_out" | "signed_in";

export class SessionStore {
  phase: Phase = $state("starting");
  user: User | null = $state.raw(null);
  setup: SetupState = $state.raw({ is_setup: true, oauth: [], signup: false });
  /** The server ended the session while the page was open; what is on the screen stays until the person signs in again. */
  hasEnded = $state(false);
  /** They have just signed in where an invite's link led them, so there is nothing more to ask. */
  joinsOnEntry = false;

  constructor() {
    whenSignedOut(() => (this.hasEnded = this.phase === "signed_in"));
  }

  /** Ask the server where we stand. */
  async start(): Promise<void> {
    try {
      this.setup = await readSetup();
      if (!this.setup.is_setup) {
        this.phase = "setup";
        return;
      }
      this.user = (await readMe()).user;
      this.phase = "signed_in";
    } catch (error) {
      this.phase = error instanceof ApiError && error.status === 401 ? "signed_out" : "unreachable";
    }
  }

  /** Creates the first administrator. The phase stays "setup" until the wizard says that it is finished. */
  async setUp(administrator: Registration): Promise<void> {
    this.user = (await setUp(administrator)).user;
    this.setup = { ...this.setup, is_setup: true };
  }

  enter(): void {
    this.phase = "signed_in";
  }

  async login(email: string, password: string): Promise<void> {
    this.#welcome((await login(email, password)).user);
  }

  async register(account: Registration): Promise<void> {
    this.#welcome((await register(account)).user);
  }

  async logout(): Promise<void> {
    try {
      await logout();
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 401) throw error;
    }
    this.leave();
  }

  leave(): void {
    this.user = null;
    this.hasEnded = false;
    this.phase = "signed_out";
  }

  #welcome(user: User): void {
    this.user = user;
    this.hasEnded = false;
    this.phase = "signed_in";
  }
}

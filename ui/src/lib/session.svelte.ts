// Who is signed in.
import { api, ApiError, onSignedOut } from './api/client';
import type { Session } from './api/model';
import { keeps, recall, remember } from './prefs.svelte';

/** Whether this browser may have a session; its cookie is out of our sight. */
const HINT = 'signed-in';

class SessionState {
  current = $state.raw<Session | undefined>();
  /** Whether the server has said so or so. */
  known = $state(false);
  /** A session that was there has ended by itself. */
  ended = $state(false);
  unreachable = $state.raw<ApiError | undefined>();

  constructor() {
    onSignedOut(() => {
      if (this.current) this.ended = true;
      this.current = undefined;
      remember(HINT, 'false');
    });
  }

  async check(): Promise<void> {
    this.unreachable = undefined;
    if (!recall(HINT, !keeps)) {
      this.known = true;
      return;
    }
    try {
      this.current = await api.session();
    } catch (error) {
      this.current = undefined;
      if (error instanceof ApiError && error.status !== 401) this.unreachable = error;
      else remember(HINT, 'false');
    }
    this.known = true;
  }

  async signIn(username: string, password: string): Promise<void> {
    await api.signIn(username, password);
    remember(HINT, 'true');
    this.current = await api.session();
    this.ended = false;
  }

  async signOut(): Promise<void> {
    try {
      await api.signOut();
    } finally {
      remember(HINT, 'false');
      this.current = undefined;
      this.ended = false;
    }
  }

  get isAdmin(): boolean {
    return this.current?.role === 'admin';
  }

  get isOperator(): boolean {
    return this.current?.role === 'operator' || this.isAdmin;
  }
}

export const session = new SessionState();

// The public page's data: numbers asked for every few seconds, and the live
// attacks in between. No session, no query; only what anybody may see.
import { api, ApiError, apiUrl } from './api/client';
import type { PublicAttack, PublicSummary } from './api/model';

/** Whether this hub has a public page; the server writes it into the page. */
export const hasPublicPage = document.querySelector('meta[name="palisade-public"]') !== null;

const REFRESH_MS = 5_000;
const LONGEST_WAIT_MS = 60_000;
/** Attacks that are kept for the list. */
const MAX_RECENT = 40;

/** An attack in the list; the server gives it no name, so it gets one here. */
export interface Shown extends PublicAttack {
  key: number;
  fresh: boolean;
}
type OnAttack = (attack: PublicAttack) => void;

export class PublicFeed {
  summary = $state.raw<PublicSummary | undefined>();
  error = $state.raw<ApiError | undefined>();
  recent = $state.raw<Shown[]>([]);
  live = $state(false);
  /** Attacks that came since the numbers were counted. */
  since = $state(0);

  #next = 0;
  #wait = REFRESH_MS;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #again: ReturnType<typeof setTimeout> | undefined;
  #abort = new AbortController();
  #source: EventSource | undefined;
  #retry = 1_000;
  readonly #listeners = new Set<OnAttack>();

  start(): () => void {
    void this.#ask();
    this.#open();
    const woken = () => !document.hidden && void this.#ask();
    document.addEventListener('visibilitychange', woken);
    return () => {
      document.removeEventListener('visibilitychange', woken);
      this.#abort.abort();
      clearTimeout(this.#timer);
      clearTimeout(this.#again);
      this.#source?.close();
    };
  }

  listen(handler: OnAttack): () => void {
    this.#listeners.add(handler);
    return () => this.#listeners.delete(handler);
  }

  retry(): void {
    void this.#ask();
  }

  async #ask(): Promise<void> {
    clearTimeout(this.#timer);
    if (!document.hidden) {
      try {
        const summary = await api.publicSummary(this.#abort.signal);
        if (!this.summary) this.recent = summary.recent.map((attack) => this.#named(attack, false));
        this.summary = summary;
        this.since = 0;
        this.error = undefined;
        this.#wait = REFRESH_MS;
      } catch (error) {
        if (this.#abort.signal.aborted) return;
        this.error = error instanceof ApiError ? error : new ApiError(0, String(error));
        const asked = (this.error.retryAfterSecs ?? 0) * 1_000;
        this.#wait = Math.min(LONGEST_WAIT_MS, Math.max(asked, this.#wait * 2));
      }
    }
    clearTimeout(this.#timer);
    if (!this.#abort.signal.aborted) this.#timer = setTimeout(() => void this.#ask(), this.#wait);
  }

  #open(): void {
    const source = new EventSource(apiUrl('public/stream'));
    this.#source = source;
    source.addEventListener('open', () => {
      this.live = true;
      this.#retry = 1_000;
    });
    source.addEventListener('attack', (message) => this.#take(JSON.parse((message as MessageEvent<string>).data) as PublicAttack));
    source.addEventListener('error', () => {
      source.close();
      this.live = false;
      this.#again = setTimeout(() => this.#open(), this.#retry * (0.75 + Math.random() / 2));
      this.#retry = Math.min(LONGEST_WAIT_MS, this.#retry * 2);
    });
  }

  #take(attack: PublicAttack): void {
    this.since += 1;
    this.recent = [this.#named(attack, true), ...this.recent].slice(0, MAX_RECENT);
    for (const listener of this.#listeners) listener(attack);
  }

  #named(attack: PublicAttack, fresh: boolean): Shown {
    this.#next += 1;
    return { ...attack, key: this.#next, fresh };
  }
}

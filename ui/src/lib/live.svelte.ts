// The live stream: one connection for the whole page, shared by its parts.
import { apiUrl } from './api/client';
import type { Event } from './api/model';
import { recall, remember } from './prefs.svelte';

/** Events are handed on in batches this far apart, so that a burst costs one update. */
const BATCH_MS = 100;
const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 30_000;
/** Kept for one batch at most; the rest of a flood is counted elsewhere. */
const MAX_BATCH = 2_000;

export type LiveState = 'off' | 'connecting' | 'open' | 'waiting';
type OnEvents = (events: Event[]) => void;

class Live {
  /** The switch in the header. */
  on = $state(recall('live', true));
  state = $state<LiveState>('off');
  /** Grows whenever what is shown must be loaded again. */
  resyncs = $state(0);

  #source: EventSource | undefined;
  #url = '';
  #wait = FIRST_WAIT_MS;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #flush: ReturnType<typeof setTimeout> | undefined;
  #batch: Event[] = [];
  #lost = false;
  readonly #listeners = new Set<OnEvents>();

  setOn(on: boolean): void {
    this.on = on;
    remember('live', JSON.stringify(on));
  }

  /** Called with new events, until the returned function is. */
  listen(handler: OnEvents): () => void {
    this.#listeners.add(handler);
    return () => this.#listeners.delete(handler);
  }

  /** Connects with this filter; `undefined` disconnects. */
  follow(q: string | undefined): void {
    const url = q === undefined ? '' : apiUrl('stream', { q });
    if (url === this.#url) return;
    this.#url = url;
    this.#close();
    this.#wait = FIRST_WAIT_MS;
    this.#lost = false;
    if (url) this.#open();
    else this.state = 'off';
  }

  #open(): void {
    this.state = 'connecting';
    const source = new EventSource(this.#url);
    this.#source = source;
    source.addEventListener('open', () => {
      this.state = 'open';
      this.#wait = FIRST_WAIT_MS;
      if (this.#lost) this.resyncs += 1;
      this.#lost = false;
    });
    source.addEventListener('event', (message) => this.#take((message as MessageEvent<string>).data));
    source.addEventListener('resync', () => (this.resyncs += 1));
    source.addEventListener('error', () => {
      source.close();
      if (this.#source === source) this.#retry();
    });
  }

  #retry(): void {
    this.state = 'waiting';
    this.#lost = true;
    const wait = this.#wait * (0.75 + Math.random() / 2);
    this.#wait = Math.min(this.#wait * 2, LONGEST_WAIT_MS);
    this.#timer = setTimeout(() => this.#open(), wait);
  }

  #close(): void {
    clearTimeout(this.#timer);
    clearTimeout(this.#flush);
    this.#flush = undefined;
    this.#batch = [];
    this.#source?.close();
    this.#source = undefined;
  }

  #take(data: string): void {
    if (this.#batch.length < MAX_BATCH) this.#batch.push(JSON.parse(data) as Event);
    this.#flush ??= setTimeout(() => {
      const events = this.#batch;
      this.#batch = [];
      this.#flush = undefined;
      for (const listener of this.#listeners) listener(events);
    }, BATCH_MS);
  }
}

export const live = new Live();

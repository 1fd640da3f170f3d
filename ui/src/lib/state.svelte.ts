// What several parts of the page share.
import { api, ApiError } from './api/client';
import type { FieldInfo, Status } from './api/model';

/** How often the state of the hub is asked for, while it is well and while not. */
const SELDOM_MS = 15_000;
const SOON_MS = 3_000;

class Shared {
  /** Why the query cannot be answered, and where in it. */
  queryError = $state.raw<ApiError | undefined>();
  fields = $state.raw<FieldInfo[]>([]);
  status = $state.raw<Status | undefined>();
  /** The hub was there and does not answer any more. */
  lost = $state(false);
  /** The hub cannot reach its database of accounts. */
  stateLost = $state(false);
  #replayed = false;
  /** Whether replayed events are among the data. */
  demo = $state(false);
  /** The time, to a second, for "12 s ago". */
  now = $state(new Date());
  /** Short messages such as "Copied". */
  notice = $state('');
  #noticeTimer: ReturnType<typeof setTimeout> | undefined;

  say(text: string): void {
    this.notice = text;
    clearTimeout(this.#noticeTimer);
    this.#noticeTimer = setTimeout(() => (this.notice = ''), 2_500);
  }

  async loadFields(): Promise<void> {
    if (this.fields.length > 0) return;
    try {
      this.fields = await api.fields();
    } catch {
      // Completion is a convenience; queries work without.
    }
  }

  async loadStatus(): Promise<void> {
    // Each by itself: the list of sensors needs a store that works.
    const [status, sensors] = await Promise.allSettled([api.status(), api.sensors()]);
    if (status.status === 'fulfilled') this.status = status.value;
    if (sensors.status === 'fulfilled') this.#replayed = sensors.value.some((sensor) => sensor.kind === 'demo' && sensor.events_24h > 0);
    this.demo = this.#replayed || (this.status?.demo ?? false);
    const failed = [status, sensors].map((answer) => (answer.status === 'rejected' ? (answer.reason as unknown) : undefined));
    this.stateLost = failed.some((error) => error instanceof ApiError && error.kind === 'state');
    // Those who need it show the error of their own request.
    const [error] = failed;
    this.lost = !this.stateLost && this.status !== undefined && error instanceof ApiError && (error.status === 0 || error.status >= 500);
  }

  /** How soon to ask again: often while something is to be waited for. */
  get pause(): number {
    const well = this.status?.store.state !== 'failed' && this.status?.store.state !== 'behind' && this.status?.state.ok !== false;
    return this.lost || this.stateLost || !well ? SOON_MS : SELDOM_MS;
  }
}

export const shared = new Shared();
setInterval(() => (shared.now = new Date()), 1_000);

export async function copy(text: string, what = 'Copied'): Promise<void> {
  try {
    await navigator.clipboard.writeText(text);
    shared.say(what);
  } catch {
    shared.say('The browser does not allow copying here');
  }
}

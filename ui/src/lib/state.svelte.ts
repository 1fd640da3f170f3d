// What several parts of the page share.
import { api, ApiError } from './api/client';
import type { FieldInfo, Status } from './api/model';

class Shared {
  /** Why the query cannot be answered, and where in it. */
  queryError = $state.raw<ApiError | undefined>();
  fields = $state.raw<FieldInfo[]>([]);
  status = $state.raw<Status | undefined>();
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
    try {
      const [status, sensors] = await Promise.all([api.status(), api.sensors()]);
      this.status = status;
      this.demo = status.demo || sensors.some((sensor) => sensor.kind === 'demo' && sensor.events_24h > 0);
    } catch {
      // Those who need it show the error of their own request.
    }
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

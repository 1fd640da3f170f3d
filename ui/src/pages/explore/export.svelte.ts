// Exports of the query: of a bounded number with their progress, more by the
// browser's own download.
import { apiUrl, ApiError, problem } from '../../lib/api/client';

/** The server ends an export there. */
export const MOST_EVENTS = 1_000_000;
/** Up to this many the page collects the file itself and shows how far it is;
 * about 25 MB. */
const MOST_COLLECTED = 50_000;

export type Format = 'csv' | 'ndjson';
export const FORMATS: readonly { format: Format; name: string; note: string }[] = [
  { format: 'csv', name: 'CSV', note: 'for spreadsheets' },
  { format: 'ndjson', name: 'NDJSON', note: 'one event a line, complete' },
];

class Export {
  /** The export under way, or the last one. */
  state = $state<'idle' | 'running' | 'handed' | 'done' | 'failed'>('idle');
  format = $state<Format>('csv');
  events = $state(0);
  bytes = $state(0);
  total = $state(0);
  error = $state('');
  #abort: AbortController | undefined;

  async start(q: string, format: Format, total: number): Promise<void> {
    this.#abort?.abort();
    Object.assign(this, { state: 'running', format, events: 0, bytes: 0, total: Math.min(total, MOST_EVENTS), error: '' });
    const url = apiUrl('events', { q, format });
    if (total > MOST_COLLECTED) {
      save(url, `palisade-events.${format}`);
      this.state = 'handed';
      return;
    }
    const abort = new AbortController();
    this.#abort = abort;
    try {
      const parts = await this.#collect(url, abort.signal);
      const file = URL.createObjectURL(new Blob(parts, { type: format === 'csv' ? 'text/csv' : 'application/x-ndjson' }));
      save(file, `palisade-events.${format}`);
      // The browser has taken it by then; until the next task it needs the address.
      setTimeout(() => URL.revokeObjectURL(file), 60_000);
      this.state = 'done';
    } catch (error) {
      if (abort.signal.aborted) return;
      this.state = 'failed';
      this.error = error instanceof ApiError ? error.message : 'The connection broke off; nothing was saved. Try again.';
    }
  }

  stop(): void {
    this.#abort?.abort();
    this.state = 'idle';
  }

  async #collect(url: string, signal: AbortSignal): Promise<BlobPart[]> {
    const response = await fetch(url, { signal, credentials: 'same-origin' });
    if (!response.ok) throw await problem(response);
    const parts: BlobPart[] = [];
    const reader = response.body!.getReader();
    for (let chunk = await reader.read(); !chunk.done; chunk = await reader.read()) {
      parts.push(chunk.value as BlobPart);
      this.bytes += chunk.value.length;
      let lines = 0;
      for (const byte of chunk.value) if (byte === 10) lines += 1;
      this.events = Math.min(this.total, this.events + lines);
    }
    return parts;
  }
}

function save(url: string, name: string): void {
  const link = document.createElement('a');
  link.href = url;
  link.download = name;
  link.dataset['outside'] = '';
  link.click();
}

export const exporting = new Export();

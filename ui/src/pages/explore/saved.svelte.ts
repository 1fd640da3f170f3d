// Views that are kept by name on the server, one's own and the shared ones.
import { api } from '../../lib/api/client';
import type { SavedQuery } from '../../lib/api/model';
import { Loader } from '../../lib/loader.svelte';
import { href } from '../../lib/route.svelte';
import { view } from './view.svelte';

/** Parameters of the address that are kept with a query. */
const OPTIONS = ['range', 'from', 'to', 'cols', 'step', 'vs', 'tab'];

class Saved {
  readonly loader = new Loader<SavedQuery[]>();

  load(): void {
    void this.loader.run((signal) => api.savedQueries(signal));
  }

  get list(): SavedQuery[] {
    return this.loader.data ?? [];
  }

  /** Keeps what is shown. */
  async keep(name: string, shared: boolean): Promise<void> {
    await api.saveQuery({ name, shared, ...shownNow() });
    this.load();
  }

  /** Replaces what an own one shows by what is shown. */
  async replace({ id, name, shared }: SavedQuery): Promise<void> {
    await api.changeSavedQuery(id, { name, shared, ...shownNow() });
    this.load();
  }

  async change(saved: SavedQuery, name: string, shared: boolean): Promise<void> {
    const { id, query, options } = saved;
    await api.changeSavedQuery(id, { name, shared, query, options: options as Record<string, never> });
    this.load();
  }

  async remove(id: string): Promise<void> {
    await api.removeSavedQuery(id);
    this.load();
  }
}

export const saved = new Saved();

function shownNow(): { query: string; options: Record<string, never> } {
  const params = new URLSearchParams(view.search());
  const options: Record<string, string> = {};
  for (const name of OPTIONS) {
    const value = params.get(name);
    if (value) options[name] = value;
  }
  return { query: params.get('q') ?? '', options: options as Record<string, never> };
}

/** The address that a saved query leads to. */
export function addressOf({ query, options }: SavedQuery): string {
  const params = new URLSearchParams();
  if (query) params.set('q', query);
  for (const name of OPTIONS) {
    const value = (options as Record<string, unknown>)[name];
    if (typeof value === 'string') params.set(name, value);
  }
  const search = params.toString();
  return href('explore') + (search ? `?${search}` : '');
}

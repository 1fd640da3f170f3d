// What of the page's address is Explore's own: columns, width of bars, the time
// compared with. The address comes first; columns are remembered besides.
import { recall, remember } from '../../lib/prefs.svelte';
import { readRange, writeRange } from '../../lib/range';
import { route } from '../../lib/route.svelte';
import { COLUMNS, DEFAULT_COLUMNS, type Column } from './columns';

export type Tab = 'events' | 'changes';

function known(ids: string[]): string[] {
  return [...new Set(ids)].filter((id) => COLUMNS.some((column) => column.id === id));
}

class View {
  #preferred = $state.raw<string[]>(known(recall<string[]>('columns', DEFAULT_COLUMNS)));

  get columnIds(): string[] {
    const asked = known((route.params.get('cols') ?? '').split(','));
    if (asked.length > 0) return asked;
    return this.#preferred.length > 0 ? this.#preferred : DEFAULT_COLUMNS;
  }

  get columns(): Column[] {
    return this.columnIds.map((id) => COLUMNS.find((column) => column.id === id)!);
  }

  setColumns(ids: string[]): void {
    const wanted = ids.length > 0 ? ids : DEFAULT_COLUMNS;
    this.#preferred = wanted;
    remember('columns', JSON.stringify(wanted));
    const usual = wanted.join() === DEFAULT_COLUMNS.join();
    route.set({ cols: usual ? null : wanted.join(',') }, { replace: true });
  }

  /** As asked for, or `auto`. */
  get step(): string {
    const step = route.params.get('step') ?? '';
    return /^\d+(s|m|h|d|w|mo)$/.test(step) ? step : 'auto';
  }

  /** The time compared with: `previous`, a time ago such as `7d`, or its start. */
  get versus(): string {
    return route.params.get('vs') ?? '';
  }

  get tab(): Tab {
    return this.versus && route.params.get('tab') !== 'events' ? 'changes' : 'events';
  }

  /** The address of what is shown, without an open event: columns always, and
   * the time as it is or as instants. */
  search(fixed = false): string {
    const params = new URLSearchParams(route.params);
    params.delete('event');
    params.set('cols', this.columnIds.join(','));
    const range = readRange(params);
    if (fixed && 'last' in range) {
      const to = Date.now();
      const unit = { s: 1e3, m: 6e4, h: 36e5, d: 864e5, w: 6048e5 }[range.last.slice(-1)] ?? 864e5;
      const from = to - Number.parseInt(range.last, 10) * unit;
      writeRange({ from: new Date(from).toISOString(), to: new Date(to).toISOString() }, params);
    } else writeRange(range, params);
    return params.toString();
  }
}

export const view = new View();

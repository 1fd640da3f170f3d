// The address of the page is its state: path, query, time range, open event.
import { base } from './base';
import { DEFAULT, readRange, writeRange, type Range } from './range';

class Route {
  /** Below the base path, without slashes at its ends. */
  path = $state('');
  params = $state.raw(new URLSearchParams());

  constructor() {
    this.#read();
    addEventListener('popstate', () => this.#read());
  }

  #read(): void {
    const path = location.pathname;
    this.path = (path.startsWith(base) ? path.slice(base.length) : path).replace(/^\/+|\/+$/g, '');
    this.params = new URLSearchParams(location.search);
  }

  get q(): string {
    return this.params.get('q') ?? '';
  }

  get range(): Range {
    return readRange(this.params);
  }

  go(url: string, { replace = false } = {}): void {
    if (url === location.pathname + location.search) return;
    history[replace ? 'replaceState' : 'pushState'](null, '', url);
    this.#read();
  }

  /** Changes parameters of this page; `null` takes one away. */
  set(changes: Record<string, string | null>, options?: { replace?: boolean }): void {
    const params = new URLSearchParams(this.params);
    change(params, changes);
    this.go(address(this.path, params), options);
  }

  setRange(range: Range): void {
    this.setView({}, range);
  }

  /** Changes parameters and the time range at once. */
  setView(changes: Record<string, string | null>, range: Range): void {
    const params = new URLSearchParams(this.params);
    change(params, changes);
    writeRange(range, params);
    this.go(address(this.path, params));
  }
}

function change(params: URLSearchParams, changes: Record<string, string | null>): void {
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === '') params.delete(name);
    else params.set(name, value);
  }
}

function address(path: string, params: URLSearchParams): string {
  const search = params.toString();
  return `${base}${path}${search ? `?${search}` : ''}`;
}

/** The address of a page with a query, a range and an open event. */
export function href(path: string, q = '', range: Range = DEFAULT, event = ''): string {
  const params = new URLSearchParams();
  if (q.trim()) params.set('q', q.trim());
  writeRange(range, params);
  if (event) params.set('event', event);
  return address(path, params);
}

/** The address of one session of an attacker. */
export const sessionHref = (session: string, sensor: string) => address('sessions', new URLSearchParams({ session, sensor }));

export const route = new Route();

/** The address of all that is known about an address or network. */
export function about(address: string): string {
  const params = new URLSearchParams({ address });
  writeRange(route.range, params);
  return `${base}attacker?${params.toString()}`;
}

/** Lets plain clicks on links of the page change the address without loading. */
export function followLinks(click: MouseEvent): void {
  if (click.defaultPrevented || click.button !== 0) return;
  if (click.metaKey || click.ctrlKey || click.shiftKey || click.altKey) return;
  const link = (click.target as Element | null)?.closest?.('a');
  if (!link || link.target || link.hasAttribute('download') || link.dataset['outside'] !== undefined) return;
  const to = link.getAttribute('href');
  if (!to?.startsWith(base)) return;
  click.preventDefault();
  route.go(to);
}

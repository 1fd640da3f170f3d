// Keys of the whole page. Single letters are left alone while one types.
import { href, route } from './route.svelte';

/** How long after `g` the second key may come. */
const SEQUENCE_MS = 1_200;
export const PAGE_KEYS: Record<string, { path: string; label: string }> = {
  o: { path: '', label: 'Overview' },
  e: { path: 'explore', label: 'Explore' },
  t: { path: 'sessions', label: 'Sessions' },
  w: { path: 'tried', label: 'Tried' },
  a: { path: 'attacker', label: 'Attacker' },
  l: { path: 'logins', label: 'Logins' },
  b: { path: 'bans', label: 'Bans' },
  r: { path: 'rules', label: 'Rules' },
  p: { path: 'payloads', label: 'Payloads' },
  c: { path: 'cves', label: 'CVEs' },
  v: { path: 'servers', label: 'Servers' },
  s: { path: 'sensors', label: 'Sensors' },
  n: { path: 'plugins', label: 'Plug-ins' },
  u: { path: 'accounts', label: 'Accounts' },
  ',': { path: 'settings', label: 'Settings' },
};

let began = 0;

function types(target: EventTarget | null): boolean {
  const element = target as HTMLElement | null;
  return !!element?.closest?.('input, textarea, select, [contenteditable]');
}

export function keyboard(event: KeyboardEvent, help: () => void): void {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (types(event.target) || document.querySelector('dialog[open]')) return;
  const page = PAGE_KEYS[event.key];
  if (page && performance.now() - began < SEQUENCE_MS) {
    began = 0;
    event.preventDefault();
    route.go(href(page.path, route.q, route.range));
  } else if (event.key === 'g') {
    began = performance.now();
  } else if (event.key === '/') {
    event.preventDefault();
    document.getElementById('query')?.focus();
  } else if (event.key === '?') {
    event.preventDefault();
    help();
  }
}

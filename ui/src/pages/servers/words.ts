// What machines tell of themselves, in words. Their texts are those of others.
import type { AttributeValue, Change, Host } from '../../lib/api/model';
import { base } from '../../lib/base';
import { bytes, duration } from '../../lib/format';
import { add, term } from '../../lib/query';
import { route } from '../../lib/route.svelte';
import { writeRange } from '../../lib/range';

export const STATES: Record<Host['state'], string> = { ok: 'All well', warning: 'Warning', alert: 'Alert', silent: 'Silent' };
/** The worst last, as a list of states is sorted. */
export const RANK: Record<Host['state'], number> = { ok: 0, warning: 1, silent: 2, alert: 3 };
export const SOURCES: Record<Host['source'], string> = { agent: 'agent', glimpse: 'Glimpse', alpha: 'Alpha' };
export const SEVERITIES = ['critical', 'high', 'medium', 'low'];
export const severity = (name: string) => SEVERITIES.length - SEVERITIES.indexOf(name);

export const hostName = (host: Host) => host.name ?? host.id;

/** The address of one machine's page. */
export function hostHref(id: string, tab = ''): string {
  const params = new URLSearchParams({ host: id });
  if (tab) params.set('tab', tab);
  writeRange(route.range, params);
  return `${base}servers?${params}`;
}

/** The events that a machine has delivered. */
export function eventsOf(host: Host): string {
  const q = term('sensor', host.sensor);
  return host.source !== 'agent' && host.address ? add(q, term('target', host.address)) : q;
}

/** A number of the newest sample. */
export function measured(host: Host, name: string): number | undefined {
  const value = (host.sample as Record<string, unknown> | null)?.[name];
  return typeof value === 'number' && Number.isFinite(value) ? value : undefined;
}

export function part(used: number | undefined, total: number | undefined): number | undefined {
  return used === undefined || !total ? undefined : (used / total) * 100;
}

export const percent = (n: number) => `${n >= 10 || n === 0 ? Math.round(n) : n.toFixed(1)} %`;

/** What a machine's own data says, whatever it is. */
export function said(value: unknown): string {
  if (value === null || value === undefined) return '–';
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (Array.isArray(value) && value.every((one) => typeof one !== 'object')) return value.map(String).join(', ') || '–';
  return typeof value === 'object' ? JSON.stringify(value) : String(value);
}

/** Amounts, in bytes where they are numbers. */
export const SIZES = new Set(['total', 'used', 'free', 'available', 'recv', 'sent', 'size']);
const INSTANTS = new Set(['since', 'boot_time', 'not_before', 'not_after']);
/** Times are milliseconds in data of machines; small numbers are something else. */
const LEAST_INSTANT_MS = 1e11;
const MOST_INSTANT_MS = 8.64e15;

/** A value by the name of its field. */
export function shownAs(name: string, value: unknown): { text: string; at?: string } {
  if (typeof value !== 'number') return { text: said(value) };
  if (INSTANTS.has(name) && value > LEAST_INSTANT_MS && value < MOST_INSTANT_MS) return { text: '', at: new Date(value).toISOString() };
  if (SIZES.has(name)) return { text: bytes(value) };
  if (name === 'uptime') return { text: duration(value) };
  // Ports and ids are no amounts.
  return { text: String(value) };
}

/** Details of an event as text, by name. */
function detail(change: Change, name: string): string {
  const value = (change.detail as Record<string, AttributeValue>)[name];
  if (value === undefined) return '';
  return typeof value === 'object' ? `base64:${value.base64}` : String(value);
}

export interface Told {
  what: string;
  /** What it is about. */
  item: string;
  /** How it was and is, or what was said. */
  more: string;
  bad: boolean;
}
/** A change in words. */
export function told(change: Change): Told {
  const of = (name: string) => detail(change, name);
  switch (change.kind) {
    case 'host.changed':
      return { what: `${of('section') || 'inventory'} ${of('action') || 'changed'}`, item: of('item'), more: differences(of('before'), of('after')), bad: false };
    case 'file.changed':
      return { what: `File ${of('change') || 'changed'}`, item: of('path'), more: files(of), bad: of('change') !== 'created' };
    case 'finding.opened':
      return { what: `Finding, ${of('severity') || 'open'}`, item: of('title') || of('check'), more: of('evidence'), bad: ['critical', 'high'].includes(of('severity')) };
    case 'finding.closed':
      return { what: 'Finding closed', item: of('title') || of('check'), more: of('reason'), bad: false };
    case 'host.alerted':
      return { what: of('level') === 'warning' ? 'Warning' : 'Alert', item: [of('rule'), of('subject')].filter(Boolean).join(' '), more: of('message'), bad: true };
    default:
      return { what: 'Recovered', item: [of('rule'), of('subject')].filter(Boolean).join(' '), more: of('message'), bad: false };
  }
}
/** An entry of an inventory before and after: the fields that differ, or all of one that came or went. */
function differences(before: string, after: string): string {
  const [old, now] = [fields(before), fields(after)];
  if (!old || !now) return [before, after].filter(Boolean).join(' → ');
  if (before && after) {
    const names = [...new Set([...Object.keys(old), ...Object.keys(now)])].filter((name) => said(old[name]) !== said(now[name]));
    return names.map((name) => `${name} ${shownAs(name, old[name]).text} → ${shownAs(name, now[name]).text}`).join(', ');
  }
  return Object.entries(before ? old : now).filter(([, value]) => value !== null && value !== '').map(([name, value]) => `${name} ${shownAs(name, value).text}`).join(', ');
}
function fields(text: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(text || '{}');
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** Changes in their order; many findings that one audit opened are one row. */
export type Row = { change: Change; many?: undefined } | { change: Change; many: Change[] };
const AT_ONCE_MS = 60_000;
const MANY = 6;
export function rowsOf(changes: Change[]): Row[] {
  const rows: Row[] = [];
  for (let at = 0; at < changes.length; ) {
    const first = changes[at]!;
    const same = (one: Change) => one.kind === 'finding.opened' && one.host === first.host && Date.parse(first.at) - Date.parse(one.at) < AT_ONCE_MS;
    let end = at;
    while (end < changes.length && same(changes[end]!)) end += 1;
    if (end - at >= MANY) rows.push({ change: first, many: changes.slice(at, end) });
    else rows.push(...changes.slice(at, Math.max(end, at + 1)).map((change) => ({ change })));
    at = Math.max(end, at + 1);
  }
  return rows;
}
/** Many findings in a few words: how many of each severity. */
export function counted(many: Change[]): string {
  return SEVERITIES.map((name) => [many.filter((one) => detail(one, 'severity') === name).length, name] as const).filter(([count]) => count > 0).map(([count, name]) => `${count} ${name}`).join(', ');
}
function files(of: (name: string) => string): string {
  const pairs = [['mode', 'old_mode', 'new_mode'], ['owner', 'old_owner', 'new_owner'], ['size', 'old_size', 'new_size'], ['SHA-256', 'old_hash', 'new_hash']] as const;
  const changed = pairs.filter(([, a, b]) => (of(a) || of(b)) && of(a) !== of(b)).map(([name, a, b]) => `${name} ${cut(of(a)) || '–'} → ${cut(of(b)) || '–'}`);
  const by = of('user') ? [`by ${of('user')}${of('process') ? ` with ${of('process')}` : ''}`] : [];
  return [...changed, ...by].join(', ');
}
const cut = (text: string) => (/^[0-9a-f]{64}$/.test(text) ? `${text.slice(0, 12)}…` : text);

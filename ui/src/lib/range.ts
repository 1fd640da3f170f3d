// The time range of the page, as it stands in the address.
import { dayMinute } from './format';

export type Range = { last: string } | { from: string; to: string };

export const PRESETS: readonly { last: string; label: string }[] = [
  { last: '15m', label: 'Last 15 min' },
  { last: '1h', label: 'Last hour' },
  { last: '6h', label: 'Last 6 h' },
  { last: '24h', label: 'Last 24 h' },
  { last: '7d', label: 'Last 7 days' },
  { last: '30d', label: 'Last 30 days' },
  { last: '90d', label: 'Last 90 days' },
];
export const DEFAULT: Range = { last: '24h' };

const UNIT_MS: Record<string, number> = { s: 1e3, m: 6e4, h: 36e5, d: 864e5, w: 6048e5 };

function lastMillis(last: string): number | undefined {
  const match = /^([1-9]\d{0,4})([smhdw])$/.exec(last);
  return match ? Number(match[1]) * (UNIT_MS[match[2] ?? ''] ?? 0) : undefined;
}

export function readRange(params: URLSearchParams): Range {
  const [from, to] = [params.get('from'), params.get('to')];
  if (from && to && Date.parse(from) < Date.parse(to)) return { from, to };
  const last = params.get('range');
  return last && lastMillis(last) !== undefined ? { last } : DEFAULT;
}

export function writeRange(range: Range, params: URLSearchParams): void {
  for (const name of ['range', 'from', 'to']) params.delete(name);
  if ('last' in range) {
    if (range.last !== (DEFAULT as { last: string }).last) params.set('range', range.last);
  } else {
    params.set('from', range.from);
    params.set('to', range.to);
  }
}

export function rangeTerms(range: Range): string {
  return 'last' in range ? `since:${range.last}` : `since:${range.from} until:${range.to}`;
}

export function rangeMillis(range: Range): number {
  if ('last' in range) return lastMillis(range.last) ?? 864e5;
  return Date.parse(range.to) - Date.parse(range.from);
}

export function rangeLabel(range: Range): string {
  if ('last' in range) return PRESETS.find((p) => p.last === range.last)?.label ?? `Last ${range.last}`;
  return `${dayMinute(new Date(range.from))} – ${dayMinute(new Date(range.to))}`;
}

/** Whether the range ends now, so that live events belong to it. */
export const isOpen = (range: Range) => 'last' in range;

const INTERVALS: readonly [string, number][] = [
  ['10s', 1e4], ['30s', 3e4], ['1m', 6e4], ['5m', 3e5], ['15m', 9e5], ['30m', 18e5],
  ['1h', 36e5], ['6h', 216e5], ['1d', 864e5], ['7d', 6048e5],
];
/** The width of a bar, so that a chart has between about 40 and 100 of them. */
export function interval(range: Range): string {
  const width = rangeMillis(range) / 100;
  return INTERVALS.find(([, ms]) => ms >= width)?.[0] ?? '7d';
}

/** Widths of bars that can be chosen. */
export const STEPS: readonly { step: string; label: string; ms: number }[] = [
  { step: '1m', label: '1 min', ms: 6e4 },
  { step: '5m', label: '5 min', ms: 3e5 },
  { step: '15m', label: '15 min', ms: 9e5 },
  { step: '1h', label: '1 h', ms: 36e5 },
  { step: '6h', label: '6 h', ms: 216e5 },
  { step: '1d', label: '1 day', ms: 864e5 },
  { step: '7d', label: '7 days', ms: 6048e5 },
  { step: '1mo', label: '1 month', ms: 26_784e5 },
];

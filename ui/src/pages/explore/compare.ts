// The same question about two times: which earlier time, and what has changed.
import { api } from '../../lib/api/client';
import { buckets, count, type Aggregated } from '../../lib/api/model';
import { withoutTime } from '../../lib/lex';
import { add, hasTime, quote } from '../../lib/query';
import { rangeMillis, type Range } from '../../lib/range';

export interface Period {
  from: number;
  to: number;
}

/** Ways to choose the earlier time that stand in the address. */
export const WAYS: readonly { vs: string; label: string }[] = [
  { vs: 'previous', label: 'The time before' },
  { vs: '1d', label: 'A day earlier' },
  { vs: '7d', label: 'A week earlier' },
  { vs: '28d', label: 'Four weeks earlier' },
];

/** The time that a query is about, in instants. A query that says its time
 * itself is read by the server; without a beginning there is none to compare. */
export async function period(q: string, range: Range, signal: AbortSignal): Promise<Period | undefined> {
  const now = Date.now();
  if (!hasTime(q)) return 'last' in range ? { from: now - rangeMillis(range), to: now } : { from: Date.parse(range.from), to: Date.parse(range.to) };
  const { range: asked } = await api.check(q, signal);
  if (!asked?.from) return undefined;
  return { from: Date.parse(asked.from), to: asked.to ? Date.parse(asked.to) : now };
}

/** The time to compare with, as long as this one. */
export function earlier({ from, to }: Period, vs: string): Period | undefined {
  const length = to - from;
  const days = /^(\d{1,4})d$/.exec(vs)?.[1];
  const start = vs === 'previous' ? from - length : days ? from - Number(days) * 864e5 : Date.parse(vs);
  return Number.isNaN(start) ? undefined : { from: start, to: start + length };
}

export function within(q: string, { from, to }: Period): string {
  return add(withoutTime(q), `since:${new Date(from).toISOString()} until:${new Date(to).toISOString()}`);
}

/** A value in both times; `undefined` is not known. */
export interface Change {
  value: string | number;
  now: number | undefined;
  before: number | undefined;
}

/** Values of each time that are looked at. */
const MOST = 25;
/** Room for values in one question, below the server's bound for queries. */
const MOST_BYTES = 2_000;
const LONGEST_VALUE = 600;

/** The most frequent values of either time, with their counts in both. A value
 * that only one list has is asked for in the other time: not to be among the
 * first is not to be gone. */
export async function changes(q: string, now: Period, before: Period, field: string, signal: AbortSignal): Promise<Change[]> {
  const [qNow, qBefore] = [within(q, now), within(q, before)];
  const top = { top: { type: 'top' as const, fields: [field], k: MOST } };
  const [a, b] = await Promise.all([api.aggregate(qNow, top, signal), api.aggregate(qBefore, top, signal)]);
  const [inNow, inBefore] = [counts(a.results.top), counts(b.results.top)];
  const [toNow, toBefore] = [missing(inBefore, inNow), missing(inNow, inBefore)];
  const [moreNow, moreBefore] = await Promise.all([asked(qNow, field, toNow, signal), asked(qBefore, field, toBefore, signal)]);
  const values = new Map([...inNow, ...inBefore].map(([name, { value }]) => [name, value]));
  const known = (list: Counts, more: Counts, name: string) => list.get(name)?.n ?? more.get(name)?.n;
  return [...values].map(([name, value]) => ({ value, now: known(inNow, moreNow, name), before: known(inBefore, moreBefore, name) }));
}

type Counts = Map<string, { value: string | number; n: number }>;

function counts(result: Aggregated | undefined): Counts {
  return new Map(buckets(result).map((bucket) => [String(bucket.key[0]), { value: bucket.key[0] ?? '', n: bucket.count }]));
}

function missing(from: Counts, to: Counts): (string | number)[] {
  return [...from].filter(([name]) => !to.has(name)).map(([, { value }]) => value);
}

/** How often these values occur; what is too long to ask for is left out. */
async function asked(q: string, field: string, values: (string | number)[], signal: AbortSignal): Promise<Counts> {
  const out: Counts = new Map();
  const short = values.filter((value) => String(value).length <= LONGEST_VALUE);
  const encoder = new TextEncoder();
  for (let i = 0; i < short.length; ) {
    const part: (string | number)[] = [];
    for (let room = MOST_BYTES; i < short.length; i += 1) {
      room -= encoder.encode(quote(short[i]!)).length + 1;
      if (part.length > 0 && room < 0) break;
      part.push(short[i]!);
    }
    const only = `${field}:(${part.map(quote).join(',')})`;
    const answer = await api.aggregate(add(q, only), { top: { type: 'top', fields: [field], k: part.length } }, signal);
    const found = counts(answer.results.top);
    for (const value of part) out.set(String(value), found.get(String(value)) ?? { value, n: 0 });
  }
  return out;
}

/** How many events each time has. */
export async function totals(q: string, now: Period, before: Period, signal: AbortSignal): Promise<{ now: number; before: number }> {
  const [a, b] = await Promise.all([now, before].map((p) => api.aggregate(within(q, p), { n: { type: 'count' } }, signal)));
  return { now: count(a?.results.n), before: count(b?.results.n) };
}

// The most frequent of what attackers tried: how often, from how many addresses,
// when, and how often in the time before, which is as long.
import { api } from '../../lib/api/client';
import { buckets, count, type Aggregated, type Aggregation, type Event } from '../../lib/api/model';
import { bins } from '../../lib/bins';
import { add, term } from '../../lib/query';
import { STEPS, type Range } from '../../lib/range';
import { raw } from '../../lib/visible';
import { earlier, period, within, type Period } from '../explore/compare';

export interface Wanted {
  id: string;
  title: string;
  /** What its column is called. */
  head: string;
  /** Events that have it. */
  q: string;
  fields: string[];
  empty: string;
}
export interface Row {
  key: string;
  /** As it is asked for. */
  values: string[];
  /** As it is shown: bytes that are no text by their numbers. */
  shown: string[];
  count: number;
  sources: number;
  bars: number[];
  /** In the time before; `atMost` where it is not among the most frequent then. */
  before: { n: number; atMost?: boolean } | undefined;
}
export type Tables = Record<string, Row[]>;

/** Rows of a table. */
const MOST = 30;
/** Values of the time before that are looked through; the server names no more. */
const MOST_BEFORE = 1000;
const BARS = 24;
/** Values with bytes that are no text whose bytes are asked for, each table. */
const MOST_BYTES = 10;

/** An interval that makes some more bars than are drawn. */
function step({ from, to }: Period): string {
  const width = (to - from) / BARS;
  return [...STEPS].reverse().find(({ ms, step }) => ms <= width && step !== '1mo')?.step ?? '1m';
}

export async function ask(q: string, range: Range, tables: readonly Wanted[], signal: AbortSignal): Promise<Tables> {
  const now = await period(q, range, signal);
  const before = now && earlier(now, 'previous');
  const loaded = await Promise.all(tables.map((table) => one(q, table, now, before, signal)));
  return Object.fromEntries(tables.map(({ id }, i) => [id, loaded[i] ?? []]));
}

async function one(q: string, { q: only, fields }: Wanted, now: Period | undefined, before: Period | undefined, signal: AbortSignal): Promise<Row[]> {
  const all = add(q, only);
  const top = (sub: Aggregation): Aggregation => ({ type: 'top', fields, k: MOST, sub });
  const asked = now ? within(all, now) : all;
  const [answer, earlierOn] = await Promise.all([
    api.aggregate(asked, { sources: top({ type: 'distinct', field: 'ip' }), ...(now ? { time: top({ type: 'histogram', interval: step(now) }) } : {}) }, signal),
    before ? api.aggregate(within(all, before), { top: { type: 'top', fields, k: MOST_BEFORE } }, signal) : undefined,
  ]);
  const times = new Map(buckets(answer.results['time']).map((bucket) => [bucket.key.join('\0'), buckets(bucket.sub)]));
  const then = counts(earlierOn?.results['top']);
  const rows = buckets(answer.results['sources']).map((bucket): Row => {
    const values = bucket.key.map(String);
    const key = values.join('\0');
    const time = (times.get(key) ?? []).map((part) => ({ value: String(part.key[0]), count: part.count }));
    return { key, values, shown: values, count: bucket.count, sources: count(bucket.sub), bars: now ? bins(time, now.from, now.to, BARS) : [], before: then?.(key) };
  });
  const odd = rows.filter((row) => row.key.includes('\ufffd')).slice(0, MOST_BYTES);
  await Promise.all(odd.map(async (row) => (row.shown = await bytes(asked, fields, row.values, signal))));
  return rows;
}

function counts(result: Aggregated | undefined): ((key: string) => Row['before']) | undefined {
  if (result?.type !== 'buckets') return undefined;
  const known = new Map(result.buckets.map((bucket) => [bucket.key.map(String).join('\0'), bucket.count]));
  const least = result.other > 0 ? result.buckets.at(-1)?.count : undefined;
  return (key) => {
    const n = known.get(key);
    return n !== undefined ? { n } : least === undefined ? { n: 0 } : { n: least, atMost: true };
  };
}

/** Groups have U+FFFD for bytes that are no text; an event has them as they came. */
export async function bytes(q: string, fields: string[], values: string[], signal: AbortSignal): Promise<string[]> {
  const terms = fields.map((field, i) => term(field, values[i] ?? '')).join(' ');
  const { events } = await api.events(add(q, terms), 1, undefined, signal);
  return fields.map((field, i) => of(events[0], field) || (values[i] ?? ''));
}

function of(event: Event | undefined, field: string): string {
  if (field === 'user') return raw(event?.credentials?.username);
  if (field === 'password') return raw(event?.credentials?.password);
  if (field === 'user_agent') return raw(event?.fingerprints?.user_agent);
  return raw(event?.request);
}

// Buckets of the server as stacked series.
import { buckets as groups, type Bucket } from '../lib/api/model';

export interface Bars {
  /** Starts, in seconds. */
  times: number[];
  /** Ends of the same; months have no one width. */
  ends: number[];
  totals: number[];
  series: { name: string | undefined; values: number[] }[];
}

/** More empty bars than this are not made up. */
const MOST_PADDED = 2_000;

const UNITS: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400, w: 604_800 };

export function prepare(buckets: Bucket[], interval: string): Bars {
  const times = buckets.map((bucket) => Date.parse(String(bucket.key[0])) / 1000);
  const ends = times.map((time, i) => times[i + 1] ?? end(time, times[i - 1], interval));
  const totals = buckets.map((bucket) => bucket.count);
  const sums = new Map<string, number>();
  for (const bucket of buckets) {
    for (const { key, count } of groups(bucket.sub)) {
      const name = String(key[0]);
      sums.set(name, (sums.get(name) ?? 0) + count);
    }
  }
  // The most frequent stand at the bottom, where they are compared best.
  const names = [...sums].sort((a, b) => b[1] - a[1] || (a[0] < b[0] ? -1 : 1)).map(([name]) => name);
  const series: Bars['series'] = names.map((name) => ({
    name,
    values: buckets.map((bucket) => groups(bucket.sub).find((part) => part.key[0] === name)?.count ?? 0),
  }));
  const rest = totals.map((total, i) => total - series.reduce((sum, s) => sum + (s.values[i] ?? 0), 0));
  if (rest.some((n) => n > 0)) series.push({ name: undefined, values: rest });
  return { times, ends, totals, series };
}

/** The server fills buckets up to the last event where the range is open; the
 * empty ones from there to now are made here, and all of them where it has none. */
export function untilNow(buckets: Bucket[], interval: string, from: number | undefined, now: number): Bucket[] {
  const last = buckets.at(-1);
  const starts = buckets.map((bucket) => Date.parse(String(bucket.key[0])) / 1000);
  const empty = (secs: number): Bucket => ({ key: [new Date(secs * 1000).toISOString()], count: 0 });
  const out = [...buckets];
  let at = last ? end(starts.at(-1)!, starts.at(-2), interval) : undefined;
  if (at === undefined && from !== undefined) {
    const width = seconds(interval);
    at = width === undefined ? undefined : Math.floor(from / 1000 / width) * width;
  }
  for (let before = starts.at(-1); at !== undefined && at * 1000 <= now && out.length - buckets.length < MOST_PADDED; ) {
    out.push(empty(at));
    [before, at] = [at, end(at, before, interval)];
  }
  return out;
}

/** The width that an interval names; months have none, `auto` is not said. */
function seconds(interval: string): number | undefined {
  const match = /^(\d+)([smhdw])$/.exec(interval);
  return match ? Number(match[1]) * (UNITS[match[2] ?? ''] ?? 1) : undefined;
}

/** Where the last bucket ends: as wide as the one before, or as it is named. */
function end(time: number, before: number | undefined, interval: string): number {
  const start = new Date(time * 1000);
  const monthly = interval === '1mo' || (before !== undefined && time - before >= 28 * 86_400 && start.getUTCDate() === 1 && new Date(before * 1000).getUTCDate() === 1);
  if (monthly) return Date.UTC(start.getUTCFullYear(), start.getUTCMonth() + 1, 1) / 1000;
  if (before !== undefined) return time + (time - before);
  return time + (seconds(interval) ?? 60);
}

/** A hatched fill, for the bucket that still fills. */
export function hatch(context: CanvasRenderingContext2D, colour: string): CanvasPattern | string {
  const size = 6;
  const tile = document.createElement('canvas');
  tile.width = size;
  tile.height = size;
  const pen = tile.getContext('2d');
  if (!pen) return colour;
  pen.fillStyle = colour;
  pen.globalAlpha = 0.22;
  pen.fillRect(0, 0, size, size);
  pen.globalAlpha = 1;
  pen.strokeStyle = colour;
  pen.lineWidth = 1.6;
  pen.beginPath();
  for (const shift of [-size, 0, size]) {
    pen.moveTo(shift, size);
    pen.lineTo(shift + size, 0);
  }
  pen.stroke();
  return context.createPattern(tile, 'repeat') ?? colour;
}

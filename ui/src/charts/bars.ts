// Buckets of the server as stacked series.
import { buckets as groups, type Bucket } from '../lib/api/model';

export interface Bars {
  /** Starts, in seconds. */
  times: number[];
  /** Width of a bar in seconds. */
  width: number;
  totals: number[];
  series: { name: string | undefined; values: number[] }[];
}

const UNITS: Record<string, number> = { s: 1, m: 60, h: 3600, d: 86_400 };

export function prepare(buckets: Bucket[], interval: string): Bars {
  const times = buckets.map((bucket) => Date.parse(String(bucket.key[0])) / 1000);
  const match = /^(\d+)([smhd])$/.exec(interval);
  const named = match ? Number(match[1]) * (UNITS[match[2] ?? ''] ?? 1) : 60;
  const width = times.length > 1 ? times[1]! - times[0]! : named;
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
  return { times, width, totals, series };
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

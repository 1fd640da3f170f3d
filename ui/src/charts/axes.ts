// What all charts have in common: axes, colours, the times along the bottom.
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { themed } from '../lib/colour';
import { dayMinute, minute } from '../lib/format';
import { prefs } from '../lib/prefs.svelte';

/** Above this, in seconds, times along the bottom are days. */
const DAYS_SECS = 3 * 86_400;

/** A time along the bottom, given how long the chart is in seconds. */
export function tick(secs: number, span: number): string {
  const date = new Date(secs * 1000);
  const day = () => dayMinute(date).split(' ').slice(0, 2).join(' ');
  if (span > DAYS_SECS) return day();
  return minute(date) === '00:00' ? day() : minute(date);
}

/** Axes of a chart whose values are said by `value`; `span` is asked each time. */
export function axes(span: () => number, value: (n: number) => string, size = 46): uPlot.Axis[] {
  const axis = { stroke: themed('--muted'), font: '11px system-ui, sans-serif', ticks: { show: false } };
  return [
    { ...axis, grid: { show: false }, size: 24, space: 76, values: (_u, splits) => splits.map((secs) => tick(secs, span())) },
    { ...axis, grid: { stroke: themed('--line'), width: 1 }, size, space: 30, values: (_u, splits) => splits.map(value) },
  ];
}

/** Times in UTC, where they are wanted so. */
export const zone = (): Partial<uPlot.Options> => (prefs.utc ? { tzDate: (ts: number) => uPlot.tzDate(new Date(ts * 1000), 'Etc/UTC') } : {});

// The way into a part of the time and back out again.
import { lex, TIME_TERMS, withoutTime } from './lex';
import { hasTime } from './query';
import { rangeMillis, type Range } from './range';
import { route } from './route.svelte';

/** Steps that can be taken back; older ones are forgotten. */
const MOST_STEPS = 30;
/** Nothing is older than this, in years. */
const LONGEST_MS = 10 * 366 * 864e5;

interface Step {
  /** Time terms of the query. */
  time: string;
  range: Range;
  /** What it led to; after another way of choosing a time it is void. */
  to: string;
}
let steps: Step[] = [];

const key = (range: Range) => JSON.stringify(range);

/** Time terms, as they stand in the query. */
function timeTerms(q: string): string {
  const tokens = lex(q);
  const starts = tokens.filter((t) => t.kind === 'field' && (TIME_TERMS as readonly string[]).includes(q.slice(t.from, t.to - 1).toLowerCase()));
  return starts.map((start) => tokens.filter((t) => t.term === start.from && t.kind !== 'space').map((t) => q.slice(t.from, t.to)).join('')).join(' ');
}

function go(range: Range, time = ''): void {
  const rest = withoutTime(route.q);
  route.setView({ q: time ? `${rest} ${time}`.trim() : rest }, range);
}

/** Shows a part of what is shown. */
export function zoomTo(from: Date, to: Date): void {
  const range = { from: from.toISOString(), to: to.toISOString() };
  steps = [...steps.slice(1 - MOST_STEPS), { time: timeTerms(route.q), range: route.range, to: key(range) }];
  go(range);
}

function valid(): boolean {
  const last = steps.at(-1);
  if (!last || hasTime(route.q) || last.to !== key(route.range)) steps = [];
  return steps.length > 0;
}

/** One step back, or twice the time where there was none. */
export function zoomOut(): void {
  if (valid()) {
    const step = steps.pop()!;
    go(step.range, step.time);
    return;
  }
  const now = Date.now();
  const range = route.range;
  const length = Math.min(rangeMillis(range) * 2, LONGEST_MS);
  if ('last' in range) {
    const hours = Math.ceil(length / 36e5);
    go({ last: hours % 24 === 0 ? `${hours / 24}d` : length < 36e5 ? `${Math.ceil(length / 6e4)}m` : `${hours}h` });
    return;
  }
  const middle = (Date.parse(range.from) + Date.parse(range.to)) / 2;
  const end = Math.min(now, middle + length / 2);
  go({ from: new Date(end - length).toISOString(), to: new Date(end).toISOString() });
}

/** Back to where the first step began. */
export function zoomReset(): void {
  if (!valid()) return;
  const first = steps[0]!;
  steps = [];
  go(first.range, first.time);
}

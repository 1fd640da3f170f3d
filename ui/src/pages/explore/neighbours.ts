// Events about an event: of its session, and of its address before and after.
import { api } from '../../lib/api/client';
import type { Event } from '../../lib/api/model';
import { term } from '../../lib/query';

/** Events of a session that are listed. */
export const MOST_OF_SESSION = 300;
/** Events of the address on either side. */
export const EACH_SIDE = 12;
/** A session is looked for this far to both sides. */
const SESSION_MS = 2 * 864e5;
/** Spans to look for what came after, until enough is found: the store gives
 * the newest first, which of a long span are not the nearest. */
const SPANS_MS = [6e4, 6e5, 36e5, 6 * 36e5, 864e5, 7 * 864e5, 40 * 864e5, 4000 * 864e5];
const PAGE = 200;
/** Times that a span with too many events is halved. */
const MOST_HALVINGS = 24;

const iso = (ms: number) => new Date(ms).toISOString();
const between = (q: string, from: number, to: number) => `${q} since:${iso(from)} until:${iso(to)}`;

export interface Neighbours {
  /** Oldest first. */
  events: Event[];
  /** There are more than these. */
  earlier: boolean;
  later: boolean;
}

const older = (a: Event, b: Event) => a.observed_at < b.observed_at || (a.observed_at === b.observed_at && a.id < b.id);

export async function ofSession(event: Event, signal: AbortSignal): Promise<Neighbours> {
  const at = Date.parse(event.observed_at);
  const q = between(term('session', event.session ?? ''), at - SESSION_MS, at + SESSION_MS);
  const page = await api.events(q, MOST_OF_SESSION, undefined, signal);
  return { events: page.events.reverse(), earlier: page.next !== null && page.next !== undefined, later: false };
}

export async function ofAddress(event: Event, signal: AbortSignal): Promise<Neighbours> {
  const q = term('ip', event.source?.address ?? '');
  const [before, after] = await Promise.all([beforeIt(q, event, signal), afterIt(q, event, signal)]);
  return { events: [...before.events, event, ...after.events], earlier: before.more, later: after.more };
}

async function beforeIt(q: string, event: Event, signal: AbortSignal) {
  const until = Date.parse(event.observed_at) + 1;
  // The instant itself may have many events; those that are not older are left out.
  const page = await api.events(`${q} until:${iso(until)}`, PAGE, undefined, signal);
  const events = page.events.filter((other) => older(other, event));
  return { events: events.slice(0, EACH_SIDE).reverse(), more: events.length > EACH_SIDE || !!page.next };
}

async function afterIt(q: string, event: Event, signal: AbortSignal) {
  const from = Date.parse(event.observed_at);
  const ask = async (span: number) => {
    const page = await api.events(between(q, from, from + span), PAGE, undefined, signal);
    return { events: page.events.filter((other) => older(event, other)).reverse(), cut: !!page.next };
  };
  let known = 0;
  for (const span of SPANS_MS) {
    let found = await ask(span);
    // Too many: the nearest are not among them. Between the last span and this.
    let [low, high] = [known, span];
    for (let i = 0; found.cut && i < MOST_HALVINGS && high - low > 1; i += 1) {
      const middle = Math.ceil((low + high) / 2);
      found = await ask(middle);
      if (found.cut) high = middle;
      else if (found.events.length < EACH_SIDE) {
        low = middle;
        found = { ...found, cut: true };
      }
    }
    const last = span === SPANS_MS.at(-1);
    if (found.events.length >= EACH_SIDE || last) {
      return { events: found.events.slice(0, EACH_SIDE), more: found.events.length > EACH_SIDE || !last };
    }
    if (from + span > Date.now() + 864e5) return { events: found.events, more: false };
    known = span;
  }
  return { events: [], more: false };
}

// What the page of logins asks the hub.
import { api } from '../../lib/api/client';
import { buckets, count, type Aggregated, type Aggregation, type Bucket, type Event } from '../../lib/api/model';
import { evidence } from '../../lib/events';
import { raw } from '../../lib/visible';
import { untilNow } from '../../charts/bars';
import { add, full, hasTime, quote } from '../../lib/query';
import { isOpen, rangeMillis, type Range } from '../../lib/range';

export const LOGINS = 'kind:auth.attempted';
/** Logs of real services have no passwords; honeypots do. */
export const REAL = '-password:*';
/** Alerts of scenarios that are called so; those of this hub are named beside. */
export const BREAK_INS = 'kind:scenario.triggered analyzer:*break-in*';

/** The server names as many at most. */
const MOST = 1000;
/** Break-ins that are listed. */
const LISTED = 10;

export interface Row {
  name: string;
  accepted: Count;
  failed: Count;
  breakIns: number;
}
/** A number; where there were more values than were named, one that is not
 * there may have up to so many. */
export type Count = { n: number; atMost?: number };

export interface BreakIn {
  event: Event;
  /** The login that succeeded, where it is there still: as whom, and where. */
  user: string | undefined;
  host: string | undefined;
}

export interface Logins {
  accepted: Bucket[];
  failed: Bucket[];
  breakIns: Bucket[];
  listed: BreakIn[];
  totals: { accepted: number; failed: number; breakIns: number };
  breakInTerm: string;
  tables: Record<'host' | 'user' | 'ip', Row[]>;
}

interface Asked {
  q: string;
  range: Range;
  honeypots: boolean;
  step: string;
  scenarios: string[];
}

export async function ask({ q, range, honeypots, step, scenarios }: Asked, signal: AbortSignal): Promise<Logins> {
  const base = add(q, honeypots ? LOGINS : `${LOGINS} ${REAL}`);
  const others = scenarios.filter((name) => !name.includes('break-in'));
  const breakInTerm = others.length > 0 ? `kind:scenario.triggered (analyzer:*break-in* or analyzer:(${others.map(quote).join(',')}))` : BREAK_INS;
  const top = (field: string): Aggregation => ({ type: 'top', fields: [field], k: MOST });
  const asked = { time: { type: 'histogram', interval: step }, host: top('host'), user: top('user'), ip: top('ip') } as const;
  const of = (text: string) => api.aggregate(full(text, range), asked, signal).then((answer) => answer.results);
  const [accepted, failed, breakIns, newest] = await Promise.all([
    of(`${base} outcome:accepted`),
    of(`${base} outcome:failed`),
    of(add(q, breakInTerm)),
    api.events(full(add(q, breakInTerm), range), LISTED, undefined, signal),
  ]);
  const now = Date.now();
  const time = (result: Aggregated) => {
    const found = buckets(result);
    return isOpen(range) && !hasTime(q) ? untilNow(found, step, now - rangeMillis(range), now) : found;
  };
  const listed = await Promise.all(newest.events.map(async (event) => ({ event, ...(await loginOf(event, signal)) })));
  return {
    accepted: time(accepted.time),
    failed: time(failed.time),
    breakIns: time(breakIns.time),
    listed,
    totals: { accepted: count(accepted.time), failed: count(failed.time), breakIns: count(breakIns.time) },
    breakInTerm,
    tables: {
      // Alerts name the machine of their agent, where it has a name; their login knows.
      host: merged(accepted.host, failed.host, breakIns.host, listed.filter(({ event }) => event.host === undefined).map(({ host }) => host)),
      user: merged(accepted.user, failed.user, undefined),
      ip: merged(accepted.ip, failed.ip, breakIns.ip),
    },
  };
}

/** The newest event that an alert names is the login that made it. */
async function loginOf(alert: Event, signal: AbortSignal): Promise<{ user: string | undefined; host: string | undefined }> {
  const said = { user: raw(alert.credentials?.username) || undefined, host: alert.host };
  const last = evidence(alert).at(-1);
  if (!last || (said.user !== undefined && said.host !== undefined)) return said;
  try {
    const login = await api.event(last, signal);
    return { user: said.user ?? (raw(login.credentials?.username) || undefined), host: login.host ?? said.host };
  } catch {
    // Its life may be over; the alert is there nevertheless.
    return said;
  }
}

/** Break-ins first, then who got in, then who tried. */
function merged(accepted: Aggregated, failed: Aggregated, breakIns: Aggregated | undefined, more: (string | undefined)[] = []): Row[] {
  const [yes, no, bad] = [table(accepted), table(failed), table(breakIns)];
  for (const name of more) if (name !== undefined) bad.counts.set(name, (bad.counts.get(name) ?? 0) + 1);
  const names = new Set([...bad.counts.keys(), ...yes.counts.keys(), ...no.counts.keys()]);
  const rows = [...names].map((name) => ({ name, accepted: yes.of(name), failed: no.of(name), breakIns: bad.counts.get(name) ?? 0 }));
  return rows.sort((a, b) => b.breakIns - a.breakIns || b.accepted.n - a.accepted.n || b.failed.n - a.failed.n || (a.name < b.name ? -1 : 1));
}

function table(result: Aggregated | undefined) {
  const list = buckets(result);
  const counts = new Map(list.map((bucket) => [String(bucket.key[0]), bucket.count]));
  const least = result?.type === 'buckets' && result.other > 0 ? list.at(-1)?.count : undefined;
  const of = (name: string): Count => {
    const n = counts.get(name);
    if (n !== undefined) return { n };
    return least === undefined ? { n: 0 } : { n: 0, atMost: least };
  };
  return { counts, of };
}

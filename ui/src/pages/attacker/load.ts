// What the page of one address or network asks the hub: six questions at once,
// then two that need to know an answer of these.
import { api } from '../../lib/api/client';
import { buckets, type Aggregated, type Aggregation, type Decision, type Event } from '../../lib/api/model';
import { isNetwork, around } from '../../lib/network';
import { term } from '../../lib/query';
import { rangeTerms, type Range } from '../../lib/range';
import { bytes } from '../tried/load';

/** Values of a list that are named. */
const MOST = 25;
/** Of the last events, who they say that it is. */
const NEWEST = 100;
const SESSIONS = 20;
const MOST_BYTES = 4;
const DECISIONS = 50;
const NEIGHBOURS = 12;

const top = (field: string, k = MOST): Aggregation => ({ type: 'top', fields: [field], k });

export interface Attacker {
  results: Record<string, Aggregated>;
  /** Over all that is kept: events of each day, in UTC. */
  days: Aggregated;
  /** The last events, whatever the range. */
  newest: Event[];
  connections: Event[];
  decisions: Decision[];
  /** Others of the same network, or those within it. */
  network: { name: string; result: Aggregated } | undefined;
  /** Others of the same autonomous system. */
  system: { asn: number; result: Aggregated } | undefined;
  /** Pairs with bytes that are no text, as the last event has them. */
  exact: Map<string, string[]>;
  /** When it was seen first, to the minute. */
  first: string | undefined;
}

export async function ask(address: string, range: Range, step: string, signal: AbortSignal): Promise<Attacker> {
  const ip = term('ip', address);
  const q = `${ip} ${rangeTerms(range)}`;
  const network = isNetwork(address) ? address : around(address);
  const [main, life, newest, connections, decided, near] = await Promise.all([
    api.aggregate(
      q,
      {
        kinds: { type: 'top', fields: ['kind'], k: 40, sub: top('request') },
        time: { type: 'histogram', interval: step, sub: top('kind', 8) },
        pairs: { type: 'top', fields: ['user', 'password'], k: MOST },
        users: top('user'),
        ports: top('port'),
        sensors: top('sensor'),
        hosts: top('host'),
        categories: top('category'),
        countries: top('country', 5),
        agents: top('user_agent'),
        clients: top('client'),
        hassh: top('hassh'),
        ja4: top('ja4'),
        os: top('os', 5),
        payloads: top('payload'),
        cves: top('cve'),
        outcomes: top('outcome', 2),
        sessions: { type: 'top', fields: ['session'], k: 200, sub: top('kind', 10) },
      },
      signal,
    ),
    api.aggregate(ip, { days: { type: 'histogram', interval: '1d' } }, signal),
    api.events(ip, NEWEST, undefined, signal),
    api.events(`${q} kind:connection.opened`, SESSIONS, undefined, signal),
    api.decisions({ target: address, state: 'all', limit: DECISIONS }, signal),
    network ? api.aggregate(`${term('ip', network)} ${rangeTerms(range)}`, { ip: top('ip', NEIGHBOURS + 1) }, signal) : undefined,
  ]);
  const asn = newest.events.find((event) => event.source_geo?.asn)?.source_geo?.asn;
  const day = buckets(life.results.days).find((bucket) => bucket.count > 0);
  const exact = new Map<string, string[]>();
  const odd = buckets(main.results.pairs).map((bucket) => bucket.key.map(String)).filter((key) => key.some((text) => text.includes('\ufffd')));
  const [system, minutes] = await Promise.all([
    asn ? api.aggregate(`${term('asn', asn)} ${rangeTerms(range)}`, { ip: top('ip', NEIGHBOURS + 1) }, signal) : undefined,
    day ? api.aggregate(`${ip} day:${String(day.key[0]).slice(0, 10)}`, { minutes: { type: 'histogram', interval: '1m' } }, signal) : undefined,
    ...odd.slice(0, MOST_BYTES).map(async (key) => void exact.set(key.join('\0'), await bytes(q, ['user', 'password'], key, signal))),
  ]);
  const first = buckets(minutes?.results.minutes).find((bucket) => bucket.count > 0);
  return {
    results: main.results,
    days: life.results.days,
    newest: newest.events,
    connections: connections.events,
    decisions: decided.decisions,
    network: network && near ? { name: network, result: near.results.ip } : undefined,
    system: asn && system ? { asn, result: system.results.ip } : undefined,
    exact,
    first: first && String(first.key[0]),
  };
}

// The fields of an event in groups, with the name that queries know them by.
import type { AttributeValue, Event, Untrusted } from '../../lib/api/model';
import { bytes, country, duration, full } from '../../lib/format';

export interface Row {
  name: string;
  value: Untrusted;
  /** The field and value to filter by, where one can. */
  filter?: { field: string; value: string | number };
  mono?: boolean;
  /** Long text keeps its line breaks. */
  block?: boolean;
}
export interface Group {
  title: string;
  rows: Row[];
}

export function details(event: Event): Group[] {
  const groups: Group[] = [];
  const group = (title: string, rows: (Row | undefined)[]) => {
    const there = rows.filter((row) => row !== undefined);
    if (there.length > 0) groups.push({ title, rows: there });
  };
  const row = (name: string, value: Untrusted | number | undefined | null, field?: string, more: Partial<Row> = {}): Row | undefined => {
    if (value === undefined || value === null) return undefined;
    const text = typeof value === 'number' ? String(value) : value;
    const filterable = field && typeof text === 'string';
    return { name, value: text, ...(filterable ? { filter: { field, value: typeof value === 'number' ? value : text } } : {}), ...more };
  };
  const { source, target, source_geo: geo, credentials, fingerprints: prints } = event;
  group('Source', [
    row('Address', source?.address, 'ip', { mono: true }),
    row('Port', source?.port, 'source_port'),
    row('Transport', source?.transport, 'transport'),
    geo?.country ? { name: 'Country', value: `${country(geo.country)} (${geo.country})`, filter: { field: 'country', value: geo.country } } : undefined,
    row('City', geo?.city, 'city'),
    row('AS number', geo?.asn, 'asn'),
    row('Organisation', geo?.organisation, 'org'),
    geo?.lat !== undefined && geo.lon !== undefined
      ? row('Place', `${geo.lat.toFixed(2)}, ${geo.lon.toFixed(2)}${geo.precision === 'country' ? ' (middle of the country)' : ''}`)
      : undefined,
  ]);
  group('Target', [
    row('Address', target?.address, 'target', { mono: true }),
    row('Port', target?.port, 'port'),
    row('Host', event.host, 'host'),
    row('Sensor', event.sensor, 'sensor'),
    row('Analyzer', event.analyzer, 'analyzer'),
    row('Category', event.category, 'category'),
  ]);
  group('Login', [
    row('User name', credentials?.username, 'user', { mono: true }),
    row('Password', credentials?.password, 'password', { mono: true }),
    row('Outcome', credentials?.outcome, 'outcome'),
  ]);
  group('What', [
    row('Request', event.request, 'request', { mono: true, block: true }),
    row('Client', event.client, 'client', { mono: true }),
    row('User agent', prints?.user_agent, 'user_agent', { mono: true }),
    row('HASSH', prints?.hassh, 'hassh', { mono: true }),
    row('JA4', prints?.ja4, 'ja4', { mono: true }),
    row('System', prints?.os, 'os'),
    row('Hops', prints?.distance),
    row('Payload', event.payload, 'payload', { mono: true }),
    row('File name', event.payload_name, 'payload_name', { mono: true }),
    row('CVE', event.cve, 'cve'),
  ]);
  group('Attributes', Object.entries(event.attributes ?? {}).map(([name, value]) => attribute(name, value)));
  group('Event', [
    row('Kind', event.kind, 'kind'),
    row('Session', event.session, 'session', { mono: true }),
    row('Observed', full(new Date(event.observed_at))),
    event.received_at ? row('Received', full(new Date(event.received_at))) : undefined,
    row('Domain', event.domain, 'domain'),
    row('Id', event.id, 'id', { mono: true }),
  ]);
  return groups;
}

function attribute(name: string, value: AttributeValue): Row {
  if (typeof value === 'number') {
    if (name.endsWith('_ms')) return { name, value: `${value} ms (${duration(value / 1000)})` };
    if (name.startsWith('bytes')) return { name, value: bytes(value) };
    return { name, value: String(value) };
  }
  if (typeof value === 'boolean') return { name, value: value ? 'yes' : 'no' };
  return { name, value, mono: true, block: name === 'headers' || name === 'body' };
}

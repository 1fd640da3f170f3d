// Fields of the query language as the page shows them.
import type { Event, FieldInfo, Untrusted } from './api/model';

const LABELS: Record<string, string> = {
  kind: 'Kind', domain: 'Domain', sensor: 'Sensor', host: 'Host', analyzer: 'Analyzer', category: 'Category', ip: 'Address', source_port: 'Source port',
  target: 'Target', port: 'Port', transport: 'Transport', session: 'Session', user: 'User name', password: 'Password', outcome: 'Outcome',
  request: 'Request', client: 'Client', user_agent: 'User agent', os: 'System', hassh: 'HASSH', ja4: 'JA4', payload: 'Payload',
  payload_name: 'File name', cve: 'CVE', country: 'Country', city: 'City', asn: 'AS number', org: 'Organisation',
  target_country: 'Target country', location: 'Place', id: 'Id', observed_at: 'Observed', received_at: 'Received',
};
export const label = (field: string) => LABELS[field] ?? field;

/** What an event has in a field; attacker text among it. */
export const VALUES: Record<string, (event: Event) => Untrusted | number | undefined> = {
  kind: (e) => e.kind,
  domain: (e) => e.domain,
  sensor: (e) => e.sensor,
  host: (e) => e.host,
  analyzer: (e) => e.analyzer,
  category: (e) => e.category,
  ip: (e) => e.source?.address,
  source_port: (e) => e.source?.port,
  target: (e) => e.target?.address,
  port: (e) => e.target?.port,
  transport: (e) => e.target?.transport ?? e.source?.transport,
  session: (e) => e.session,
  user: (e) => e.credentials?.username,
  password: (e) => e.credentials?.password,
  outcome: (e) => e.credentials?.outcome,
  request: (e) => e.request,
  client: (e) => e.client,
  user_agent: (e) => e.fingerprints?.user_agent,
  os: (e) => e.fingerprints?.os,
  hassh: (e) => e.fingerprints?.hassh,
  ja4: (e) => e.fingerprints?.ja4,
  payload: (e) => e.payload,
  payload_name: (e) => e.payload_name,
  cve: (e) => e.cve,
  country: (e) => e.source_geo?.country,
  city: (e) => e.source_geo?.city,
  asn: (e) => e.source_geo?.asn,
  org: (e) => e.source_geo?.organisation,
  target_country: (e) => e.target_geo?.country,
  location: (e) => (e.source_geo?.lat === undefined || e.source_geo.lon === undefined ? undefined : `${e.source_geo.lat},${e.source_geo.lon}`),
  id: (e) => e.id,
  observed_at: (e) => e.observed_at,
  received_at: (e) => e.received_at,
};

/** Fields that events can be grouped by in a way that tells something. */
export function grouping(fields: FieldInfo[]): string[] {
  return fields.filter((field) => field.type !== 'time' && field.name !== 'id').map((field) => field.name);
}

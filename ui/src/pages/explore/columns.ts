// Columns of the table of events.
import type { Event } from '../../lib/api/model';
import { raw } from '../../lib/visible';

export interface Column {
  id: string;
  label: string;
  /** CSS track size. */
  track: string;
  /** Attacker text or plain; the table has its own way to show some. */
  text: (event: Event) => string;
}

export const COLUMNS: readonly Column[] = [
  { id: 'time', label: 'Time', track: '124px', text: (e) => e.observed_at },
  { id: 'kind', label: 'Kind', track: '84px', text: (e) => e.kind },
  { id: 'country', label: 'Country', track: '52px', text: (e) => e.source_geo?.country ?? '' },
  { id: 'source', label: 'Source', track: 'minmax(124px, 170px)', text: (e) => e.source?.address ?? '' },
  { id: 'what', label: 'What', track: 'minmax(220px, 4fr)', text: () => '' },
  { id: 'category', label: 'Category', track: 'minmax(110px, 148px)', text: (e) => e.category ?? '' },
  { id: 'user', label: 'User', track: 'minmax(80px, 140px)', text: (e) => raw(e.credentials?.username) },
  { id: 'password', label: 'Password', track: 'minmax(80px, 140px)', text: (e) => raw(e.credentials?.password) },
  { id: 'outcome', label: 'Outcome', track: '84px', text: (e) => e.credentials?.outcome ?? '' },
  { id: 'port', label: 'Port', track: '62px', text: (e) => String(e.target?.port ?? '') },
  { id: 'target', label: 'Target', track: '140px', text: (e) => e.target?.address ?? '' },
  { id: 'organisation', label: 'Organisation', track: 'minmax(120px, 200px)', text: (e) => e.source_geo?.organisation ?? '' },
  { id: 'client', label: 'Client', track: 'minmax(120px, 200px)', text: (e) => raw(e.client ?? e.fingerprints?.user_agent) },
  { id: 'host', label: 'Host', track: 'minmax(80px, 130px)', text: (e) => e.host ?? '' },
  { id: 'sensor', label: 'Sensor', track: 'minmax(70px, 110px)', text: (e) => e.sensor },
  { id: 'session', label: 'Session', track: 'minmax(90px, 140px)', text: (e) => e.session ?? '' },
];

export const DEFAULT_COLUMNS = ['time', 'kind', 'country', 'source', 'what', 'category', 'sensor'];

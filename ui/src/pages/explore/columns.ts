// Columns of the table of events: any field, and two that tell more.
import type { Event, Untrusted } from '../../lib/api/model';
import { label, VALUES } from '../../lib/fields';

export interface Column {
  id: string;
  label: string;
  /** Least width in pixels. */
  least: number;
  /** Share of the room that is left; 0 stays at its least width. */
  grow: number;
  mono: boolean;
  /** Attacker text or plain; the table has its own way to show some. */
  value: (event: Event) => Untrusted | number | undefined;
}

const WIDTHS: Record<string, [number, number]> = {
  kind: [84, 0], domain: [86, 0], sensor: [100, 0.5], host: [84, 0.6], analyzer: [130, 0.6], category: [150, 0.5], ip: [126, 0.4], source_port: [86, 0],
  target: [126, 0.4], port: [58, 0], transport: [78, 0], session: [110, 0.6], user: [92, 0.8], password: [92, 0.8], outcome: [80, 0],
  request: [200, 3], client: [130, 1], user_agent: [150, 1.4], os: [110, 0.7], country: [66, 0], target_country: [104, 0], asn: [84, 0],
  org: [130, 1], city: [90, 0.6], cve: [124, 0], payload: [130, 1], payload_name: [120, 1], hassh: [120, 0.8], ja4: [140, 0.8],
  location: [110, 0], id: [220, 0], observed_at: [180, 0], received_at: [180, 0],
};
const MONO = new Set(['ip', 'target', 'session', 'user', 'password', 'request', 'client', 'user_agent', 'hassh', 'ja4', 'payload', 'payload_name', 'id', 'location']);

export const COLUMNS: readonly Column[] = [
  { id: 'time', label: 'Time', least: 118, grow: 0, mono: false, value: (e) => e.observed_at },
  { id: 'what', label: 'What', least: 220, grow: 4, mono: true, value: () => undefined },
  ...Object.entries(VALUES).map(([id, value]): Column => {
    const [least, grow] = WIDTHS[id] ?? [110, 0.6];
    return { id, label: label(id), least, grow, mono: MONO.has(id), value };
  }),
];

export const DEFAULT_COLUMNS = ['time', 'kind', 'country', 'ip', 'what', 'category', 'sensor'];
const GAP_PX = 12;
const SIDE_PX = 28;

export const track = ({ least, grow }: Column) => (grow > 0 ? `minmax(${least}px, ${grow}fr)` : `${least}px`);
export const leastWidth = (columns: readonly Column[]) => columns.reduce((sum, { least }) => sum + least + GAP_PX, SIDE_PX - GAP_PX);

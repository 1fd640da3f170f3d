// What an event says, in a few words.
import type { Event, Untrusted } from './api/model';
import { duration } from './format';
import { raw } from './visible';

export const KINDS: Record<string, string> = {
  'connection.opened': 'Connected',
  'connection.probed': 'Probed',
  'scan.detected': 'Scan',
  'connection.closed': 'Left',
  'auth.attempted': 'Login',
  'auth.exhausted': 'Login limit',
  'user.probed': 'User probed',
  'command.entered': 'Command',
  'client.identified': 'Client',
  'download.attempted': 'Download',
  'payload.captured': 'File',
  'payload.executed': 'File run',
  'key.planted': 'Key planted',
  'password.changed': 'Password set',
  'user.added': 'User added',
  'startup.changed': 'Autostart',
  'tunnel.requested': 'Tunnel',
  'request.answered': 'Answered',
  'request.refused': 'Refused',
  'privilege.granted': 'Privilege',
  'privilege.refused': 'No privilege',
  'knock.accepted': 'Knock',
  'http.requested': 'Request',
  'data.received': 'Data',
  'session.recorded': 'Recorded',
  'session.closed': 'Closed',
  'source.failed': 'Source failed',
  'source.recovered': 'Source back',
  'sensor.failed': 'Honeypots failed',
  'sensor.checked': 'Honeypots checked',
  'loss.recorded': 'Loss',
  'line.matched': 'Line',
  'scenario.triggered': 'Alert',
  'decision.made': 'Decision',
  'decision.lifted': 'Lifted',
  'host.reported': 'Inventory',
  'host.sampled': 'Sample',
  'host.changed': 'Host changed',
  'host.alerted': 'Host alert',
  'host.recovered': 'Host well',
  'audit.completed': 'Audit',
  'finding.opened': 'Finding',
  'finding.closed': 'Finding closed',
  'file.changed': 'File changed',
};

export const kindLabel = (kind: string) => KINDS[kind] ?? kind;

function attribute(event: Event, name: string): string | undefined {
  const value = event.attributes?.[name];
  if (value === undefined) return undefined;
  return typeof value === 'object' || typeof value === 'string' ? raw(value as Untrusted) : String(value);
}

/** The substance of an event in one line; attacker text, to be shown as such. */
export function substance(event: Event): string {
  const { credentials, request } = event;
  switch (event.kind) {
    case 'auth.attempted': {
      const user = raw(credentials?.username) || '–';
      const pair = credentials?.password === undefined ? user : `${user} / ${raw(credentials.password)}`;
      return pair;
    }
    case 'auth.exhausted':
    case 'user.probed':
    case 'connection.closed': {
      const user = raw(credentials?.username);
      return [user, attribute(event, 'reason')].filter(Boolean).join(' · ');
    }
    case 'command.entered':
      return `$ ${raw(request)}`;
    case 'session.recorded':
      return `part ${Number(attribute(event, 'part')) + 1}`;
    case 'session.closed': {
      const ms = event.attributes?.['duration_ms'];
      const time = typeof ms === 'number' ? duration(ms / 1000) : undefined;
      return [attribute(event, 'reason'), time].filter(Boolean).join(' · ');
    }
    case 'scan.detected':
      return [attribute(event, 'tool'), attribute(event, 'kinds'), attribute(event, 'ports')].filter(Boolean).join(' · ');
    case 'connection.opened':
      return event.target?.port ? `port ${event.target.port}` : '';
    case 'scenario.triggered':
      return [attribute(event, 'scenario'), attribute(event, 'reason')].filter(Boolean).join(' · ');
    case 'decision.made':
      return [attribute(event, 'type'), attribute(event, 'value'), attribute(event, 'scenario')]
        .filter(Boolean)
        .join(' · ');
    case 'source.failed':
    case 'source.recovered':
    case 'loss.recorded':
      return [attribute(event, 'source'), attribute(event, 'reason')].filter(Boolean).join(' · ');
    default:
      return raw(request) || attribute(event, 'reason') || '';
  }
}

/** Ids of the events that an alert or a decision names as its evidence. */
export function evidence(event: Event): string[] {
  return (attribute(event, 'evidence') ?? '').split(/[\s,]+/).filter((id) => /^[0-9A-HJKMNP-TV-Z]{26}$/.test(id));
}

/** Kinds that are the state of the installation and no attack. */
export const isOperational = (kind: string) => /^(source|sensor|loss)\./.test(kind);

const PRIVATE_NETWORKS = /^(10\.|127\.|169\.254\.|192\.168\.|172\.(1[6-9]|2\d|3[01])\.|100\.(6[4-9]|[7-9]\d|1[01]\d|12[0-7])\.|::1$|f[cd]|fe[89ab])/i;
export const isPrivate = (address: string) => PRIVATE_NETWORKS.test(address);

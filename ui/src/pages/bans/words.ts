// Words for what becomes of decisions, and on which hosts.
import type { Decision, EffectHost } from '../../lib/api/model';
import { visible } from '../../lib/visible';

export type Fate = 'active' | 'ended' | 'simulated' | 'withheld';

export function fate(decision: Decision, now: Date): Fate {
  if (decision.simulated) return 'simulated';
  if (decision.withheld !== null) return 'withheld';
  return decision.active && Date.parse(decision.until) > now.getTime() ? 'active' : 'ended';
}

export const FATES: Record<Fate, string> = { active: 'In force', ended: 'Over', simulated: 'Simulated', withheld: 'Withheld' };

/** Who made it: a person, a sensor with its machine, or the hub. */
export function maker(decision: Decision): string {
  const { kind, name, host } = decision.origin;
  if (kind === 'hub') return 'the hub';
  const who = visible(name ?? kind);
  return host && host !== name ? `${who} (${visible(host)})` : who;
}

/** Why nobody carries it out. */
export function spared(decision: Decision): string {
  if (decision.withheld === null) return '';
  return `${decision.withheld} is spared`;
}

type State = { word: string; kind: 'good' | 'plain' | 'warn' | 'bad' };
const HOSTS: Record<string, State> = {
  working: { word: 'Enforces', kind: 'good' },
  'dry-run': { word: 'Dry-run', kind: 'plain' },
  behind: { word: 'Behind', kind: 'warn' },
  failing: { word: 'Fails', kind: 'bad' },
  silent: { word: 'Silent', kind: 'warn' },
};
const ABOUT: Record<string, State> = {
  'carried-out': { word: 'Carried out', kind: 'good' },
  'dry-run': { word: 'Dry-run: not blocked', kind: 'plain' },
  refused: { word: 'Not obeyed', kind: 'warn' },
  failing: { word: 'Fails', kind: 'bad' },
  behind: { word: 'Not heard yet', kind: 'warn' },
  silent: { word: 'No report', kind: 'warn' },
};

export const hostState = (host: EffectHost): State => HOSTS[host.state] ?? { word: host.state, kind: 'plain' };
export const aboutState = (state: string): State => ABOUT[state] ?? { word: state, kind: 'plain' };

/** A machine by the name that says most. */
export function hostName(host: EffectHost): string {
  const sensor = visible(host.sensor);
  return host.host && host.host !== host.sensor ? `${sensor} (${visible(host.host)})` : sensor;
}

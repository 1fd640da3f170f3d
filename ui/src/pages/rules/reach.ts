// Which detectors follow what is switched on this page.
import type { ScenarioList } from '../../lib/api/model';
import { visible } from '../../lib/visible';

export interface Reached {
  /** Those that follow: the detector of this hub, and agents that are there. */
  reached: string[];
  /** Those that have told of hits and are not there, or too old to follow. */
  away: string[];
}

export function reach(list: ScenarioList): Reached {
  const names = (reached: boolean) => list.detectors.filter((detector) => detector.reached === reached).map((detector) => visible(detector.sensor));
  return { reached: names(true), away: names(false) };
}

/** The first of them, and how many more there are. */
export function some(names: string[], most = 6): string {
  const more = names.length - most;
  return more > 0 ? `${names.slice(0, most).join(', ')} and ${more} more` : names.join(', ');
}

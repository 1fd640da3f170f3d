// Which detectors follow what is switched on this page.
import type { ScenarioList } from '../../lib/api/model';
import { visible } from '../../lib/visible';

export interface Reached {
  /** The detector of this hub. */
  here: string | undefined;
  /** Those that have told of hits and follow their own settings. */
  elsewhere: string[];
}

export function reach(list: ScenarioList): Reached {
  const here = list.detectors.find((detector) => detector.reached)?.sensor;
  const elsewhere = list.detectors.filter((detector) => !detector.reached).map((detector) => visible(detector.sensor));
  return { here: here === undefined ? undefined : visible(here), elsewhere };
}

// The words of the API that the page uses; `npm run types` makes them from the
// OpenAPI document.
import type { components } from './types';

type Schemas = components['schemas'];

export type Untrusted = Schemas['Untrusted'];
export type AttributeValue = Schemas['AttributeValue'];
export type Event = Schemas['Event'];
export type EventPage = Schemas['EventPage'];
export type Aggregation = Schemas['Aggregation'];
export type Aggregated = Schemas['Aggregated'];
export type CheckedQuery = Schemas['CheckedQuery'];
export type Mistake = Schemas['Mistake'];
export type Bucket = Schemas['Bucket'];
export type SavedQuery = Schemas['SavedQuery'];
export type SaveQuery = Schemas['SaveQuery'];
export type Session = Schemas['Session'];
export type Role = Schemas['Role'];
export type Scope = Schemas['Scope'];
export type Domain = Schemas['Domain'];
export type Cve = Schemas['Cve'];
export type AttackSession = Schemas['AttackSession'];
export type SessionPage = Schemas['SessionPage'];
export type SessionShown = Schemas['SessionShown'];
export type Payload = Schemas['Payload'];
export type PayloadList = Schemas['PayloadList'];
export type PublicSummary = Schemas['PublicSummary'];
export type PublicAttack = Schemas['PublicAttack'];
export type Scenario = Schemas['Scenario'];
export type ScenarioList = Schemas['ScenarioList'];
export type Simulated = Schemas['Simulated'];
export type Decision = Schemas['Decision'];
export type DecisionPage = Schemas['DecisionPage'];
export type AllowEntry = Schemas['AllowEntry'];
export type Effect = Schemas['Effect'];
export type EffectHost = Schemas['EffectHost'];
export type Bouncer = Schemas['Bouncer'];
export type ExplainRequest = Schemas['ExplainRequest'];
export type ExplainedLine = Schemas['ExplainedLine'];
export type ExplainedScenario = Schemas['ExplainedScenario'];
export type BlocklistLink = Schemas['BlocklistLink'];
export type BlocklistFormat = Schemas['BlocklistFormat'];
export type OpenKnockLink = Schemas['OpenKnockLink'];
export type HoneypotTell = Schemas['HoneypotTell'];
export type HoneypotTells = Schemas['HoneypotTells'];
export type Sensor = Schemas['Sensor'];
export type Status = Schemas['Status'];
export type QuarantineList = Schemas['QuarantineList'];
export type FieldInfo = Schemas['Field'];
export type KeyInfo = Schemas['ApiKey'];
export type CreatedKey = Schemas['CreatedKey'];
export type UserInfo = Schemas['User'];
export type Change = Schemas['Change'];
export type ChangePage = Schemas['ChangePage'];
export type CheckCounts = Schemas['CheckCounts'];
export type Finding = Schemas['Finding'];
export type FindingList = Schemas['FindingList'];
export type Host = Schemas['Host'];
export type HostSection = Schemas['HostSection'];
export type HostShown = Schemas['HostShown'];
export type SampleList = Schemas['SampleList'];
export type Suppression = Schemas['Suppression'];
export type PluginRow = Schemas['PluginRow'];
export type PluginRowPage = Schemas['PluginRowPage'];
export type PluginStatus = Schemas['PluginStatus'];
export type SignInInfo = Schemas['SignInInfo'];

/** The groups of an aggregation, empty where it is none that groups. */
export function buckets(result: Aggregated | undefined): Bucket[] {
  return result?.type === 'buckets' ? result.buckets : [];
}

/** The number of an aggregation. */
export function count(result: Aggregated | undefined): number {
  if (!result) return 0;
  return result.type === 'buckets' ? result.buckets.reduce((n, b) => n + b.count, result.other) : result.count;
}

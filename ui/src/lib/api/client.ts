// Talks to the API of the hub that served the page.
import { base } from '../base';
import type {
  Aggregated,
  Aggregation,
  AllowEntry,
  BlocklistFormat,
  BlocklistLink,
  Bouncer,
  ChangePage,
  CheckedQuery,
  CreatedKey,
  Cve,
  Decision,
  DecisionPage,
  Domain,
  Effect,
  Event,
  EventPage,
  ExplainedLine,
  ExplainRequest,
  FieldInfo,
  FindingList,
  HoneypotTells,
  Host,
  HostShown,
  KeyInfo,
  OpenKnockLink,
  PayloadList,
  PluginRowPage,
  PluginStatus,
  PublicSummary,
  QuarantineList,
  Role,
  SampleList,
  SavedQuery,
  SaveQuery,
  ScenarioList,
  Scope,
  Sensor,
  Session,
  SessionPage,
  SessionShown,
  SignInInfo,
  Simulated,
  Status,
  Suppression,
  UserInfo,
} from './model';

/** Asked of the server with every change, so that a foreign page cannot make one. */
const WRITE_HEADER = 'X-Palisade';
const TIMEOUT_MS = 30_000;

/** What went wrong, in words for people. */
export class ApiError extends Error {
  readonly status: number;
  /** Index of the character where a query stops making sense. */
  readonly at: number | undefined;
  readonly retryAfterSecs: number | undefined;
  /** Which of the kinds of problem at /docs/problems it is. */
  readonly kind: string;

  constructor(status: number, message: string, at?: number, retryAfterSecs?: number, kind = '') {
    super(message);
    this.status = status;
    this.kind = kind;
    this.at = at;
    this.retryAfterSecs = retryAfterSecs;
  }
}

let signedOut: () => void = () => {};
/** Called once the server says that the session has ended. */
export function onSignedOut(handler: () => void): void {
  signedOut = handler;
}

export function apiUrl(path: string, params: Record<string, string | number | undefined> = {}): string {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    if (value !== undefined && value !== '') search.set(name, String(value));
  }
  const query = search.toString();
  return `${base}api/v1/${path}${query ? `?${query}` : ''}`;
}

export async function problem(response: Response): Promise<ApiError> {
  const after = Number.parseInt(response.headers.get('Retry-After') ?? '', 10);
  let text = `The server answered ${response.status} ${response.statusText}`.trim();
  let at: number | undefined;
  let kind = '';
  try {
    const body: unknown = await response.json();
    if (body && typeof body === 'object') {
      const { detail, title, at: index, type } = body as Record<string, unknown>;
      if (typeof detail === 'string') text = detail;
      else if (typeof title === 'string') text = title;
      if (typeof index === 'number') at = index;
      if (typeof type === 'string') kind = type.split('#')[1] ?? '';
    }
  } catch {
    // No problem document: the status has to do.
  }
  return new ApiError(response.status, text, at, Number.isNaN(after) ? undefined : after, kind);
}

interface Options {
  method?: 'GET' | 'POST' | 'PUT' | 'DELETE';
  body?: unknown;
  signal?: AbortSignal | undefined;
}

async function call<T>(url: string, { method = 'GET', body, signal }: Options = {}): Promise<T> {
  const headers: Record<string, string> = { Accept: 'application/json' };
  if (method !== 'GET') headers[WRITE_HEADER] = '1';
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  const limit = AbortSignal.timeout(TIMEOUT_MS);
  let response: Response;
  try {
    response = await fetch(url, {
      method,
      headers,
      body: body === undefined ? null : JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, limit]) : limit,
      credentials: 'same-origin',
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    const late = error instanceof DOMException && error.name === 'TimeoutError';
    throw new ApiError(0, late ? 'The server took longer than 30 s to answer.' : 'The server cannot be reached.');
  }
  if (!response.ok) {
    const error = await problem(response);
    if (response.status === 401 && !(method === 'POST' && url.endsWith('/session'))) signedOut();
    throw error;
  }
  const text = await response.text();
  return (text ? JSON.parse(text) : undefined) as T;
}

/** The bytes of an answer. */
async function file(url: string): Promise<Blob> {
  let response: Response;
  try {
    response = await fetch(url, { signal: AbortSignal.timeout(TIMEOUT_MS), credentials: 'same-origin' });
  } catch {
    throw new ApiError(0, 'The server cannot be reached.');
  }
  if (response.ok) return response.blob();
  const error = await problem(response);
  if (response.status === 401) signedOut();
  throw error;
}

type Results<A extends Record<string, Aggregation>> = { [K in keyof A]: Aggregated };

export const api = {
  session: () => call<Session>(apiUrl('session')),
  signIn: (username: string, password: string) =>
    call<void>(apiUrl('session'), { method: 'POST', body: { username, password } }),
  signOut: () => call<void>(apiUrl('session'), { method: 'DELETE' }),

  events: (q: string, limit: number, cursor?: string, signal?: AbortSignal) =>
    call<EventPage>(apiUrl('events', { q, limit, cursor }), { signal }),
  event: (id: string, signal?: AbortSignal) =>
    call<Event>(apiUrl(`events/${encodeURIComponent(id)}`), { signal }),
  aggregate: async <A extends Record<string, Aggregation>>(q: string, aggregations: A, signal?: AbortSignal) => {
    const body = { q, aggregations };
    type Answer = { results: Results<A>; took_ms: number };
    return call<Answer>(apiUrl('aggregate'), { method: 'POST', body, signal });
  },

  check: (q: string, signal?: AbortSignal) => call<CheckedQuery>(apiUrl('query', { q }), { signal }),

  savedQueries: (signal?: AbortSignal) =>
    call<{ saved_queries: SavedQuery[] }>(apiUrl('saved-queries'), { signal }).then((answer) => answer.saved_queries),
  saveQuery: (body: SaveQuery) => call<SavedQuery>(apiUrl('saved-queries'), { method: 'POST', body }),
  changeSavedQuery: (id: string, body: SaveQuery) =>
    call<SavedQuery>(apiUrl(`saved-queries/${encodeURIComponent(id)}`), { method: 'PUT', body }),
  removeSavedQuery: (id: string) => call<void>(apiUrl(`saved-queries/${encodeURIComponent(id)}`), { method: 'DELETE' }),

  sensors: (signal?: AbortSignal) =>
    call<{ sensors: Sensor[] }>(apiUrl('sensors'), { signal }).then((answer) => answer.sensors),
  scenarios: (q: string, signal?: AbortSignal) => call<ScenarioList>(apiUrl('scenarios', { q }), { signal }),
  simulate: (name: string, simulated: boolean) =>
    call<Simulated>(apiUrl(`scenarios/${encodeURIComponent(name)}/simulation`), { method: 'PUT', body: { simulated } }),
  explain: (body: ExplainRequest, signal?: AbortSignal) =>
    call<{ lines: ExplainedLine[] }>(apiUrl('explain'), { method: 'POST', body, signal }),
  decisions: (params: Record<string, string | number | undefined>, signal?: AbortSignal) =>
    call<DecisionPage>(apiUrl('decisions', params), { signal }),
  ban: (body: { target: string; duration_secs: number; reason?: string | null; note?: string | null }) =>
    call<Decision>(apiUrl('decisions'), { method: 'POST', body }),
  lift: (target: string, reason: string) =>
    call<{ target: string; lifted: number }>(apiUrl(`decisions/${encodeURIComponent(target)}`, { reason }), { method: 'DELETE' }),
  effect: (target?: string, signal?: AbortSignal) => call<Effect>(apiUrl('decisions/effect', { target }), { signal }),
  allowlist: (signal?: AbortSignal) => call<{ entries: AllowEntry[] }>(apiUrl('allowlist'), { signal }).then((answer) => answer.entries),
  allow: (body: { target: string; reason?: string | null; duration_secs?: number | null }) =>
    call<{ entry: AllowEntry; freed: number }>(apiUrl('allowlist'), { method: 'POST', body }),
  disallow: (target: string) => call<void>(apiUrl(`allowlist/${encodeURIComponent(target)}`), { method: 'DELETE' }),
  bouncers: (signal?: AbortSignal) => call<{ bouncers: Bouncer[] }>(apiUrl('bouncers'), { signal }).then((answer) => answer.bouncers),
  blocklistLinks: (signal?: AbortSignal) => call<{ links: BlocklistLink[] }>(apiUrl('blocklist-links'), { signal }).then((answer) => answer.links),
  addBlocklistLink: (body: { format: BlocklistFormat; query: string; note: string | null; duration_secs: number }) =>
    call<{ path: string; url: string | null }>(apiUrl('blocklist-links'), { method: 'POST', body }),
  removeBlocklistLink: (id: string) => call<void>(apiUrl(`blocklist-links/${encodeURIComponent(id)}`), { method: 'DELETE' }),
  knockLinks: (signal?: AbortSignal) => call<{ links: OpenKnockLink[] }>(apiUrl('knock-links'), { signal }).then((answer) => answer.links),
  addKnockLink: (body: { usable_secs: number; allow_secs: number; note: string | null }) =>
    call<{ path: string; url: string | null }>(apiUrl('knock-links'), { method: 'POST', body }),
  removeKnockLink: (id: string) => call<void>(apiUrl(`knock-links/${encodeURIComponent(id)}`), { method: 'DELETE' }),
  tells: (signal?: AbortSignal) => call<HoneypotTells>(apiUrl('honeypot/tells'), { signal }),
  cves: (signal?: AbortSignal) => call<{ cves: Cve[] }>(apiUrl('cves'), { signal }).then((answer) => answer.cves),
  payloads: (params: { hash?: string; mime?: string; cursor?: string; limit?: number }, signal?: AbortSignal) =>
    call<PayloadList>(apiUrl('payloads', params), { signal }),
  sessions: (q: string, limit: number, cursor?: string, signal?: AbortSignal) =>
    call<SessionPage>(apiUrl('sessions', { q, limit, cursor }), { signal }),
  attackSession: (id: string, sensor?: string, cursor?: string, signal?: AbortSignal) =>
    call<SessionShown>(apiUrl(`sessions/${encodeURIComponent(id)}`, { sensor, cursor }), { signal }),
  recording: (id: string, sensor: string) =>
    file(apiUrl(`sessions/${encodeURIComponent(id)}/recording`, { sensor })),
  payloadFile: (sha256: string, format: 'zip' | 'raw') =>
    file(apiUrl(`payloads/${encodeURIComponent(sha256)}/download`, { format })),
  publicSummary: (signal?: AbortSignal) => call<PublicSummary>(apiUrl('public/summary'), { signal }),
  quarantine: (limit: number, signal?: AbortSignal) =>
    call<QuarantineList>(apiUrl('quarantine', { limit }), { signal }),
  status: (signal?: AbortSignal) => call<Status>(apiUrl('status'), { signal }),
  fields: () => call<{ fields: FieldInfo[] }>(apiUrl('fields')).then((answer) => answer.fields),

  hosts: (signal?: AbortSignal) => call<{ hosts: Host[] }>(apiUrl('hosts'), { signal }).then((answer) => answer.hosts),
  host: (id: string, signal?: AbortSignal) => call<HostShown>(apiUrl(`hosts/${encodeURIComponent(id)}`), { signal }),
  forgetHost: (id: string) => call<void>(apiUrl(`hosts/${encodeURIComponent(id)}`), { method: 'DELETE' }),
  samples: (id: string, params: { from: string; to: string; points: number }, signal?: AbortSignal) =>
    call<SampleList>(apiUrl(`hosts/${encodeURIComponent(id)}/samples`, params), { signal }),
  changes: (params: { host?: string; cursor?: string; limit: number }, signal?: AbortSignal) =>
    call<ChangePage>(apiUrl('changes', params), { signal }),
  findings: (params: { host?: string; new: boolean }, signal?: AbortSignal) =>
    call<FindingList>(apiUrl('findings', { host: params.host, new: params.new ? 'true' : undefined }), { signal }),
  suppress: (body: { check: string; host: string | null; reason: string; until: string }) =>
    call<Suppression>(apiUrl('findings/suppressions'), { method: 'POST', body }),
  countAgain: (id: string) => call<void>(apiUrl(`findings/suppressions/${encodeURIComponent(id)}`), { method: 'DELETE' }),
  plugins: (signal?: AbortSignal) => call<{ plugins: PluginStatus[] }>(apiUrl('plugins'), { signal }).then((answer) => answer.plugins),
  pluginRows: (name: string, params: { sensor?: string; cursor?: string; limit: number }, signal?: AbortSignal) =>
    call<PluginRowPage>(apiUrl(`plugins/${encodeURIComponent(name)}/rows`, params), { signal }),
  users: (signal?: AbortSignal) => call<{ users: UserInfo[] }>(apiUrl('users'), { signal }).then((answer) => answer.users),
  signIns: (signal?: AbortSignal) => call<{ sign_ins: SignInInfo[] }>(apiUrl('sign-ins'), { signal }).then((answer) => answer.sign_ins),
  endSignIn: (id: string) => call<void>(apiUrl(`sign-ins/${encodeURIComponent(id)}`), { method: 'DELETE' }),
  addUser: (username: string, role: Role, password: string) =>
    call<void>(apiUrl('users'), { method: 'POST', body: { username, role, password } }),
  removeUser: (name: string) => call<void>(apiUrl(`users/${encodeURIComponent(name)}`), { method: 'DELETE' }),
  setRole: (name: string, role: Role) =>
    call<void>(apiUrl(`users/${encodeURIComponent(name)}/role`), { method: 'PUT', body: { role } }),
  setPassword: (name: string, password: string) =>
    call<void>(apiUrl(`users/${encodeURIComponent(name)}/password`), { method: 'POST', body: { password } }),
  keys: () => call<{ keys: KeyInfo[] }>(apiUrl('keys')).then((answer) => answer.keys),
  addKey: (name: string, scopes: Scope[], domain: Domain) =>
    call<CreatedKey>(apiUrl('keys'), { method: 'POST', body: { name, scopes, domain } }),
  removeKey: (id: string) => call<void>(apiUrl(`keys/${encodeURIComponent(id)}`), { method: 'DELETE' }),
};

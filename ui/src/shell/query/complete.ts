// What may come next in a query: fields, values with their counts from the
// store, operators, times.
import { api } from '../../lib/api/client';
import { buckets, type FieldInfo } from '../../lib/api/model';
import { KINDS } from '../../lib/events';
import { country } from '../../lib/format';
import { TIME_TERMS, type Place } from '../../lib/lex';
import { full, literal, quote } from '../../lib/query';
import type { Range } from '../../lib/range';

export interface Suggestion {
  /** What is put in the place of what was typed. */
  insert: string;
  label: string;
  note: string;
  count?: number;
}

const MOST = 10;
/** Values asked of the store where it cannot look for a beginning. */
const MOST_VALUES = 200;
const MOST_REMEMBERED = 60;

const TIMES: Record<string, [string, string][]> = {
  since: [['15m', 'the last 15 minutes'], ['1h', 'the last hour'], ['24h', 'the last 24 hours'], ['7d', 'the last 7 days'], ['30d', 'the last 30 days']],
  until: [['1h', 'up to an hour ago'], ['24h', 'up to a day ago'], ['7d', 'up to a week ago']],
};
const TIME_NOTES: Record<string, string> = {
  since: 'not before: 7d, 24h, a day, an instant', until: 'not after', day: 'one day in UTC', month: 'one month in UTC',
};
const CLOSED: Record<string, string[]> = {
  kind: Object.keys(KINDS), outcome: ['accepted', 'failed'], domain: ['private', 'community'], transport: ['tcp', 'udp', 'icmp'],
};
const KEYWORDS: [string, string][] = [['or', 'either side holds'], ['and', 'both sides hold'], ['not', 'what follows does not hold']];

export function named(fields: FieldInfo[], name: string): FieldInfo | undefined {
  return fields.find((field) => field.name === name || field.aliases.includes(name));
}

/** Days and months, newest first, in UTC as the query language counts. */
function calendar(name: string): [string, string][] {
  const now = new Date();
  return Array.from({ length: 7 }, (_, i): [string, string] => {
    if (name === 'day') {
      const text = new Date(now.getTime() - i * 864e5).toISOString().slice(0, 10);
      return [text, i === 0 ? 'today' : i === 1 ? 'yesterday' : `${i} days ago`];
    }
    const first = new Date(Date.UTC(now.getUTCFullYear(), now.getUTCMonth() - i, 1));
    return [first.toISOString().slice(0, 7), i === 0 ? 'this month' : i === 1 ? 'last month' : `${i} months ago`];
  });
}

/** What is known without asking: fields, keywords, times, closed sets. */
export function offered(here: Place, fields: FieldInfo[]): Suggestion[] {
  const typed = here.typed.toLowerCase();
  const after = here.listed ? '' : ' ';
  if (here.field !== undefined) {
    const times = TIMES[here.field] ?? ((TIME_TERMS as readonly string[]).includes(here.field) ? calendar(here.field) : []);
    if (times.length > 0) return times.filter(([v]) => v.startsWith(typed)).map(([v, note]) => ({ insert: `${v} `, label: v, note }));
    const field = named(fields, here.field);
    if (!field) return [];
    const closed = (CLOSED[field.name] ?? []).filter((v) => v.includes(typed) && v !== typed);
    const values = closed.map((v) => ({ insert: v + after, label: v, note: field.name === 'kind' ? (KINDS[v] ?? '') : '' }));
    return typed || here.listed ? values : [...values, ...operators(field)];
  }
  const out: Suggestion[] = [];
  const known = (name: string) => name.startsWith(typed);
  for (const field of fields) {
    const alias = field.aliases.find(known);
    if (!known(field.name) && !alias) continue;
    out.push({ insert: `${field.name}:`, label: `${field.name}:`, note: known(field.name) ? field.description : `${alias}: ${field.description}` });
  }
  for (const name of TIME_TERMS.filter(known)) out.push({ insert: `${name}:`, label: `${name}:`, note: TIME_NOTES[name] ?? '' });
  for (const [word, note] of KEYWORDS.filter(([w]) => known(w) && here.rest)) out.push({ insert: `${word} `, label: word, note });
  if (typed.length > 1) {
    const kinds = Object.entries(KINDS).filter(([kind, label]) => kind.includes(typed) || label.toLowerCase().startsWith(typed));
    for (const [kind, label] of kinds) out.push({ insert: `kind:${kind} `, label: `kind:${kind}`, note: label });
  }
  return out;
}

function operators(field: FieldInfo): Suggestion[] {
  const any = { insert: '* ', label: '*', note: 'has any value' };
  const set = { insert: '(', label: '(a,b)', note: 'one of several' };
  switch (field.type) {
    case 'integer':
      return [any, set, { insert: '>', label: '>n', note: 'more than; also <, >=, <=' }, { insert: '1..1023 ', label: '1..1023', note: 'a span, both ends included' }];
    case 'time':
      return [{ insert: '>1h ', label: '>1h', note: 'in the last hour' }, { insert: '>24h ', label: '>24h', note: 'in the last day' }];
    case 'ip':
      return [any, set];
    default:
      return [any, set];
  }
}

const remembered = new Map<string, Suggestion[]>();

/** The most frequent values of a field among the events of the rest of the
 * query that begin with what was typed. */
export async function values(here: Place, fields: FieldInfo[], range: Range, signal: AbortSignal): Promise<Suggestion[]> {
  const field = here.field === undefined ? undefined : named(fields, here.field);
  if (!field || field.type === 'time' || field.name === 'id' || /^[<>]|\.\.|[*?]/.test(here.typed)) return [];
  const narrow = beginning(field, here.typed);
  const k = narrow.exact ? MOST : MOST_VALUES;
  const key = JSON.stringify([field.name, narrow.term, here.rest, range, k]);
  let found = remembered.get(key);
  if (!found) {
    const ask = async (rest: string) => {
      const q = full(`${/(^|\s)or(\s|$)/i.test(rest) ? `(${rest})` : rest} ${narrow.term}`, range);
      const answer = await api.aggregate(q, { top: { type: 'top', fields: [field.name], k } }, signal);
      return answer.results.top;
    };
    // A rest that is not finished yet is no query: then over everything.
    const sound = !here.rest || !(await api.check(here.rest, signal)).mistake;
    const top = await ask(sound ? here.rest : '');
    found = buckets(top).map(({ key: [value = ''], count }) => ({
      insert: quote(value),
      label: String(value),
      note: field.name === 'kind' ? (KINDS[String(value)] ?? '') : field.name.endsWith('country') ? country(String(value)) : '',
      count,
    }));
    if (remembered.size >= MOST_REMEMBERED) remembered.clear();
    remembered.set(key, found);
  }
  const typed = here.typed.toLowerCase();
  return found
    .filter((s) => s.label.toLowerCase().startsWith(typed) && s.label !== here.typed)
    .slice(0, MOST)
    .map((s) => ({ ...s, insert: here.listed ? s.insert : `${s.insert} ` }));
}

/** A term that the store can look for the beginning with. */
function beginning(field: FieldInfo, typed: string): { term: string; exact: boolean } {
  if (!typed) return { term: '', exact: true };
  if (field.type === 'integer') return { term: '', exact: false };
  if (field.type === 'ip') {
    const octets = /^((?:\d{1,3}\.){1,3})/.exec(typed)?.[1]?.split('.').filter(Boolean) ?? [];
    if (octets.length === 0 || octets.some((octet) => Number(octet) > 255)) return { term: '', exact: false };
    return { term: `${field.name}:${[...octets, 0, 0, 0].slice(0, 4).join('.')}/${octets.length * 8}`, exact: false };
  }
  return { term: `${field.name}:${literal(typed)}*`, exact: true };
}

/** Both, each once; what the store knows comes first. */
export function together(found: Suggestion[], given: Suggestion[]): Suggestion[] {
  const seen = new Set(found.map((s) => s.label));
  return [...found, ...given.filter((s) => !seen.has(s.label))].slice(0, MOST + 4);
}

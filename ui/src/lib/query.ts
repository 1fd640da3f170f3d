// The text of queries: making terms, adding and removing them. Only the server
// parses queries; this splits them into terms and no more.
import type { Range } from './range';
import { rangeTerms } from './range';

const PLAIN = /^[A-Za-z0-9_][A-Za-z0-9_.\-/@+]*$/;
const WORDS = new Set(['or', 'and', 'not']);

export function quote(value: string | number): string {
  const text = String(value);
  if (PLAIN.test(text) && !WORDS.has(text.toLowerCase())) return text;
  return `"${text.replaceAll('\\', '\\\\').replaceAll('"', '\\"')}"`;
}

export function term(field: string, value: string | number): string {
  return `${field}:${quote(value)}`;
}

/** Text as it stands in a pattern, where `*` and `?` are themselves. */
export function literal(text: string): string {
  return text.replace(/[^\p{L}\p{N}_]/gu, (c) => `\\${c}`);
}

/** Values that hold a text somewhere. */
export function containing(field: string, part: string): string {
  return `${field}:*${literal(part)}*`;
}

/** Terms next to each other, as they are written; brackets stay whole. */
export function terms(q: string): string[] {
  const out: string[] = [];
  let current = '';
  let depth = 0;
  let quoted = false;
  for (let i = 0; i < q.length; i += 1) {
    const c = q.charAt(i);
    if (quoted && c === '\\') {
      current += c + q.charAt(i + 1);
      i += 1;
      continue;
    }
    if (c === '"') quoted = !quoted;
    if (!quoted && c === '(') depth += 1;
    if (!quoted && c === ')') depth -= 1;
    if (!quoted && depth <= 0 && /\s/.test(c)) {
      if (current) out.push(current);
      current = '';
    } else {
      current += c;
    }
  }
  if (current) out.push(current);
  return out;
}

export function has(q: string, wanted: string): boolean {
  return terms(q).includes(wanted);
}

const hasOr = (q: string) => terms(q).some((part) => part.toLowerCase() === 'or');

/** Everything must hold: the query so far, and the term. */
export function add(q: string, extra: string): string {
  const trimmed = q.trim();
  if (!trimmed) return extra;
  if (has(trimmed, extra)) return trimmed;
  return hasOr(trimmed) ? `(${trimmed}) ${extra}` : `${trimmed} ${extra}`;
}

export function remove(q: string, unwanted: string): string {
  return terms(q).filter((part) => part !== unwanted).join(' ');
}

export function toggle(q: string, wanted: string): string {
  return has(q, wanted) ? remove(q, wanted) : add(q, wanted);
}

/** Whether the query itself says which time it is about. */
export function hasTime(q: string): boolean {
  return /(^|[\s(])-?(since|until|day|month):/i.test(q.replace(/"(\\.|[^"\\])*"/g, '""'));
}

/** Whether the query itself says until when. */
export function hasEnd(q: string): boolean {
  return /(^|[\s(])-?(until|day|month):/i.test(q.replace(/"(\\.|[^"\\])*"/g, '""'));
}

/** The query that is sent: the text, and the time range where it has none. */
export function full(q: string, range: Range): string {
  const trimmed = q.trim();
  if (hasTime(trimmed)) return trimmed;
  const limits = rangeTerms(range);
  if (!trimmed) return limits;
  return hasOr(trimmed) ? `(${trimmed}) ${limits}`.trim() : `${trimmed} ${limits}`.trim();
}

/** Where in the typed text an index of the sent text is. */
export function typedIndex(q: string, at: number): number {
  const lead = q.length - q.trimStart().length;
  const bracket = !hasTime(q.trim()) && hasOr(q.trim()) ? 1 : 0;
  return Math.max(0, Math.min(q.length, at - bracket + lead));
}

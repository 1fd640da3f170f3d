// The words of a query text, for colours and completion. Never wrong about a
// text, because it decides nothing: what a query means is the server's to say.

export type TokenKind = 'space' | 'field' | 'value' | 'quoted' | 'word' | 'keyword' | 'not' | 'open' | 'close' | 'comma';

export interface Token {
  kind: TokenKind;
  from: number;
  /** Index after its last character. */
  to: number;
  /** Where the field begins that it belongs to, with its value or list. */
  term?: number;
  /** Inside of `field:( … )`. */
  listed: boolean;
}

const FIELD = /[A-Za-z0-9_]+:/y;
const QUOTED = /"(?:\\.|[^"\\])*(?:"|\\?$)/y;
const SPACE = /\s+/y;
const BARE = /(?:\\.|[^\s()"\\])+|\\$/y;
const LISTED = /(?:\\.|[^\s()",\\])+|\\$/y;
const KEYWORDS = new Set(['and', 'or', 'not']);
/** Terms that set the time range; they are no fields. */
export const TIME_TERMS = ['since', 'until', 'day', 'month'] as const;

/** Every character is in exactly one token. */
export function lex(text: string): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  /** The field whose value comes, or whose list this is. */
  let term: number | undefined;
  let listed = false;
  const end = (pattern: RegExp): number | undefined => {
    pattern.lastIndex = at;
    return pattern.test(text) ? pattern.lastIndex : undefined;
  };
  const push = (kind: TokenKind, to: number) => {
    tokens.push({ kind, from: at, to, listed, ...(term === undefined ? {} : { term }) });
    at = to;
  };
  /** After a value the term is over, except in a list. */
  const over = () => {
    if (!listed) term = undefined;
  };
  while (at < text.length) {
    const c = text.charAt(at);
    const space = end(SPACE);
    if (space !== undefined) {
      over();
      push('space', space);
    } else if (c === '(') {
      push('open', at + 1);
      listed = term !== undefined;
    } else if (c === ')') {
      push('close', at + 1);
      listed = false;
      term = undefined;
    } else if (c === ',' && listed) {
      push('comma', at + 1);
    } else if (c === '"') {
      push('quoted', end(QUOTED) ?? at + 1);
      over();
    } else if (term !== undefined) {
      push('value', end(listed ? LISTED : BARE) ?? at + 1);
      over();
    } else if (c === '-') {
      push('not', at + 1);
    } else {
      const field = end(FIELD);
      if (field !== undefined) {
        term = at;
        push('field', field);
        continue;
      }
      const stop = end(BARE) ?? at + 1;
      const word = text.slice(at, stop).toLowerCase();
      push(!KEYWORDS.has(word) ? 'word' : word === 'not' ? 'not' : 'keyword', stop);
    }
  }
  return tokens;
}

/** Where the server's count of characters points in this text: it counts
 * code points, strings are indexed by UTF-16 units. */
export function indexOf(text: string, character: number): number {
  let index = 0;
  for (const c of text) {
    if (character <= 0) break;
    character -= 1;
    index += c.length;
  }
  return index;
}

/** The span at which a mistake is shown: from there to the end of its token. */
export function marked(text: string, at: number): { from: number; to: number } {
  const token = lex(text).find((t) => t.from <= at && at < t.to);
  const from = Math.min(at, text.length);
  return { from, to: !token || token.kind === 'space' ? Math.min(from + 1, text.length) : token.to };
}

/** Whether what comes next may mend a mistake: it is in the last word, or a
 * bracket or quote is open. */
export function openEnded(text: string, at: number): boolean {
  const end = text.trimEnd().length;
  const token = lex(text).find((t) => t.from <= at && at < t.to);
  return !token || token.to >= end || token.kind === 'open';
}

/** What is typed at a place: a word of its own, or the value of a field. */
export interface Place {
  /** The field, in lower case, where a value is typed. */
  field: string | undefined;
  listed: boolean;
  /** The word or value up to the place, without its quotes. */
  typed: string;
  /** What a completion takes the place of. */
  from: number;
  to: number;
  /** The query without the term that is typed. */
  rest: string;
}

const TYPED = new Set<TokenKind>(['value', 'quoted', 'word', 'keyword']);

export function place(text: string, caret: number): Place {
  const tokens = lex(text);
  const here = tokens.find((t) => t.from < caret && caret <= t.to);
  const word = here && TYPED.has(here.kind) ? here : undefined;
  const raw = word ? text.slice(word.from, caret) : '';
  const typed = word?.kind === 'quoted' ? raw.replace(/^"/, '').replace(/(?<!\\)"$/, '').replace(/\\(.)/g, '$1') : raw;
  const start = here && here.kind !== 'close' ? here.term : undefined;
  const field = start === undefined ? undefined : tokens.find((t) => t.from === start);
  return {
    field: field && text.slice(field.from, field.to - 1).toLowerCase(),
    listed: (here?.listed ?? false) || (here?.kind === 'open' && start !== undefined),
    typed,
    from: word?.from ?? caret,
    to: word?.to ?? caret,
    rest: without(text, tokens, (t) => (start === undefined ? t === word : t.term === start)),
  };
}

/** The query without its own time range, which is set otherwise. */
export function withoutTime(text: string): string {
  const tokens = lex(text);
  const starts = new Set<number>();
  for (const { kind, from, to } of tokens) {
    if (kind === 'field' && (TIME_TERMS as readonly string[]).includes(text.slice(from, to - 1).toLowerCase())) starts.add(from);
  }
  return starts.size === 0 ? text : without(text, tokens, (t) => t.term !== undefined && starts.has(t.term));
}

/** Leaves tokens out, with the minus before them and the spaces about them. */
function without(text: string, tokens: Token[], drop: (token: Token) => boolean): string {
  const parts = tokens.map((t, i) => {
    const next = tokens[i + 1];
    if (drop(t) || (t.kind === 'not' && next && drop(next))) return ' ';
    return text.slice(t.from, t.to);
  });
  return parts.join('').replace(/ {2,}/g, (run, at: number, whole: string) => (quotedAt(whole, at) ? run : ' ')).trim();
}

/** Whether an index lies inside of quotes. */
function quotedAt(text: string, at: number): boolean {
  return lex(text).some((t) => t.kind === 'quoted' && t.from < at && at < t.to);
}

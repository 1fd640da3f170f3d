// Attacker text made harmless to look at: what would hide, reorder or steer
// is replaced by a symbol. The result goes into text nodes only.
import type { Untrusted } from './api/model';

/** A run of text, or one character shown by a symbol. */
export interface Piece {
  text: string;
  /** What the symbol stands for; absent for plain runs. */
  name?: string;
}

// Controls, soft hyphen, bidirectional marks and overrides, zero-width and
// other invisible characters, line separators, tags, lone surrogates.
const HIDDEN =
  // eslint-disable-next-line no-control-regex
  /[\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff]|[\u{e0000}-\u{e0fff}]/gu;

const NAMES: Record<number, string> = {
  0: 'null', 7: 'bell', 8: 'backspace', 9: 'tab', 10: 'line feed', 13: 'carriage return', 27: 'escape', 127: 'delete',
  0xad: 'soft hyphen', 0x200b: 'zero width space', 0x200e: 'left-to-right mark', 0x200f: 'right-to-left mark',
  0x202a: 'left-to-right embedding', 0x202b: 'right-to-left embedding', 0x202c: 'pop directional formatting',
  0x202d: 'left-to-right override', 0x202e: 'right-to-left override', 0xfeff: 'byte order mark',
};

/** Abbreviations of the ASCII controls (ECMA-48). */
const C0 =
  'NUL SOH STX ETX EOT ENQ ACK BEL BS TAB LF VT FF CR SO SI DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US'.split(' ');

function symbol(character: string): Piece {
  const code = character.codePointAt(0) ?? 0;
  const point = `U+${code.toString(16).toUpperCase().padStart(4, '0')}`;
  const name = NAMES[code] ? `${point} ${NAMES[code]}` : point;
  // Not the control pictures of Unicode: few fonts have them.
  const short = code < 0x20 ? C0[code] : code === 0x7f ? 'DEL' : point;
  return { text: `\u2039${short}\u203a`, name };
}

/** Bytes that are no UTF-8 are shown as `\xNN`. */
function decode(bytes: Uint8Array): string {
  let out = '';
  const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  for (let at = 0; at < bytes.length; ) {
    const first = bytes[at] ?? 0;
    const length = first < 0x80 ? 1 : first >= 0xf0 ? 4 : first >= 0xe0 ? 3 : 2;
    try {
      out += strict.decode(bytes.subarray(at, at + length));
      at += length;
    } catch {
      out += `\\x${first.toString(16).padStart(2, '0')}`;
      at += 1;
    }
  }
  return out;
}

/** The text as it came; for copying and filtering, never for showing. */
export function raw(value: Untrusted | undefined): string {
  if (value === undefined) return '';
  if (typeof value === 'string') return value;
  try {
    return decode(Uint8Array.from(atob(value.base64), (c) => c.charCodeAt(0)));
  } catch {
    return value.base64;
  }
}

/** The text in pieces. */
export function pieces(text: string): Piece[] {
  const out: Piece[] = [];
  let from = 0;
  for (const match of text.matchAll(HIDDEN)) {
    if (match.index > from) out.push({ text: text.slice(from, match.index) });
    out.push(symbol(match[0]));
    from = match.index + match[0].length;
  }
  if (from < text.length) out.push({ text: text.slice(from) });
  return out;
}

/** The same in one string, for labels and hover texts. */
export function visible(value: Untrusted | undefined): string {
  return raw(value).replace(HIDDEN, (character) => symbol(character).text);
}

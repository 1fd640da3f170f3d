// A terminal's screen, for replaying what attackers saw: cells, cursor, colours,
// erasing, scrolling. What it follows is the closed list of
// crates/event/src/terminal.rs; all else a terminal could be told is left out.
// fixtures/terminal/vectors.json holds both to it.

/** How a cell looks: colours from 0 to 255, or `r,g,b`; undefined is the default. */
export interface Look {
  fg?: string | undefined;
  bg?: string | undefined;
  bold?: boolean;
  dim?: boolean;
  italic?: boolean;
  under?: boolean;
  inverse?: boolean;
  strike?: boolean;
}
/** Cells beside each other that look the same. */
export interface Run {
  text: string;
  look: Look;
}
interface Cell {
  text: string;
  look: Look;
}

const MAX_PARAMETERS = 64;
const MAX_STRING = 4096;
const PLAIN: Look = {};
const FLAGS = { 1: 'bold', 2: 'dim', 3: 'italic', 4: 'under', 7: 'inverse', 9: 'strike' } as const;
/** Takes two cells: what Unicode calls wide, by the large blocks. */
const WIDE = /[\u1100-\u115f\u2e80-\ua4cf\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\u{1f300}-\u{1faff}\u{20000}-\u{3fffd}]/u;
/** Joins, hides, changes direction, or is no character: shown as U+FFFD. */
const STRANGE = /[\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\u{e0000}-\u{e007f}\uef80-\uefff\ud800-\udfff]/u;
const COMBINING = /\p{Mn}/u;

export class Screen {
  #lines: Cell[][] = [];
  #x = 0;
  #y = 0;
  #saved = [0, 0];
  /** The last column is written, the next character begins a line. */
  #full = false;
  #look = PLAIN;
  #state: 'text' | 'escape' | 'end' | 'control' | 'string' = 'text';
  /** Parameters of a control sequence; undefined where it is left out. */
  #parameters: string | undefined = '';
  #length = 0;
  #escaped = false;

  constructor(
    public columns: number,
    public rows: number,
  ) {
    this.resize(columns, rows);
  }

  resize(columns: number, rows: number): void {
    this.columns = Math.max(1, Math.min(500, columns));
    this.rows = Math.max(1, Math.min(200, rows));
    while (this.#lines.length > this.rows && this.#y > 0) this.#lines.shift(), (this.#y -= 1);
    this.#lines.length = Math.min(this.#lines.length, this.rows);
    while (this.#lines.length < this.rows) this.#lines.push([]);
    for (const line of this.#lines) line.length = Math.min(line.length, this.columns);
    this.#go(this.#x, this.#y);
  }

  get cursor(): [number, number] {
    return [this.#x, this.#y];
  }

  /** A line as text, without blanks at its end. */
  text(row: number): string {
    return this.runs(row).map((run) => run.text).join('').trimEnd();
  }

  runs(row: number): Run[] {
    const runs: Run[] = [];
    for (const cell of this.#lines[row] ?? []) {
      const [text, look] = cell ? [cell.text, cell.look] : [' ', PLAIN];
      const last = runs.at(-1);
      if (last?.look === look) last.text += text;
      else runs.push({ text, look });
    }
    return runs;
  }

  write(text: string): void {
    for (const c of text) this.#take(c);
  }

  #take(c: string): void {
    if (this.#state === 'string') {
      if (this.#length >= MAX_STRING) this.#state = 'text';
      else if (this.#escaped) {
        this.#escaped = false;
        this.#state = 'text';
        if (c !== '\\') this.#escape(c);
        return;
      } else {
        this.#length += 1;
        this.#escaped = c === '\x1b';
        if (/[\x07\x18\x1a\x9c]/.test(c)) this.#state = 'text';
        return;
      }
    }
    if (c === '\x1b') this.#state = 'escape';
    else if (c === '\x18' || c === '\x1a') this.#state = 'text';
    else if (this.#state === 'text' || c < ' ') this.#print(c);
    else if (this.#state === 'escape') this.#escape(c);
    else if (this.#state === 'end') this.#state = 'text';
    else if (c >= '0' && c <= '?') {
      if (this.#parameters !== undefined) this.#parameters = this.#parameters.length < MAX_PARAMETERS ? this.#parameters + c : undefined;
    } else if (c < '0') this.#parameters = undefined;
    else {
      this.#state = 'text';
      if (c <= '~' && this.#parameters !== undefined) this.#control(this.#parameters, c);
    }
  }

  #escape(c: string): void {
    this.#state = 'text';
    if (c === '[') (this.#state = 'control'), (this.#parameters = '');
    else if (c === '\x1b') this.#state = 'escape';
    else if (']PX^_'.includes(c)) (this.#state = 'string'), (this.#length = 0);
    else if (c === '7') this.#saved = [this.#x, this.#y];
    else if (c === '8') this.#go(this.#saved[0]!, this.#saved[1]!);
    else if (c === 'D') this.#down();
    else if (c === 'E') (this.#x = 0), this.#down();
    else if (c === 'M') this.#y > 0 ? this.#go(this.#x, this.#y - 1) : this.#scroll(-1);
    else if (c >= ' ' && c <= '/') this.#state = 'end';
  }

  #print(c: string): void {
    if (c === '\n') this.#down();
    else if (c === '\r') this.#go(0, this.#y);
    else if (c === '\b') this.#go(this.#x - 1, this.#y);
    else if (c === '\t') this.#go((this.#x >> 3) * 8 + 8, this.#y);
    else if (c < ' ' || (c >= '\x7f' && c <= '\x9f')) return;
    else this.#put(STRANGE.test(c) ? '\ufffd' : c);
  }

  #put(c: string): void {
    const line = () => this.#lines[this.#y]!;
    if (COMBINING.test(c)) {
      const before = line()[this.#full ? this.#x : this.#x - 1];
      if (before && before.text.length < 8) before.text += c;
      return;
    }
    const wide = WIDE.test(c) && this.columns > 1;
    if (this.#full || (wide && this.#x + 1 >= this.columns)) {
      this.#x = 0;
      this.#down();
    }
    this.#pad(this.#x);
    line()[this.#x] = { text: c, look: this.#look };
    if (wide) line()[this.#x + 1] = { text: '', look: this.#look };
    const next = this.#x + (wide ? 2 : 1);
    this.#full = next >= this.columns;
    this.#x = Math.min(next, this.columns - 1);
  }

  #pad(to: number): void {
    const line = this.#lines[this.#y]!;
    while (line.length < to) line.push({ text: ' ', look: PLAIN });
  }

  #go(x: number, y: number): void {
    this.#x = Math.max(0, Math.min(this.columns - 1, x));
    this.#y = Math.max(0, Math.min(this.rows - 1, y));
    this.#full = false;
  }

  #down(): void {
    if (this.#y === this.rows - 1) this.#scroll(1);
    this.#go(this.#x, this.#y + 1);
  }

  #scroll(by: number, from = 0): void {
    const times = Math.min(Math.abs(by), this.rows);
    for (let i = 0; i < times; i += 1) {
      if (by > 0) this.#lines.splice(from, 1), this.#lines.push([]);
      else this.#lines.pop(), this.#lines.splice(from, 0, []);
    }
  }

  #blank(count: number): Cell[] {
    return Array.from({ length: Math.min(count, this.columns) }, () => ({ text: ' ', look: this.#look.bg ? { bg: this.#look.bg } : PLAIN }));
  }

  #control(parameters: string, last: string): void {
    const values = parameters.split(/[;:]/);
    const most = last === 'm' ? 16 : 'Hf'.includes(last) ? 2 : 1;
    if (/[^\d;:]/.test(parameters) || values.length > most || (last !== 'm' && parameters.includes(':'))) return;
    const n = values.map((value) => Math.min(999, Number(value)));
    const first = n[0]!;
    const count = first || 1;
    const line = this.#lines[this.#y]!;
    const [x, y] = [this.#x, this.#y];
    switch (last) {
      case 'A': return this.#go(x, y - count);
      case 'B': case 'e': return this.#go(x, y + count);
      case 'C': case 'a': return this.#go(x + count, y);
      case 'D': return this.#go(x - count, y);
      case 'E': return this.#go(0, y + count);
      case 'F': return this.#go(0, y - count);
      case 'G': case '`': return this.#go(count - 1, y);
      case 'd': return this.#go(x, count - 1);
      case 'H': case 'f': return this.#go((n[1] || 1) - 1, count - 1);
      case 'I': return this.#go(((x >> 3) + count) * 8, y);
      case 'Z': return this.#go((((x + 7) >> 3) - count) * 8, y);
      case 's': return void (parameters || (this.#saved = [x, y]));
      case 'u': return void (parameters || this.#go(this.#saved[0]!, this.#saved[1]!));
      case 'S': return this.#scroll(count);
      case 'T': return this.#scroll(-count);
      case 'L': return this.#scroll(-count, y);
      case 'M': return this.#scroll(count, y);
      case 'P': return void line.splice(x, count);
      case '@':
        this.#pad(x);
        line.splice(x, 0, ...this.#blank(count));
        return void (line.length = Math.min(line.length, this.columns));
      case 'X':
        this.#pad(x + Math.min(count, this.columns - x));
        return void line.splice(x, count, ...this.#blank(Math.min(count, this.columns - x)));
      case 'K': return this.#erase(first);
      case 'J':
        if (!/^[012]?$/.test(parameters)) return;
        for (let row = first === 0 ? y + 1 : 0; row < (first === 1 ? y : this.rows); row += 1) this.#lines[row] = [];
        return this.#erase(first);
      case 'm': return this.#looks(parameters);
    }
  }

  /** Erases in the line: from the cursor on (0), up to it (1), all (2). */
  #erase(what: number): void {
    const line = this.#lines[this.#y]!;
    if (what === 1) {
      this.#pad(this.#x + 1);
      line.splice(0, this.#x + 1, ...this.#blank(this.#x + 1));
    } else if (what === 0) line.length = Math.min(line.length, this.#x);
    else if (what === 2) line.length = 0;
  }

  #looks(parameters: string): void {
    const look = { ...this.#look };
    const groups = parameters.split(';').map((group) => group.split(':').map(Number));
    for (let i = 0; i < groups.length; i += 1) {
      const [code, ...parts] = groups[i] as [number, ...number[]];
      const flag = FLAGS[code as keyof typeof FLAGS];
      const to = code < 40 || (code >= 90 && code < 100) ? 'fg' : 'bg';
      if (code === 0) for (const name of Object.keys(look)) delete look[name as keyof Look];
      else if (flag) look[flag] = parts[0] !== 0;
      else if (code === 22) look.bold = look.dim = false;
      else if (code >= 23 && code <= 29) {
        const off = FLAGS[(code - 20) as keyof typeof FLAGS];
        if (off) look[off] = false;
      } else if (code === 38 || code === 48) {
        // As `38;5;n` and `38;2;r;g;b`, or with colons and an empty part.
        const rest = parts.length ? parts : groups.slice(i + 1).map((group) => group[0]!);
        const size = rest[0] === 5 ? 2 : rest[0] === 2 ? 4 : 1;
        if (size === 2) look[to] = String((rest[1] ?? 0) & 255);
        if (size === 4) look[to] = (parts.length > 4 ? rest.slice(2, 5) : rest.slice(1, 4)).map((part) => part & 255).join();
        if (!parts.length) i += size;
      } else if (code === 39 || code === 49) look[to] = undefined;
      else if ((code >= 30 && code < 38) || (code >= 40 && code < 48)) look[to] = String(code % 10);
      else if ((code >= 90 && code < 98) || (code >= 100 && code < 108)) look[to] = String((code % 10) + 8);
    }
    this.#look = look;
  }
}

/** A colour as CSS has it; the first 16 are the page's own. */
export function css(colour: string | undefined): string | undefined {
  if (colour === undefined) return;
  if (colour.includes(',')) return `rgb(${colour})`;
  const n = Number(colour);
  if (n < 16) return `var(--t${n})`;
  if (n > 231) return `rgb(${Array(3).fill((n - 232) * 10 + 8)})`;
  const level = (part: number) => (part ? part * 40 + 55 : 0);
  return `rgb(${[Math.trunc((n - 16) / 36), Math.trunc((n - 16) / 6) % 6, (n - 16) % 6].map(level)})`;
}

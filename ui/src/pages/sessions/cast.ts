// Recordings in asciicast v2, as the player takes them.

export interface Frame {
  /** Milliseconds from the beginning. */
  at: number;
  code: string;
  text: string;
}

/** Reads a recording; what is no line of one is left out. */
export function read(text: string): Frame[] {
  const frames: Frame[] = [];
  let last = 0;
  for (const line of text.split('\n').slice(1)) {
    let parts: unknown;
    try {
      parts = JSON.parse(line);
    } catch {
      continue;
    }
    if (!Array.isArray(parts)) continue;
    const [seconds, code, shown] = parts as unknown[];
    if (typeof seconds !== 'number' || typeof code !== 'string' || typeof shown !== 'string' || !'omr'.includes(code)) continue;
    last = Math.max(last, Math.round(seconds * 1000));
    frames.push({ at: last, code, text: shown });
  }
  return frames;
}

/** A time in a recording: `1:05`. */
export function clock(ms: number): string {
  const secs = Math.floor(Math.abs(ms) / 1000);
  return `${ms < 0 && secs ? '−' : ''}${Math.floor(secs / 60)}:${String(secs % 60).padStart(2, '0')}`;
}

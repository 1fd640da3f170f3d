// How long bans and entries of the allowlist last.

export const SPANS: readonly { secs: number; label: string }[] = [
  { secs: 900, label: '15 minutes' },
  { secs: 3600, label: '1 hour' },
  { secs: 14_400, label: '4 hours' },
  { secs: 86_400, label: '1 day' },
  { secs: 604_800, label: '7 days' },
  { secs: 2_592_000, label: '30 days' },
];

const UNITS: Record<string, number> = { s: 1, m: 60, min: 60, h: 3600, d: 86_400, w: 604_800 };

/** Seconds of "90m", "36h" or "10 d"; undefined where it is no span. */
export function span(text: string): number | undefined {
  const found = /^\s*(\d{1,9})\s*(s|m|min|h|d|w)\s*$/i.exec(text);
  const unit = UNITS[found?.[2]?.toLowerCase() ?? ''];
  return found && unit ? Number(found[1]) * unit : undefined;
}

// Counts by time, in few bars of one width, for lines of a table.

/** Sums counts into `n` bars from one instant to another; what lies outside of
 * them is in the bar next to it. */
export function bins(timeline: readonly { value: string; count: number }[], from: number, to: number, n: number): number[] {
  const bars = Array.from({ length: n }, () => 0);
  const width = Math.max(1, to - from) / n;
  for (const { value, count } of timeline) {
    const at = Math.min(n - 1, Math.max(0, Math.floor((Date.parse(value) - from) / width)));
    bars[at] = (bars[at] ?? 0) + count;
  }
  return bars;
}

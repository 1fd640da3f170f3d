// Shades for counts, on a logarithmic scale: 1 for the fewest, 5 for the most.
export const STEPS = 5;

export interface Scale {
  /** Fewest of each step. */
  from: number[];
  most: number;
}

export function logScale(most: number): Scale {
  const from = Array.from({ length: STEPS }, (_, i) => Math.max(i === 0 ? 1 : i + 1, Math.round(most ** (i / STEPS))));
  return { from, most };
}

/** 0 for none. */
export function step(scale: Scale, count: number): number {
  let found = 0;
  scale.from.forEach((from, i) => {
    if (count >= from) found = i + 1;
  });
  return found;
}

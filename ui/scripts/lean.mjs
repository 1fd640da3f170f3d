// Leaves out of the bundle what this page never runs. Bundlers find what no
// module imports; this is what they cannot know:
//
// - Svelte walks the document again after a server has rendered it. None of
//   ours does, so that walk, and the calls in every component that keep its
//   place, do nothing.
// - uPlot hangs every path builder, its legend and helpers on one function,
//   where each counts as used.
//
// A library that has changed so that this does not fit fails the build.

/** Exports of Svelte's `hydration.js` as they are when nothing is hydrated. */
const NOT_HYDRATED = `
export const hydrating = false;
export const hydrate_node = null;
${['set_hydrating', 'set_hydrate_node', 'hydrate_next', 'reset', 'hydrate_template', 'next', 'skip_nodes', 'read_hydration_instruction']
  .map((name) => `/*#__NO_SIDE_EFFECTS__*/ export function ${name}(node) { return node; }`)
  .join('\n')}
`;

/** What compiled components say only for the walk, and for components of Svelte 4. */
const ONLY_FOR_THE_WALK = [
  [/^\s*\$\.(?:reset\([\w$]+\)|next\(\d*\));$/gm, ''],
  [/(\$\.(?:only_child|child)\([\w$]+), true\)/g, '$1)'],
  [/,?\s*\$\$slots: \{[^{}]*\}/g, ''],
];

/** Parts of uPlot that no chart here uses. */
const UNUSED_IN_UPLOT = [
  [/^uPlot\.(?:assign|fmtNum|rangeNum|rangeLog|rangeAsinh|orient|sync) *= \w+;$/gm, 7],
  [/^\tuPlot\.(?:join|fmtDate|addGap|clipGaps) *= \w+;$/gm, 4],
  [/^\tlet paths = uPlot\.paths = \{\n\t\tpoints,\n\t\};$/gm, 1],
  [/^\t\(paths\.\w+ *= \w+\);$/gm, 4],
  [/\bmode = self\.mode;/g, 2, 'mode = 1;'],
  [/\bmode: ifNull\(opts\.mode, 1\),/g, 1, 'mode: 1,'],
  [/\b(?:\w+\.)?distr == +(?:3|4|100)\b/g, 'some', 'false'],
  [/\b\w+\.distr >= 3\b/g, 1, 'false'],
  [/legend\.show(?=;| && )/g, 2, 'false'],
  [/legend\.live(?= |\)|;)/g, 7, 'false'],
];

function replaceAll(code, [pattern, times, by = '']) {
  let found = 0;
  const changed = code.replace(pattern, () => ((found += 1), by));
  if (times === 'some' ? found === 0 : found !== times) throw new Error(`uPlot has changed: ${pattern} is there ${found} times, not ${times}. Look at scripts/lean.mjs.`);
  return changed;
}

export function lean() {
  return {
    name: 'lean',
    apply: 'build',
    transform: {
      order: 'post',
      handler(code, id) {
        if (id.endsWith('/svelte/src/internal/client/dom/hydration.js')) return { code: NOT_HYDRATED, map: null };
        if (id.endsWith('/uPlot.esm.js')) return { code: UNUSED_IN_UPLOT.reduce(replaceAll, code), map: null };
        if (!id.endsWith('.svelte')) return undefined;
        return { code: ONLY_FOR_THE_WALK.reduce((text, [pattern, by]) => text.replace(pattern, by), code), map: null };
      },
    },
  };
}

import { readdirSync } from 'node:fs';
import { relative, sep } from 'node:path';
import { fileURLToPath } from 'node:url';

const src = fileURLToPath(new URL('./src/', import.meta.url));
/** In an order that does not depend on the machine. */
const components = readdirSync(src, { recursive: true })
  .map((name) => name.split(sep).join('/'))
  .filter((name) => name.endsWith('.svelte'))
  .sort();

/** @type {import('@sveltejs/vite-plugin-svelte').SvelteConfig} */
export default {
  compilerOptions: {
    runes: true,
    // A number, shorter than the default: each is in the styles and in the script many times.
    cssHash: ({ hash, filename }) => {
      const at = components.indexOf(relative(src, filename).split(sep).join('/'));
      return `_${at < 0 ? hash(filename) : at.toString(36)}`;
    },
  },
};

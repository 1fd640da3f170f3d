// After the build: writes .br and .gz beside each file above 1 kB, prints the
// sizes as they are sent and fails above the limits.
import { readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, constants } from 'node:zlib';
import { gzip } from '@gfx/zopfli';

const LIMIT_ALL = 200 * 1024;
const LIMIT_FIRST_PAGE = 120 * 1024;
const SMALLEST = 1024;
const FIRST_PAGE = 'src/pages/Overview.svelte';

const dist = fileURLToPath(new URL('../dist/', import.meta.url));
const manifest = JSON.parse(readFileSync(join(dist, '.vite/manifest.json'), 'utf8'));
rmSync(join(dist, '.vite'), { recursive: true });

/** gzip as small as it gets: made once, sent often. */
const smallest = (plain) => new Promise((done, fail) => gzip(plain, {}, (error, packed) => (error ? fail(error) : done(packed))));

const files = readdirSync(dist, { recursive: true })
  .map((name) => join(dist, name))
  .filter((path) => statSync(path).isFile() && !/\.(br|gz)$/.test(path))
  .sort();
const gzipped = new Map();
for (const path of files) {
  const plain = readFileSync(path);
  const gz = await smallest(plain);
  gzipped.set(relative(dist, path), gz.length);
  if (plain.length <= SMALLEST) continue;
  writeFileSync(`${path}.gz`, gz);
  const params = {
    [constants.BROTLI_PARAM_QUALITY]: 11,
    [constants.BROTLI_PARAM_SIZE_HINT]: plain.length,
  };
  writeFileSync(`${path}.br`, brotliCompressSync(plain, { params }));
}

/** Files that a chunk needs before it runs. */
function needed(key, into = new Set()) {
  const chunk = manifest[key];
  if (!chunk || into.has(chunk.file)) return into;
  into.add(chunk.file);
  for (const css of chunk.css ?? []) into.add(css);
  for (const other of chunk.imports ?? []) needed(other, into);
  return into;
}

const kib = (bytes) => `${(bytes / 1024).toFixed(1).padStart(7)} KiB`;
const sum = (names) => names.reduce((total, name) => total + (gzipped.get(name) ?? 0), 0);
const code = [...gzipped.keys()].filter((name) => /\.(js|css)$/.test(name));
// What the overview loads by itself after it is shown counts as well: charts.
const first = new Set([...needed('index.html'), ...needed(FIRST_PAGE), ...needed('style.css'), 'theme.js']);
for (const key of manifest[FIRST_PAGE]?.dynamicImports ?? []) needed(key, first);
const firstScript = [...first].filter((name) => name.endsWith('.js'));

for (const [name, size] of gzipped) {
  console.log(`${kib(size)}  ${first.has(name) ? '1st' : '   '}  ${name}`);
}
const all = sum(code);
const script = sum(firstScript);
console.log(`${kib(all)}  all scripts and styles, gzip (limit ${LIMIT_ALL / 1024} KiB)`);
console.log(`${kib(script)}  scripts of the first page (limit ${LIMIT_FIRST_PAGE / 1024} KiB)`);
if (all > LIMIT_ALL || script > LIMIT_FIRST_PAGE) {
  console.error('The page has grown above its limit.');
  process.exit(1);
}

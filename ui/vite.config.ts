import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';
import { lean } from './scripts/lean.mjs';

const hub = process.env['PALISADE_HUB'] ?? 'https://127.0.0.1:8443';
const proxy = { target: hub, secure: false };

export default defineConfig({
  // Relative, so that the same files work below any base path; the server puts
  // a <base> into the page.
  base: './',
  plugins: [svelte(), lean()],
  build: {
    target: ['chrome123', 'firefox121', 'safari17.5'],
    // Nothing inline: the policy of the server allows files of its own alone.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    manifest: true,
    // One file: it packs a third better than one a page, and is small.
    cssCodeSplit: false,
    reportCompressedSize: false,
    rolldownOptions: {
      // The server caches names with eight characters of hash for ever; hex
      // keeps a dash out of the hash.
      output: {
        hashCharacters: 'hex',
        // Few files, each of what is used together: compression sees what pages
        // have in common, which is a tenth of all, and names of what they share
        // are not said anew in thirty files.
        codeSplitting: {
          groups: [
            // In every page: Svelte, the frame, small pieces.
            { name: 'shell', test: /src\/(App|parts|lib|shell|pages\/SignIn|pages\/bans\/(Act|State|spans|words)|pages\/sensors\/Spark|charts\/TopList)|node_modules\/svelte/, priority: 3 },
            { name: 'charts', test: /src\/charts|node_modules\/(uplot|d3-)/, priority: 2 },
            // The first page and the public one are alone, to be there soon.
            // Who asks what happened goes from one of these to the other.
            { name: 'events', test: /src\/pages\/(explore|attacker|sessions|tried|logins|cves|payloads)\b/i, priority: 1 },
            { name: 'manage', test: /src\/pages\/(?!overview|public)/i },
          ],
        },
      },
    },
  },
  server: {
    proxy: {
      '/api': proxy,
      '/docs': proxy,
      '/openapi.json': proxy,
      '/metrics': proxy,
      '/healthz': proxy,
    },
  },
});

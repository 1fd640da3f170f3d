import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vite';

const hub = process.env['PALISADE_HUB'] ?? 'https://127.0.0.1:8443';
const proxy = { target: hub, secure: false };

export default defineConfig({
  // Relative, so that the same files work below any base path; the server puts
  // a <base> into the page.
  base: './',
  plugins: [svelte()],
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
        // What pages share is one file, not thirty of some hundred bytes each.
        codeSplitting: { groups: [{ name: 'parts', test: /src\/(parts|lib|pages\/bans\/Act)/, minShareCount: 2 }] },
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

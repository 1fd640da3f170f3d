// What the page says while the hub is behind, or does not answer at all.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { after, before, test } from 'node:test';
import { BENCH, event, freePort, launch, newPage, Palisade, shot, signIn, violations } from './palisade.mjs';

/** What a write takes on the slow disk, in milliseconds: it stands still until the test lets it go on. */
const STILL_MS = 600_000;

let browser;
before(async () => (browser = await launch()));
after(() => browser?.close());

/** A disk that is as slow as it is told; undefined where none can be mounted. */
class SlowDisk {
  static async mount(folder) {
    if (!existsSync(BENCH)) throw new Error(`${BENCH} is not there: build palisade-bench, or set PALISADE_BENCH`);
    mkdirSync(folder);
    const self = new SlowDisk();
    self.child = spawn(BENCH, ['slowdisk', folder], { stdio: ['pipe', 'pipe', 'inherit'] });
    self.ended = new Promise((done) => self.child.on('exit', done));
    const lines = createInterface({ input: self.child.stdout });
    const mounted = new Promise((done) => lines.once('line', () => done(true)));
    return (await Promise.race([mounted, self.ended.then(() => false)])) ? self : undefined;
  }

  takes(milliseconds) {
    this.child.stdin.write(`${milliseconds}\n`);
  }

  async unmount() {
    this.child.stdin.end();
    await this.ended;
  }
}

test('a store that cannot keep up is said, with how much waits and since when, until it has caught up', { timeout: 300_000 }, async (context) => {
  let disk;
  const mount = async (data) => (disk = await SlowDisk.mount(join(data, 'store')));
  const slow = await Palisade.start({ demo: false, before: mount });
  try {
    if (!disk) return context.skip('a file system cannot be mounted here; that needs root and /dev/fuse');
    const there = await newPage(browser);
    await signIn(there, slow.url);
    await there.locator('[data-behind]').waitFor({ state: 'detached' });
    disk.takes(STILL_MS);
    const start = Date.now();
    const events = Array.from({ length: 300 }, (_, n) => event(start - n, 'data.received', { request: `late ${n}` }));
    assert.ok(await slow.deliver(events), 'the spool takes what the store cannot yet');
    const banner = there.locator('[data-behind=behind]');
    await banner.waitFor({ timeout: 90_000 }).catch((error) => assert.fail(`${error.message}\n${slow.log}`));
    const text = await banner.innerText();
    assert.match(text, /The event store is behind\./);
    // The hub may have an event of its own to tell meanwhile.
    const [, records] = text.match(/(\d+)\srecords wait in the spool, the oldest for \d+\s(?:s|min); it holds [\d.]+\s\w+ of [\d.]+\s\w+\./) ?? assert.fail(text);
    assert.ok(Number(records) >= 300, text);
    assert.match(text, /Nothing is lost and it catches up by itself/);
    await shot(there, 'behind-slow');
    assert.deepEqual(await violations(there), []);
    disk.takes(0);
    await banner.waitFor({ state: 'detached', timeout: 90_000 });
    await there.goto(`${slow.url}/explore?q=late`);
    await there.getByText('300', { exact: true }).first().waitFor();
    await there.context().close();
  } finally {
    disk?.takes(0);
    await slow.stop(() => disk?.unmount());
  }
});

test('a hub that does not answer is said, and when it is back', { timeout: 120_000 }, async () => {
  const hub = await Palisade.start({ demo: false, port: await freePort() });
  try {
    const there = await newPage(browser);
    await signIn(there, hub.url);
    await there.locator('[data-behind]').waitFor({ state: 'detached' });
    // The page's own script comes after the sign-in; a hub that ends before that is another case.
    await there.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
    await hub.kill();
    const banner = there.locator('[data-behind=lost]');
    await banner.waitFor({ timeout: 60_000 });
    const text = await banner.innerText();
    assert.match(text, /The hub does not answer\./);
    assert.match(text, /What is shown may be old/);
    await shot(there, 'behind-lost');
    assert.deepEqual(await violations(there), []);
    await hub.run();
    await banner.waitFor({ state: 'detached', timeout: 60_000 });
    // Signed in as before: nothing was lost with it.
    await there.getByRole('navigation', { name: 'Pages' }).getByRole('link', { name: 'Explore', exact: true }).click();
    await there.getByRole('combobox', { name: 'Query' }).waitFor();
    await there.context().close();
  } finally {
    await hub.stop();
  }
});

// Plug-ins of honeypots: how they are doing, and the rows that they record.
import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { freePort, launch, newPage, Palisade, shot, signIn, violations } from './palisade.mjs';

const HOSTILE = '<img src=x onerror=alert(1)>';

/** Says lines to a server, each after its answer to the one before. */
function say(port, lines) {
  return new Promise((done, fail) => {
    const socket = connect(port, '127.0.0.1');
    let next = 0;
    socket.setTimeout(15_000, () => socket.destroy(new Error('silence')));
    socket.on('error', fail);
    socket.on('close', done);
    socket.on('data', () => (next < lines.length ? socket.write(`${lines[next++]}\r\n`) : socket.end()));
  });
}

let browser;
let hub;
let port;
let folder;
before(async () => {
  browser = await launch();
  port = await freePort();
  folder = mkdtempSync(join(tmpdir(), 'palisade-plugin-'));
  mkdirSync(join(folder, 'broken'));
  writeFileSync(join(folder, 'broken', 'init.luau'), 'return {\n');
  const settings = `[[honeypot.plugin]]\nname = "ftp"\nport = ${port}\n\n[[honeypot.plugin]]\npath = "${join(folder, 'broken')}"\n`;
  hub = await Palisade.start({ demo: false, settings });
  await say(port, ['USER root', 'PASS toor', `USER ${HOSTILE}`, 'PASS x', 'QUIT']);
});
after(async () => {
  await browser?.close();
  await hub?.stop();
  rmSync(folder, { recursive: true, force: true });
});

describe('plug-ins', { timeout: 180_000 }, () => {
  let page;
  const row = (name) => page.getByRole('region', { name: 'Table of plug-ins' }).locator('tr[data-key]', { hasText: name });
  const rows = () => page.getByRole('region', { name: 'Table of rows' });
  const looks = async (name, ready) => {
    for (const [width, scheme] of [[1440, 'dark'], [390, 'dark'], [390, 'light'], [1440, 'light']]) {
      await page.setViewportSize({ width, height: 900 });
      await page.emulateMedia({ colorScheme: scheme });
      await ready();
      await shot(page, `${name}-${width}-${scheme}`);
      assert.deepEqual(await violations(page), [], `${name} ${width} ${scheme}`);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing sticks out');
    }
  };
  before(async () => {
    page = await newPage(browser);
    await signIn(page, hub.url);
  });
  after(() => page?.context().close());

  test('each is listed with its state; one that cannot serve says why', async () => {
    await page.getByRole('navigation', { name: 'Pages' }).getByRole('link', { name: 'Plug-ins' }).click();
    await row('ftp').getByText('Serving', { exact: true }).waitFor();
    await row('broken').getByText('Not serving').waitFor();
    await looks('plugins', () => row('ftp').waitFor());
    await row('broken').getByRole('link').click();
    const side = page.getByRole('region', { name: 'Details of the plug-in' });
    await side.getByText(/init\.luau/).first().waitFor();
    assert.deepEqual(await violations(page), []);
    await page.keyboard.press('Escape');
    await side.waitFor({ state: 'detached' });
  });

  test('its rows stand in its own columns, and lead to their events', async () => {
    await row('ftp').getByRole('link').click();
    const side = page.getByRole('region', { name: 'Details of the plug-in' });
    await shot(page, 'plugin-details');
    assert.deepEqual(await violations(page), []);
    await side.getByRole('link', { name: 'Its rows' }).click();
    await rows().getByText('USER').first().waitFor();
    await rows().getByText(HOSTILE).first().waitFor();
    assert.equal(await page.locator('#main img').count(), 0);
    await looks('plugin-rows', () => rows().waitFor());
    await rows().getByRole('link').first().click();
    await page.getByRole('region', { name: 'Event details' }).waitFor();
    assert.deepEqual(page.complaints, [], 'no error, warning or policy violation');
  });
});

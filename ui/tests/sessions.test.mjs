// The page of sessions in a real browser: a real client is recorded by the
// honeypot, listed, replayed and sought in.
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { after, afterEach, before, describe, test } from 'node:test';
import { launch, newPage, Palisade, shot, signIn, violations } from './palisade.mjs';

const HOSTILE = '<img src=x onerror=alert(1)>';
let hub;
let browser;
let page;

/** A client of the Telnet honeypot: waits for the first text of each pair, types the second. */
function telnet(dialogue) {
  const [host, port] = hub.address('honeypot telnet on').split(':');
  return new Promise((done, fail) => {
    const socket = connect(Number(port), host);
    let heard = '';
    const left = [...dialogue];
    socket.setTimeout(30_000, () => socket.destroy(new Error(`telnet: silence after '${heard}'`)));
    socket.on('error', fail);
    socket.on('data', (bytes) => {
      heard += bytes.toString('latin1');
      while (left.length && heard.includes(left[0][0])) {
        const [wait, type] = left.shift();
        heard = heard.slice(heard.indexOf(wait) + wait.length);
        if (type === null) return socket.destroy(), done();
        // As long as a person takes, so that each command has its moment.
        setTimeout(() => socket.write(type), 300);
      }
    });
  });
}

before(async () => {
  // No demonstration: an empty list is looked at first.
  hub = await Palisade.start({ demo: false });
  browser = await launch();
  page = await newPage(browser);
  page.setDefaultTimeout(20_000);
  await signIn(page, hub.url);
});
afterEach(async (context) => {
  if (context.error ?? context.passed === false) await shot(page, `failed-${context.name.slice(0, 40).replace(/\W+/g, '-')}`);
});
after(async () => {
  await browser?.close();
  await hub?.stop();
});

const terminal = () => page.locator('.screen');
const rows = () => page.getByRole('region', { name: 'Table of sessions' }).locator('tbody tr');

describe('the page of sessions', { timeout: 240_000 }, () => {
  test('an empty list says what fills it', async () => {
    await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
    await page.keyboard.press('g');
    await page.keyboard.press('t');
    await page.getByText('No session in this time').waitFor();
    await page.getByText('Whoever connects to a honeypot makes one').waitFor();
    assert.deepEqual(await violations(page), []);
  });

  test('a client that was there is listed, and one that only knocked is left out on demand', async () => {
    await telnet([
      ['login: ', 'root\r\n'],
      ['Password: ', 'vizxv\r\n'],
      // The prompt, which is drawn for each installation, stands behind the help.
      ["list of built-in commands.", "PS1='@@ '\r\n"],
      ['\r\n@@ ', 'uname -a\r\n'],
      ['\r\n@@ ', `echo '${HOSTILE}'; echo -e '\\033[1;31mred\\033[0m \\033]0;owned\\007after'\r\n`],
      ['after\r\n@@ ', 'wget http://127.0.0.1:8/x\r\n'],
      ['\r\n@@ ', 'clear; echo the-end\r\n'],
      ['the-end\r\n@@ ', null],
    ]);
    await telnet([['login: ', null]]);
    await page.goto(`${hub.url}/sessions`);
    await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 2);
    await page.getByRole('button', { name: 'Recorded' }).click();
    await page.waitForURL(/of=recorded/);
    await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 1);
    const text = await rows().first().innerText();
    assert.match(text, /127\.0\.0\.1[\s\S]*root[\s\S]*5[\s\S]*1/);
    assert.deepEqual(await violations(page), []);
    await shot(page, 'sessions');
    // Without a mouse.
    await rows().first().locator('a[data-row]').focus();
    await page.keyboard.press('Enter');
    await page.waitForURL(/session=/);
  });

  test('it is replayed, and a command is sought', async () => {
    await page.getByRole('button', { name: /uname -a/ }).click();
    await terminal().getByText(/^Linux /).waitFor();
    assert.equal(await terminal().getByText(HOSTILE).count(), 0, 'that came later');
    await page.getByRole('button', { name: /onerror/ }).click();
    await terminal().getByText(HOSTILE, { exact: true }).waitFor();
    assert.equal(await page.locator('#main img').count(), 0);
    const red = terminal().locator('span', { hasText: /^red$/ });
    assert.match(await red.evaluate((span) => getComputedStyle(span).color), /rgb\(255, 123, 114\)/);
    assert.equal(await terminal().locator('.line', { hasText: /^red after$/ }).count(), 1, 'a title is no text');
    assert.deepEqual(await violations(page), []);
    await shot(page, 'session-player');

    // From the beginning to the end, without the pauses.
    const position = page.getByRole('slider', { name: 'Position' });
    await position.fill('0');
    assert.equal(await terminal().getByText('@@').count(), 0);
    await page.getByRole('button', { name: '8×' }).click();
    await page.getByRole('button', { name: 'Play' }).click();
    await terminal().getByText('the-end', { exact: true }).waitFor();
    assert.equal(await terminal().getByText('Linux').count(), 0, 'the screen was cleared');
    await page.getByRole('button', { name: 'Play' }).waitFor();
    // Keys: five seconds back is the beginning of so short a session.
    await terminal().focus();
    await page.keyboard.press('ArrowLeft');
    await page.waitForFunction(() => Number(document.querySelector('input[type=range]').value) < 5000);
    assert.deepEqual(page.complaints, []);
  });

  test('it is saved, and another client of the same address is one step away', async () => {
    const saving = page.waitForEvent('download');
    await page.getByRole('button', { name: 'Recording' }).click();
    const file = await saving;
    assert.match(file.suggestedFilename(), /^[0-9a-f]+\.cast$/);
    const cast = await (await file.createReadStream()).toArray();
    assert.match(Buffer.concat(cast).toString(), /^\{.*"version":2.*\}\n\[0\.000,"o",/);
    await page.keyboard.press('Escape');
    await rows().first().waitFor();
    await page.goBack();
    await terminal().waitFor();
  });

  test('dark, and on a phone', async () => {
    await page.emulateMedia({ colorScheme: 'dark' });
    await page.getByRole('button', { name: /uname -a/ }).click();
    await terminal().getByText(/^Linux /).waitFor();
    assert.deepEqual(await violations(page), []);
    await shot(page, 'session-player-dark');
    await page.setViewportSize({ width: 390, height: 844 });
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing sticks out');
    assert.deepEqual(await violations(page), []);
    await shot(page, 'session-player-phone');
    await page.getByRole('button', { name: 'Back to the list' }).click();
    await rows().first().waitFor();
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth));
    await shot(page, 'sessions-phone');
  });
});

// The page of bans in a real browser against the real binary: its own agent
// decides, another one carries out what it hears.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { appendFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { BINARY, launch, newPage, Palisade, shot, signIn, violations } from './palisade.mjs';

const HOSTILE = '<img src=x onerror=alert(1)>';
let hub;
let browser;
let page;
let agent;
const folder = mkdtempSync(join(tmpdir(), 'palisade-agent-'));

/** `palisade agent` of a machine elsewhere; its firewall is a program that does nothing. */
function startAgent() {
  const pin = /certificate SHA-256 (\S+)/.exec(hub.printed)[1];
  const key = hub.command(['key', 'add', 'web-2', '--scope', 'ingest']).trim().split(/\s+/).find((word) => word.startsWith('pal_'));
  mkdirSync(join(folder, 'data'));
  writeFileSync(join(folder, 'key'), key);
  writeFileSync(join(folder, 'auth.log'), '');
  writeFileSync(
    join(folder, 'palisade.toml'),
    `data = "${folder}/data"
sensor = "web-2"
[agent]
host = "db.example"
[agent.hub]
url = "${hub.url}"
key_file = "${folder}/key"
pin = "${pin}"
[agent.detect]
allow = [{ value = "203.0.113.0/24", reason = "our partner" }]
[agent.enforce]
method = "command"
ban = ["true", "{ip}"]
unban = ["true", "{ip}"]
[[agent.sources]]
type = "file"
path = "${folder}/auth.log"
`,
  );
  agent = spawn(BINARY, ['agent', '--config', join(folder, 'palisade.toml')], { stdio: 'ignore' });
}

before(async () => {
  hub = await Palisade.start();
  startAgent();
  browser = await launch();
  page = await newPage(browser);
  page.setDefaultTimeout(15_000);
  await signIn(page, hub.url);
});
afterEach(async (context) => {
  if (context.error ?? context.passed === false) await shot(page, `failed-${context.name.slice(0, 40).replace(/\W+/g, '-')}`);
});
after(async () => {
  await browser?.close();
  agent?.kill('SIGKILL');
  await hub?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const go = (path) => page.goto(hub.url + path);
const row = (target) => page.getByRole('row').filter({ has: page.locator('.target', { hasText: new RegExp(`^${target.replaceAll('.', '\\.')}$`) }) });
const details = () => page.getByRole('region', { name: 'Decision details' });
const dialog = (name) => page.getByRole('dialog', { name });
const tab = (name) => page.getByRole('tab', { name });
let second = 0;
function attack(address, user = 'root') {
  const from = Date.now() - 60_000;
  const line = (n) => `${new Date(from + (second += 100)).toISOString()} web-7 sshd[${1000 + n}]: Failed password for invalid user ${user} from ${address} port 4711 ssh2\n`;
  appendFileSync(join(hub.home, 'auth.log'), Array.from({ length: 6 }, (_, n) => line(n)).join(''));
}
async function ban(target, { reason = '', note = '', span = '' } = {}) {
  await page.getByRole('button', { name: 'Ban…', exact: true }).first().click();
  const form = dialog('Ban by hand');
  await form.getByLabel('Address or network').fill(target);
  if (span) await form.getByRole('combobox').selectOption({ label: span });
  await form.getByLabel('Reason').fill(reason);
  await form.getByLabel('Note').fill(note);
  await form.getByLabel('Note').press('Enter');
  return form;
}

describe('the page of bans', { timeout: 300_000 }, () => {
  test('an empty list says what fills it, and a ban by hand is there at once', async () => {
    await go('/rules');
    // Keys count once the page is there.
    await page.getByRole('heading', { level: 1, name: 'Rules' }).waitFor();
    await page.keyboard.press('g');
    await page.keyboard.press('b');
    await page.waitForURL(/\/bans/);
    await tab(/^In force/).waitFor();
    await page.getByRole('button', { name: 'Ban…' }).click();
    assert.deepEqual(await violations(page), []);
    await shot(page, 'bans-form');
    await page.keyboard.press('Escape');
    const form = await ban('127.0.0.1');
    await form.getByRole('alert').getByText('a loopback address is never banned').waitFor();
    await form.getByLabel('Address or network').fill('198.51.100.7');
    await form.getByLabel('Reason').fill(HOSTILE);
    await form.getByRole('combobox').selectOption({ label: 'Another time…' });
    await form.getByLabel('How long').fill('soon');
    await form.getByRole('button', { name: 'Ban', exact: true }).click();
    await form.getByRole('alert').getByText('Write a span of time').waitFor();
    await form.getByLabel('How long').fill('90m');
    await form.getByRole('button', { name: /^Ban for 1.h.30.min$/ }).click();
    await form.waitFor({ state: 'detached' });
    await row('198.51.100.7').getByText(/^1.h.(29|30).min$/).waitFor();
    await row('198.51.100.7').getByText(HOSTILE).waitFor();
    assert.equal(await page.locator('#main img').count(), 0);
    page.complaints = page.complaints.filter((text) => !/status of 422/.test(text));
    assert.deepEqual(page.complaints, []);
  });

  test('what each host does about it is told, with the reason of who does not', async () => {
    await row('198.51.100.7').getByRole('link').first().click();
    await details().getByText('Made by hand: no event led to it.').waitFor();
    const host = (name) => details().locator('li').filter({ hasText: name });
    await host('web-2 (db.example)').getByText('Carried out').waitFor({ timeout: 40_000 });
    await host('edge-1').getByText('Dry-run: not blocked').waitFor({ timeout: 40_000 });
    await details().getByText('carried out on 1 of 2').waitFor();
    assert.deepEqual(await violations(page), []);
    await shot(page, 'bans-details');
    await page.keyboard.press('Escape');
    await details().waitFor({ state: 'detached' });
    await ban('203.0.113.9', { reason: 'scans us', note: 'ticket 42' });
    await row('203.0.113.9').getByRole('link').first().click();
    await host('web-2').getByText('Not obeyed').waitFor({ timeout: 40_000 });
    await host('web-2').getByText('allowed by 203.0.113.0/24: our partner').waitFor();
    await details().getByText('ticket 42').waitFor();
  });

  test('evidence leads to the events behind a decision', async () => {
    attack('198.51.100.20', HOSTILE);
    await go('/bans');
    await row('198.51.100.20').getByText('ssh-bruteforce').waitFor({ timeout: 20_000 });
    await row('198.51.100.20').getByRole('link').first().click();
    await page.waitForFunction(() => document.querySelectorAll('[aria-label="Decision details"] ol li').length === 6);
    assert.equal(await page.locator('#main img').count(), 0);
    await shot(page, 'bans-evidence');
    const address = page.url();
    await details().getByRole('link', { name: 'Events behind it' }).click();
    await page.waitForURL(/explore\?q=id%3A/);
    await page.waitForFunction(() => document.querySelectorAll('[role=grid] [role=row][aria-selected]').length === 6);
    // The address of what is open brings it back, whatever the list has.
    await page.goto(`${address}&find=nobody-has-this`);
    await details().getByText('198.51.100.20').first().waitFor();
    await page.getByText('None fits').waitFor();
  });

  test('lists are narrowed by the address, and saved', async () => {
    await go('/bans');
    await row('203.0.113.9').waitFor();
    await page.getByLabel(/^Find an address/).fill('TICKET');
    await row('198.51.100.7').waitFor({ state: 'detached' });
    await row('203.0.113.9').waitFor();
    assert.match(page.url(), /find=TICKET/);
    await page.getByLabel(/^Find an address/).fill('');
    await row('198.51.100.20').getByRole('button', { name: 'ssh-bruteforce' }).click();
    await page.waitForURL(/scenario=ssh-bruteforce/);
    await row('203.0.113.9').waitFor({ state: 'detached' });
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'CSV' }).click()]);
    const text = readFileSync(await download.path(), 'utf8');
    assert.match(text, /^target,type,state/);
    assert.match(text, /198\.51\.100\.20,ban,active/);
    assert.ok(!text.includes('203.0.113.9'));
    await page.getByRole('button', { name: /scenario:/ }).click();
    await row('203.0.113.9').waitFor();
  });

  test('a lift has a reason, and what it ended is in the past', async () => {
    await go('/bans');
    await row('198.51.100.7').getByRole('link').first().click();
    await details().getByRole('button', { name: 'Lift…' }).click();
    const form = dialog('Lift the ban of 198.51.100.7?');
    await form.getByLabel('Reason').fill('our own scanner');
    assert.deepEqual(await violations(page), []);
    await form.getByRole('button', { name: 'Lift', exact: true }).click();
    await form.waitFor({ state: 'detached' });
    await details().getByText('tester: our own scanner').waitFor();
    await page.keyboard.press('Escape');
    await row('198.51.100.7').waitFor({ state: 'detached' });
    await tab(/^Past/).click();
    await row('198.51.100.7').getByText(/lifted by tester/).waitFor();
  });

  test('who is allowed is let in, withheld from then on, and free again when removed', async () => {
    await go('/bans');
    await row('198.51.100.20').waitFor();
    await page.getByRole('button', { name: 'Allow…', exact: true }).first().click();
    const form = dialog('Spare somebody');
    await form.getByLabel('Address or network').fill('198.51.100.0/24');
    await form.getByLabel('Reason').fill('our office');
    await form.getByRole('combobox').selectOption({ label: '1 day' });
    await form.getByRole('button', { name: /^Spare for 1.d$/ }).click();
    await form.waitFor({ state: 'detached' });
    await row('198.51.100.20').waitFor({ state: 'detached' });
    // An agent elsewhere keeps the list: it does not even decide.
    const kept = () => readFileSync(join(folder, 'data/agent/directions.json'), 'utf8');
    for (let n = 0; n < 200 && !kept().includes('198.51.100.0/24'); n += 1) await pause(50);
    assert.match(kept(), /"reason":"our office"/);
    const refused = await ban('198.51.100.21');
    await refused.getByRole('alert').getByText('is spared by the entry 198.51.100.0/24').waitFor();
    await page.keyboard.press('Escape');
    await tab('Allowlist').click();
    const entry = page.getByRole('row').filter({ hasText: 'our office' });
    await entry.getByText(/^23.h.5\d.min$/).waitFor();
    assert.deepEqual(await violations(page), []);
    await entry.getByRole('button', { name: 'Remove 198.51.100.0/24' }).click();
    await dialog('Remove 198.51.100.0/24 from the allowlist?').getByRole('button', { name: 'Remove' }).click();
    await entry.waitFor({ state: 'detached' });
    await page.getByText('Nobody is on the allowlist').waitFor();
    page.complaints = page.complaints.filter((text) => !/status of 422/.test(text));
  });

  test('hosts and bouncers are listed with how they do', async () => {
    await go('/bans?show=hosts');
    const host = page.locator('tr[data-key="web-2/db.example"]');
    await host.getByText('Enforces').waitFor();
    await host.getByText('command').waitFor();
    await page.locator('tr').filter({ hasText: 'edge-1' }).getByText('Dry-run', { exact: true }).waitFor();
    await page.getByText('No bouncer has asked').waitFor();
    await host.getByRole('link').first().click();
    const side = page.getByRole('region', { name: 'Host details' });
    await side.getByText('allowed by 203.0.113.0/24: our partner').waitFor();
    assert.deepEqual(await violations(page), []);
    await shot(page, 'bans-host');
  });

  test('who may not act sees no buttons', async () => {
    hub.addUser('viewer', 'viewer');
    const there = await newPage(browser);
    await signIn(there, `${hub.url}/bans`, 'viewer');
    await there.getByRole('row').filter({ hasText: '203.0.113.9' }).getByRole('link').first().click();
    await there.getByRole('region', { name: 'Decision details' }).getByText('ticket 42').waitFor();
    for (const name of [/^Ban/, /^Allow…/, /^Lift/]) assert.equal(await there.getByRole('button', { name }).count(), 0, String(name));
    await there.goto(`${hub.url}/bans?show=allowlist`);
    await there.getByText('Nobody is on the allowlist').waitFor();
    assert.equal(await there.getByRole('button', { name: /^Remove/ }).count(), 0);
    assert.deepEqual(there.complaints, []);
    await there.context().close();
  });

  test('an event is answered with a ban where its address is shown', async () => {
    await go('/explore?q=ip:198.51.100.20%20kind:auth.attempted');
    await page.locator('[role=grid] [role=row][aria-selected]').first().click();
    const drawer = page.getByRole('region', { name: 'Event details' });
    await drawer.getByRole('button', { name: 'Ban for 4 h' }).click();
    await page.getByText('198.51.100.20 is banned on all machines for 4 h').waitFor();
    await go('/bans?find=Explore');
    await row('198.51.100.20').getByText(/^(3.h.59|4.h.00).min$/).waitFor();
  });

  test('it fits every width, in light and dark, without violations', async () => {
    for (const [n, reason] of ['scans us', 'a longer reason that says in many words what has happened and why this is so', 'x'].entries()) {
      hub.command(['ban', `2001:db8:85a3:8d3:1319:8a2e:370:${7348 + n}`, '--for', `${n + 1}d`, '--reason', reason, '--note', 'noted']);
      hub.command(['ban', `192.0.${n}.0/24`, '--for', '40s', '--reason', reason]);
    }
    hub.command(['allow', '192.0.2.0/24', '--reason', 'a network of ours, with a reason that is a little longer than others']);
    hub.command(['allow', '2001:db8:1::/48']);
    for (const [path, name, ready] of [
      ['/bans', 'bans', () => row('203.0.113.9').waitFor()],
      ['/bans?show=all', 'bans-all', () => row('203.0.113.9').waitFor()],
      ['/bans?show=allowlist', 'bans-allowlist', () => page.getByText('2001:db8:1::/48').waitFor()],
      ['/bans?show=hosts', 'bans-hosts', () => page.getByText('Enforces').waitFor()],
    ]) {
      for (const scheme of ['light', 'dark']) {
        await page.emulateMedia({ colorScheme: scheme });
        for (const width of [390, 768, 1440, 2560]) {
          await page.setViewportSize({ width, height: width === 390 ? 844 : 1000 });
          await go(path);
          await ready();
          const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
          assert.ok(over <= 0, `${path} is ${over} px too wide at ${width}`);
          await page.screenshot({ path: new URL(`../test-results/${name}-${scheme}-${width}.png`, import.meta.url).pathname, fullPage: true });
          if (width === 390 || width === 1440) assert.deepEqual(await violations(page), [], `${path} at ${width}, ${scheme}`);
        }
      }
    }
    await page.emulateMedia({ colorScheme: 'light' });
    await page.setViewportSize({ width: 390, height: 844 });
    await go('/bans');
    await row('203.0.113.9').getByRole('link').first().click();
    await details().getByText('ticket 42').waitFor();
    assert.deepEqual(await violations(page), []);
    await shot(page, 'bans-details-390');
    await page.emulateMedia({ colorScheme: null });
    await page.setViewportSize({ width: 1440, height: 900 });
  });
});

// The pages of detection, rules and logins, in a real browser against the real
// binary: its agent reads a log, its detector decides.
import assert from 'node:assert/strict';
import { appendFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { event, freePort, launch, newPage, Palisade, shot, signIn, violations } from './palisade.mjs';

const HOSTILE = '<img src=x onerror=alert(1)>\u202E';
const OWN = `name = "own-probe"\ndescription = "Names that nobody has"\nkind = "trigger"\nfilter = "kind:user.probed user:nobody-*"\ndecision = "none"\n`;

let hub;
let browser;
let page;
const folder = mkdtempSync(join(tmpdir(), 'palisade-scenarios-'));

before(async () => {
  writeFileSync(join(folder, 'own-probe.toml'), OWN);
  // After its crash it is found where it was.
  hub = await Palisade.start({ port: await freePort(), settings: `[agent.detect]\nscenarios = "${folder}"\ndisable = ["http-bad-bots"]` });
  browser = await launch();
  page = await newPage(browser);
  await signIn(page, hub.url);
});
afterEach(async (context) => {
  if (context.error ?? context.passed === false) await shot(page, `failed-${context.name.slice(0, 40).replace(/\W+/g, '-')}`);
});
after(async () => {
  await browser?.close();
  await hub?.stop();
  rmSync(folder, { recursive: true, force: true });
});

const go = (path) => page.goto(hub.url + path);
const row = (name) => page.locator(`tr[data-key="${name}"]`);
const opening = () => page.getByRole('region', { name: 'Scenario details' });
const tester = () => page.getByRole('region', { name: 'Test a line', exact: true });

let second = 0;
/** Lines as sshd writes them, a second apart, a minute ago. */
function sshd(...messages) {
  const from = Date.now() - 60_000;
  const lines = messages.map((message) => `${new Date(from + (second += 100)).toISOString()} web-7 sshd[${1000 + second}]: ${message}\n`);
  appendFileSync(join(hub.home, 'auth.log'), lines.join(''));
}
const failed = (user, address) => `Failed password for invalid user ${user} from ${address} port 4711 ssh2`;
const attack = (address, user = 'root') => sshd(...Array.from({ length: 6 }, () => failed(user, address)));

/** Events that a query finds, once there are so many. */
async function events(q, least) {
  const end = Date.now() + 20_000;
  for (;;) {
    const found = await page.evaluate(async (text) => (await (await fetch(`api/v1/events?q=${encodeURIComponent(text)}`)).json()).events, q);
    if (found.length >= least) return found;
    assert.ok(Date.now() < end, `waited in vain for ${q}`);
    await pause(50);
  }
}
async function fits(path, ready, name) {
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
  await page.emulateMedia({ colorScheme: null });
  await page.setViewportSize({ width: 1440, height: 900 });
}

describe('the page of rules', { timeout: 300_000 }, () => {
  test('an attack on this machine is a hit, and leads to the events behind it', async () => {
    attack('198.51.100.7');
    await events('kind:decision.made ip:198.51.100.7', 1);
    await go('/rules?q=-sensor:demo');
    await row('ssh-bruteforce').locator('td').nth(2).getByText('1', { exact: true }).waitFor();
    await row('own-probe').getByText('own', { exact: true }).waitFor();
    await row('ssh-break-in').getByText('break-in', { exact: true }).first().waitFor();
    assert.equal(await row('http-bad-bots').count(), 0);
    await page.getByText('Not used, as the settings say: http-bad-bots.').waitFor();
    await page.getByRole('note', { name: 'What is enforced' }).getByText('edge-1').waitFor();
    await row('ssh-bruteforce').getByRole('link').first().click();
    await opening().getByText('more than 5 at once, one forgotten each 10s').waitFor();
    await opening().getByText('198.51.100.7').waitFor();
    assert.deepEqual(await violations(page), []);
    await shot(page, 'rules-details');
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Escape');
    await opening().waitFor({ state: 'detached' });
    await row('ssh-bruteforce').getByRole('link').first().click();
    await opening().getByRole('link', { name: 'One hit' }).click();
    await page.waitForURL(/\/explore\?q=-sensor%3Ademo\+kind%3Ascenario\.triggered\+analyzer%3Assh-bruteforce/);
    await page.locator('[role=grid] [role=row][aria-selected]').first().waitFor();
    assert.equal(await page.locator('[role=grid] [role=row][aria-selected]').count(), 1);
    await page.goBack();
    await opening().getByRole('link', { name: 'Last hit' }).click();
    await page.getByRole('region', { name: 'Event details' }).getByRole('link', { name: 'Events behind it' }).click();
    await page.waitForURL(/q=id%3A/);
    await page.waitForFunction(() => document.querySelectorAll('[role=grid] [role=row][aria-selected]').length === 6);
  });

  test('an admin switches simulation, the detector follows at once and over a crash', async () => {
    const elsewhere = event(Date.now() - 1_000, 'scenario.triggered', { analyzer: 'of-another-agent', source: { address: '203.0.113.9' } });
    assert.ok(await hub.deliver([elsewhere]));
    await events('analyzer:of-another-agent', 1);
    await go('/rules');
    await row('of-another-agent').getByText('elsewhere', { exact: true }).waitFor();
    const toggle = () => page.getByRole('switch', { name: 'Simulate ssh-bruteforce', exact: true });
    await toggle().focus();
    await page.keyboard.press('Enter');
    const dialog = page.getByRole('dialog', { name: 'Simulate ssh-bruteforce?' });
    await dialog.getByText('This reaches edge-1, hub at once').waitFor();
    await dialog.getByText('It does not reach sender now.').waitFor();
    assert.deepEqual(await violations(page), []);
    await shot(page, 'rules-confirm');
    await dialog.getByRole('button', { name: 'Cancel' }).click();
    assert.equal(await toggle().getAttribute('aria-checked'), 'false', 'nothing was done');
    await toggle().click();
    await dialog.getByRole('button', { name: 'Simulate', exact: true }).click();
    await dialog.waitFor({ state: 'detached' });
    await page.waitForFunction(() => document.querySelector('[aria-label="Simulate ssh-bruteforce"]')?.getAttribute('aria-checked') === 'true');
    attack('198.51.100.8');
    const [decision] = await events('kind:decision.made ip:198.51.100.8', 1);
    assert.equal(decision.attributes.simulated, true);

    await hub.kill();
    await hub.run();
    await go('/rules');
    // What was under way when it was killed.
    page.complaints = page.complaints.filter((text) => !/ERR_(CONNECTION|EMPTY|INCOMPLETE|NETWORK)/.test(text));
    await page.waitForFunction(() => document.querySelector('[aria-label="Simulate ssh-bruteforce"]')?.getAttribute('aria-checked') === 'true');
    attack('198.51.100.9');
    const [later] = await events('kind:decision.made ip:198.51.100.9', 1);
    assert.equal(later.attributes.simulated, true, 'also after kill -9');
    await toggle().click();
    await page.getByRole('button', { name: 'End simulation' }).click();
    await page.waitForFunction(() => document.querySelector('[aria-label="Simulate ssh-bruteforce"]')?.getAttribute('aria-checked') === 'false');
    attack('198.51.100.10');
    const [real] = await events('kind:decision.made ip:198.51.100.10', 1);
    assert.equal(real.attributes.simulated, false);
  });

  test('who may not switch sees how it is', async () => {
    hub.addUser('viewer', 'viewer');
    const there = await newPage(browser);
    await signIn(there, `${hub.url}/rules`, 'viewer');
    await there.locator('tr[data-key="port-scan"]').getByText('Off').waitFor();
    assert.equal(await there.getByRole('switch', { name: /^Simulate / }).count(), 0);
    await there.getByRole('button', { name: 'Example' }).click();
    await there.locator('[data-end]').getByText('one decision').waitFor();
    assert.deepEqual(there.complaints, []);
    await there.context().close();
  });

  test('a tested line is shown as a chain from the line to the decision', async () => {
    await go('/rules');
    await tester().getByRole('button', { name: 'Example' }).click();
    await page.locator('[data-end]').getByText('6 lines: one decision.').waitFor();
    await tester().getByText('1 of 6').waitFor();
    await tester().getByText(/^ban 198\.51\.100\.7 for 4/).waitFor();
    await tester().screenshot({ path: new URL('../test-results/rules-test.png', import.meta.url).pathname });
    assert.deepEqual(await violations(page), []);
    const lines = tester().getByLabel(/^Lines of a log/);
    await lines.fill(`Nov 20 10:00:00 web-1 sshd[7]: ${failed(HOSTILE, '203.0.113.5')}`);
    await lines.press('Control+Enter');
    await page.locator('[data-end]').getByText('The line: no alert.').waitFor();
    const chip = await tester().locator('.fields').innerText();
    assert.ok(chip.includes('<img src=x onerror=alert(1)>‹U+202E›'), chip);
    assert.equal(await page.locator('#main img').count(), 0);
    await tester().getByLabel('Scenarios that do not match, too').check();
    await tester().getByRole('button', { name: 'Test', exact: true }).click();
    await tester().getByText('does not match').first().waitFor();
    await lines.fill('no log has such a line');
    await tester().getByRole('button', { name: 'Test', exact: true }).click();
    await page.locator('[data-end]').getByText('no parser understands it').waitFor();
    await lines.fill('x\n'.repeat(21));
    await tester().getByRole('button', { name: 'Test 21 lines' }).click();
    await tester().getByRole('alert').getByText('21 lines are too many; at most 20 are explained at once.').waitFor();
    assert.deepEqual(await violations(page), []);
    // The browser itself writes the 422 to the console.
    page.complaints = page.complaints.filter((text) => !/status of 422/.test(text));
  });

  test('it fits every width, in light and dark, without violations', async () => {
    await fits('/rules', () => row('port-scan').waitFor(), 'rules');
  });
});

describe('the page of logins', { timeout: 300_000 }, () => {
  test('a break-in comes first and cannot be missed', async () => {
    await go('/logins?q=-sensor:demo%20ip:203.0.113.66');
    await page.getByText('No break-in in this time').waitFor();
    attack('203.0.113.66', HOSTILE);
    sshd('Accepted password for backup from 203.0.113.66 port 4712 ssh2');
    await events('kind:scenario.triggered analyzer:ssh-break-in ip:203.0.113.66', 1);
    await page.reload();
    const panel = page.getByRole('region', { name: 'Break-ins found' });
    await panel.getByRole('heading', { name: 'One break-in' }).waitFor();
    await panel.getByText('203.0.113.66').waitFor();
    await panel.getByText('backup').waitFor();
    await panel.getByText('web-7').waitFor();
    await page.getByRole('link', { name: '1 accepted logins' }).waitFor();
    await page.getByRole('link', { name: '6 failed logins' }).waitFor();
    const above = async (a, b) => (await a.boundingBox()).y < (await b.boundingBox()).y;
    assert.ok(await above(panel, page.getByRole('region', { name: 'Hosts' })), 'it is above all else');
    await shot(page, 'logins-break-in');
    assert.deepEqual(await violations(page), []);
    await panel.getByRole('link', { name: 'What it did' }).click();
    await page.waitForURL(/\/explore\?q=.*ip%3A203\.0\.113\.66.*event=/);
    await page.getByRole('region', { name: 'Event details' }).waitFor();
  });

  test('hosts, users and addresses are counted, and narrow the query', async () => {
    await go('/logins?q=-sensor:demo');
    const hosts = page.getByRole('region', { name: 'Logins by host' });
    const users = page.getByRole('region', { name: 'Logins by user' });
    const addresses = page.getByRole('region', { name: 'Logins by address' });
    await hosts.locator('tr[data-row="web-7"]').waitFor();
    assert.equal(await addresses.locator('tbody tr').first().getAttribute('data-row'), '203.0.113.66', 'who broke in comes first');
    const text = await users.innerText();
    assert.ok(text.includes('<img src=x onerror=alert(1)>‹U+202E›'), text);
    assert.equal(await page.locator('#main img').count(), 0);
    await addresses.getByRole('button', { name: '198.51.100.7', exact: true }).click();
    await page.waitForURL(/ip%3A198\.51\.100\.7/);
    await page.getByRole('link', { name: '6 failed logins' }).waitFor();
    await addresses.locator('tr[data-row="198.51.100.7"]').getByRole('link', { name: '6' }).click();
    await page.waitForURL(/\/explore\?.*outcome%3Afailed/);
    await page.locator('[role=grid] [role=row][aria-selected]').first().waitFor();
    assert.equal(await page.locator('[role=grid] [role=row][aria-selected]').count(), 6);
  });

  test('what honeypots saw is left out unless it is asked for', async () => {
    await hub.telnetLogin('trapped', 'xc3511');
    await events('user:trapped', 1);
    await go('/logins?q=user:trapped');
    await page.getByRole('region', { name: 'Users' }).getByText('None in this time').waitFor();
    await page.getByLabel('Honeypots, too').check();
    await page.waitForURL(/honeypots=1/);
    await page.locator('tr[data-row="trapped"]').waitFor();
  });

  test('a part of the time is chosen with the mouse', async () => {
    await go('/logins');
    const chart = page.getByRole('region', { name: 'Failed', exact: true }).locator('.u-over');
    await chart.waitFor();
    const box = await chart.boundingBox();
    await page.mouse.move(box.x + box.width * 0.3, box.y + 20);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.7, box.y + 20, { steps: 5 });
    await page.mouse.up();
    await page.waitForURL(/from=.*to=/);
  });

  test('it fits every width, in light and dark, without violations', async () => {
    await fits('/logins', () => page.locator('tr[data-row="web-7"]').waitFor(), 'logins');
    assert.deepEqual(page.complaints, [], 'no error, warning or policy violation');
  });
});

test('where nothing happened yet both pages say what would fill them', { timeout: 90_000 }, async () => {
  const calm = await Palisade.start({ demo: false });
  try {
    const there = await newPage(browser);
    await signIn(there, `${calm.url}/logins`);
    await there.getByText('No break-in in this time').waitFor();
    await there.getByText('Login names, real and tried, appear here.').waitFor();
    await shot(there, 'logins-empty');
    assert.deepEqual(await violations(there), []);
    await there.getByRole('link', { name: 'Rules' }).click();
    await there.locator('tr[data-key="ssh-break-in"]').waitFor();
    await there.locator('tr[data-key="ssh-break-in"]').getByRole('link').first().click();
    await there.getByRole('region', { name: 'Scenario details' }).getByText('None in this time.').waitFor();
    await shot(there, 'rules-empty');
    assert.deepEqual(await violations(there), []);
    assert.deepEqual(there.complaints, []);
    await there.context().close();
  } finally {
    await calm.stop();
  }
});

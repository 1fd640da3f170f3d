// Machines that tell of themselves: all of them, one of them, findings, changes.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, describe, test } from 'node:test';
import { event, launch, newPage, Palisade, shot, signIn, violations } from './palisade.mjs';

const MINUTE = 60_000;
const HOSTILE = '<img src=x onerror=alert(1)>\u202e';

/** What an agent tells of a machine in an hour. */
function told(now) {
  const at = (minutes) => now - minutes * MINUTE;
  const of = (minutes, kind, attributes) => event(at(minutes), kind, { host: 'web-1', attributes });
  const section = (name, data, more = {}) =>
    of(58, 'host.reported', { section: name, snapshot: 'a1', part: 0, parts: 1, digest: 'd', count: Array.isArray(data) ? data.length : 1, data: JSON.stringify(data), ...more });
  const samples = Array.from({ length: 110 }, (_, i) =>
    of(58 - i / 2, 'host.sampled', {
      cpu_pct: 20 + 15 * Math.sin(i / 8), load1: 0.4 + i / 200, load5: 0.35, load15: 0.3, mem_total: 8e9, mem_used: 5e9 + i * 1e7, swap_total: 1e9, swap_used: 0,
      disk_total: 5e10, disk_used: 4.4e10, disk_worst_pct: 88, disk_worst: '/', net_recv: i * 3e6, net_sent: i * 1e6, uptime_secs: 86_400 * 3 + i * 30, tasks: 140, cpus: 4,
    }));
  const system = {
    hostname: 'web-1', os: { name: 'Debian GNU/Linux 12 (bookworm)' }, cpu: { model: 'A CPU', usage: 12 }, mem: { total: 8e9, used: 5e9 }, specs: { release: '6.1.0-28-amd64', machine: 'x86_64' },
    uptime: 259_200, virtualisation: 'kvm', addresses: ['192.0.2.10'], boot_time: now - 3 * 864e5, agent: '0.1.0', root: true, timezone: 'Europe/Berlin',
  };
  return [
    section('system', system),
    section('disks', [{ device: '/dev/vda1', mount: '/', type: 'ext4', total: 5e10, used: 4.4e10 }]),
    section('sockets', [{ proto: 'tcp', address: '0.0.0.0', port: 22, process: 'sshd', pid: 700, user: 'root' }, { proto: 'tcp', address: '0.0.0.0', port: 80, process: HOSTILE, pid: 701, user: 'www-data' }], { unseen: '["processes of others: needs root"]' }),
    ...samples,
    of(30, 'host.alerted', { alert: 'disk:/', rule: 'disk', subject: '/', level: 'alert', value: 88, threshold: 80, unit: 'percent', message: 'The file system / is 88 % full.', since: at(31) }),
    of(20, 'finding.opened', { check: 'ssh-root-login', title: 'Root may log in over SSH', severity: 'high', area: 'ssh', evidence: `PermitRootLogin yes ${HOSTILE}`, why: 'Everybody knows that name.', fix: 'Set PermitRootLogin no.', since: at(20) }),
    of(19, 'finding.opened', { check: 'fs-tmp-noexec', title: '/tmp lets programs run', severity: 'low', area: 'mounts', evidence: '/tmp rw,nosuid', why: 'Droppers start there.', fix: 'Add noexec.', since: at(19) }),
    of(18, 'audit.completed', { score: 81, passed: 96, failed: 2, not_judged: 4, not_applicable: 20, catalogue: '1', failed_checks: '["ssh-root-login","fs-tmp-noexec"]', duration_ms: 800 }),
    of(10, 'host.changed', { section: 'devices', action: 'added', item: `usb 1-1 ${HOSTILE}`, after: '{"id":"1d6b:0002"}' }),
    of(9, 'file.changed', { path: '/etc/passwd', change: 'modified', old_mode: '0644', new_mode: '0666', old_hash: 'a'.repeat(64), new_hash: 'b'.repeat(64), how: 'watch' }),
    event(at(5), 'auth.attempted', { host: 'web-1', source: { address: '198.51.100.9', port: 4000 }, credentials: { username: 'root', password: '1', outcome: 'failed' } }),
    event(at(4), 'auth.attempted', { host: 'web-1', source: { address: '198.51.100.9', port: 4001 }, credentials: { username: 'anna', outcome: 'accepted' } }),
  ];
}

let browser;
let hub;
before(async () => {
  browser = await launch();
  hub = await Palisade.start({ demo: false });
  assert.ok(await hub.deliver(told(Date.now())));
});
after(async () => {
  await browser?.close();
  await hub?.stop();
});

describe('servers', { timeout: 180_000 }, () => {
  let page;
  const row = (name) => page.getByRole('region', { name: 'Table of servers' }).locator('tr', { hasText: name });
  const tab = (name) => page.getByRole('tab', { name });
  const table = (name) => page.getByRole('region', { name });
  const calm = async () => {
    assert.deepEqual(await violations(page), []);
    assert.equal(await page.locator('#main img').count(), 0);
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing sticks out');
  };
  /** Pictures, and axe, at both widths and in both themes. */
  const looks = async (name, ready) => {
    for (const [width, scheme] of [[1440, 'dark'], [390, 'dark'], [390, 'light'], [1440, 'light']]) {
      await page.setViewportSize({ width, height: 900 });
      await page.emulateMedia({ colorScheme: scheme });
      await ready();
      await shot(page, `${name}-${width}-${scheme}`);
      await calm();
    }
  };
  before(async () => {
    page = await newPage(browser);
    await signIn(page, hub.url);
    // Machines are written down a little after their events are stored.
    for (let tries = 0; tries < 60; tries += 1) {
      await page.goto(`${hub.url}/servers`);
      await page.getByRole('heading', { level: 1, name: 'Servers' }).waitFor();
      await page.locator('main table, main .empty').first().waitFor();
      if ((await row('web-1').count()) > 0 && (await row('web-1').getByText('81', { exact: true }).count()) > 0) break;
    }
  });
  after(() => page?.context().close());

  test('each is listed with its state, score and numbers', async () => {
    const text = await row('web-1').innerText();
    assert.match(text, /Alert/);
    assert.match(text, /81/);
    assert.match(text, /88 %/);
    await looks('servers', () => row('web-1').waitFor());
  });

  test('one shows what is wrong now, its numbers and their history', async () => {
    await row('web-1').getByRole('link', { name: 'web-1' }).first().press('Enter');
    await page.getByRole('heading', { level: 1, name: 'web-1' }).waitFor();
    await page.getByText('The file system / is 88 % full.').waitFor();
    await page.getByText('6.1.0-28-amd64').waitFor();
    for (const name of ['CPU', 'Load', 'Memory', 'Disk', 'Network']) await page.getByRole('slider', { name: `${name} over time` }).waitFor();
    const cpu = page.getByRole('slider', { name: 'CPU over time' });
    await cpu.focus();
    await cpu.press('Home');
    assert.match(await cpu.getAttribute('aria-valuetext'), /used \d/);
    await page.getByRole('button', { name: 'Last 24 h' }).waitFor();
    await looks('server-now', () => cpu.waitFor());
  });

  test('its inventory is there section by section, with what could not be seen', async () => {
    await tab(/^Inventory/).click();
    await page.getByRole('button', { name: /^sockets/ }).click();
    await table('Table of sockets').getByText('sshd').waitFor();
    await page.getByText('processes of others: needs root').waitFor();
    await page.getByLabel('Find in sockets').fill('www-data');
    await table('Table of sockets').getByText('sshd').waitFor({ state: 'detached' });
    assert.match(page.url(), /section=sockets.*find=www-data/);
    await looks('server-inventory', () => table('Table of sockets').waitFor());
    await page.getByRole('button', { name: /^system/ }).click();
    await page.getByText('Europe/Berlin').waitFor();
  });

  test('logins there are counted, accepted beside failed', async () => {
    await tab('Logins').click();
    const logins = table('Table of logins');
    await logins.getByText('anna').waitFor();
    await logins.getByText('accepted').waitFor();
    await looks('server-logins', () => logins.waitFor());
    await tab('Bans').click();
    await page.getByText('It carries out no bans').waitFor();
    await calm();
  });

  test('findings are listed by check, suppressed with a reason and an end, and counted again', async () => {
    await page.goto(`${hub.url}/servers?view=findings`);
    const check = table('Table of findings').locator('tr[data-key="ssh-root-login"]');
    await check.waitFor();
    await check.getByText('high').waitFor();
    await looks('findings', () => check.waitFor());
    await check.getByRole('link').first().click();
    const side = page.getByRole('region', { name: 'Details of the check' });
    await side.getByText('Everybody knows that name.').waitFor();
    await side.getByText('PermitRootLogin yes').waitFor();
    await shot(page, 'finding');
    await calm();
    await side.getByRole('button', { name: /^Suppress on all/ }).click();
    const dialog = page.getByRole('dialog', { name: 'Suppress on all servers' });
    await dialog.getByLabel('Reason').fill('until the console server is replaced');
    assert.deepEqual(await violations(page), []);
    await dialog.getByRole('button', { name: 'Suppress', exact: true }).click();
    await side.getByText('Suppressed everywhere by tester').waitFor();
    await shot(page, 'finding-suppressed');
    await side.getByRole('button', { name: 'Count again' }).click();
    await side.getByText('Suppressed everywhere').waitFor({ state: 'detached' });
    await page.keyboard.press('Escape');
    await side.waitFor({ state: 'detached' });
  });

  test('changes come newest first, and lead to their events', async () => {
    await tab('Changes').click();
    const changes = table('Table of changes');
    await changes.getByText('/etc/passwd').waitFor();
    await changes.getByText('mode 0644 → 0666').waitFor();
    const texts = await changes.locator('tbody tr').allInnerTexts();
    assert.ok(texts.findIndex((text) => text.includes('/etc/passwd')) < texts.findIndex((text) => text.includes('usb 1-1')));
    await looks('changes', () => changes.waitFor());
    const download = page.waitForEvent('download');
    await page.getByRole('button', { name: 'CSV' }).click();
    assert.match(readFileSync(await (await download).path(), 'utf8'), /^at,host,what,item,more,event\r\n/);
    await changes.locator('tbody tr', { hasText: '/etc/passwd' }).getByRole('link').first().click();
    await page.getByRole('region', { name: 'Event details' }).getByText('/etc/passwd').first().waitFor();
  });

  test('a server that is not there is said, and the browser had nothing to complain about', async () => {
    await page.goto(`${hub.url}/servers?host=nobody`);
    await page.getByText('There is no host with this id.').waitFor();
    assert.deepEqual(page.complaints.filter((text) => !/\b404\b/.test(text)), [], 'no error, warning or policy violation');
  });
});

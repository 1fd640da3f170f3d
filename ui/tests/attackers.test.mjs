// Pages about attackers in a real browser against the real binary: everything
// about one address, what was tried, what honeypots are known by; and links.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, afterEach, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { event, launch, newPage, Palisade, RESULTS, shot, signIn, violations } from './palisade.mjs';

const HOSTILE = '<img src=x onerror=alert(1)>\u001b[2J\u202eevil';
const ADDRESS = '198.51.100.7';
const HASH = 'ab'.repeat(32);
let hub;
let browser;
let page;

const at = (address, port = 40_000) => ({ address, port, transport: 'tcp' });
/** Attacks of one address on two services, of others of its network, and older ones. */
function attacks(now) {
  const out = [];
  for (let n = 0; n < 12; n += 1) {
    const when = now - n * 3_600_000 - 60_000;
    const base = { source: at(ADDRESS, 40_000 + n), session: `s${String(n).padStart(19, '0')}`, category: 'SSH/console(palisade)', target: at('192.0.2.1', 22), host: 'pot-1' };
    out.push(event(when, 'connection.opened', { ...base, fingerprints: { os: 'Linux 4.20 and newer', distance: 14 }, attributes: { link: 'Ethernet' } }));
    out.push(event(when + 10, 'auth.attempted', { ...base, client: 'SSH-2.0-Go', fingerprints: { hassh: '0a07365cc01fa9fc82608ba4019af499' }, credentials: { username: 'root', password: '123456', outcome: 'failed' } }));
    // Bytes that are no UTF-8: pass, 0xff, 0xfe, word.
    out.push(event(when + 20, 'auth.attempted', { ...base, credentials: { username: 'admin', password: { base64: 'cGFzc//+d29yZA==' }, outcome: n === 0 ? 'accepted' : 'failed' } }));
    if (n === 0) {
      out.push(event(when + 30, 'command.entered', { ...base, request: HOSTILE }));
      out.push(event(when + 31, 'command.entered', { ...base, request: 'uname -a' }));
      out.push(event(when + 40, 'download.attempted', { ...base, request: 'http://203.0.113.9/x86', attributes: { tool: 'wget', outcome: 'failed' } }));
      out.push(event(when + 50, 'payload.captured', { ...base, payload: HASH, payload_name: '/tmp/.x', attributes: { size: 3000 } }));
    }
  }
  for (let n = 0; n < 6; n += 1) {
    const base = { source: at(`198.51.100.${20 + n}`), category: 'Webpage', cve: 'CVE-2020-8958', fingerprints: { user_agent: HOSTILE } };
    out.push(event(now - n * 60_000, 'http.requested', { ...base, request: 'POST /boaform/admin/formLogin' }));
    out.push(event(now - n * 60_000, 'http.requested', { ...base, request: 'GET /.env' }));
  }
  // In the time before: root / 123456 four times, against twelve.
  for (let n = 0; n < 4; n += 1) out.push(event(now - 30 * 3_600_000 - n, 'auth.attempted', { source: at('203.0.113.5'), credentials: { username: 'root', password: '123456', outcome: 'failed' } }));
  return out;
}

before(async () => {
  hub = await Palisade.start({ demo: false });
  const sent = attacks(Date.now());
  assert.ok(await hub.deliver(sent));
  hub.command(['ban', '198.51.100.0/24', '--for', '2h', '--reason', 'scans us']);
  browser = await launch();
  page = await newPage(browser);
  page.setDefaultTimeout(20_000);
  await signIn(page, hub.url);
  // Queries see them.
  const seen = () => page.evaluate(() => fetch('api/v1/events?q=ip:198.51.100.0/24&limit=1000').then(async (answer) => (await answer.json()).events.length));
  for (let n = 0; n < 400 && (await seen()) < sent.length - 4; n += 1) await pause(50);
});
afterEach(async (context) => {
  if (context.error ?? context.passed === false) await shot(page, `failed-${context.name.slice(0, 40).replace(/\W+/g, '-')}`);
});
after(async () => {
  await browser?.close();
  await hub?.stop();
});

const go = (path) => page.goto(hub.url + path);
const region = (name) => page.getByRole('region', { name, exact: true });
const list = (title) => region(title).getByRole('listitem');

describe('pages about attackers', { timeout: 300_000 }, () => {
  test('an address leads to everything about it', async () => {
    await go(`/explore?q=ip:${ADDRESS}`);
    await page.locator('[role=grid] [role=row][aria-selected]').first().click();
    await page.getByRole('region', { name: 'Event details' }).getByRole('link', { name: `Everything about ${ADDRESS}` }).click();
    await page.waitForURL(/attacker\?address=198\.51\.100\.7/);
    const who = region('Who');
    for (const text of ['Linux 4.20 and newer', '14 hops', 'Ethernet', '23 failed', '1 accepted']) await who.getByText(text).waitFor();
    await list('Credentials').filter({ hasText: 'root / 123456' }).getByText('12', { exact: true }).waitFor();
    await list('Credentials').filter({ hasText: 'pass\\xff\\xfeword' }).waitFor();
    await list('Commands').filter({ hasText: 'uname -a' }).waitFor();
    await list('Commands').filter({ hasText: '‹ESC›[2J‹U+202E›evil' }).waitFor();
    await list('Downloads').filter({ hasText: 'http://203.0.113.9/x86' }).waitFor();
    await list('HASSH').filter({ hasText: '0a07365cc01fa9fc82608ba4019af499' }).waitFor();
    await list('Others in 198.51.100.0/24').first().waitFor();
    assert.equal(await list('Others in 198.51.100.0/24').count(), 6, 'itself is none of them');
    assert.equal(await region('Table of sessions').getByRole('row').count(), 13);
    await region('Table of sessions').getByText('Login 2, Command 2').waitFor();
    await region('Table of bans').getByText('scans us').waitFor();
    assert.equal(await page.locator('#main img').count(), 0);
    assert.deepEqual(page.complaints, []);
  });

  test('numbers lead to events, files to payloads, neighbours to their own page', async () => {
    await go(`/attacker?address=${ADDRESS}`);
    assert.match(await list('Files').getByRole('link').first().getAttribute('href'), new RegExp(`payloads\\?payload=${HASH}`));
    await list('Credentials').filter({ hasText: '\\xff' }).getByRole('link').click();
    await page.waitForURL(/explore/);
    await page.waitForFunction(() => document.querySelectorAll('[role=grid] [role=row][aria-selected]').length === 12);
    await page.goBack();
    await list('Others in 198.51.100.0/24').first().getByRole('link', { name: /^Everything about/ }).click();
    await page.getByRole('heading', { name: 'Attacker 198.51.100.2' }).waitFor();
    await list('CVEs').filter({ hasText: 'CVE-2020-8958' }).waitFor();
    await list('Requests').filter({ hasText: 'POST /boaform/admin/formLogin' }).waitFor();
  });

  test('it is banned and let in again where everything about it is seen', async () => {
    await go(`/attacker?address=${ADDRESS}`);
    await page.getByRole('button', { name: 'Ban for 4 h' }).click();
    await page.getByText(`${ADDRESS} is banned on all machines for 4 h`).waitFor();
    await region('Table of bans').getByText('seen on its page').waitFor();
    await page.getByRole('button', { name: 'Unban…' }).click();
    await page.getByRole('dialog').getByRole('button', { name: 'Lift', exact: true }).click();
    await page.getByRole('button', { name: 'Ban for 4 h' }).waitFor();
    await page.getByRole('button', { name: 'Allow…' }).click();
    assert.equal(await page.getByRole('dialog').getByLabel('Address or network').inputValue(), ADDRESS);
    await page.keyboard.press('Escape');
  });

  test('networks, who was never seen, and what is none', async () => {
    await go('/');
    await page.getByRole('heading', { level: 1, name: 'Overview' }).waitFor();
    await page.keyboard.press('g');
    await page.keyboard.press('a');
    await page.getByText('Whom do you want to know everything about?').waitFor();
    await page.keyboard.press('/');
    await page.keyboard.type('198.51.100.0/24');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Attacker 198.51.100.0/24' }).waitFor();
    await list('Addresses within').first().waitFor();
    assert.equal(await list('Addresses within').count(), 7);
    assert.match(page.url(), /address=198\.51\.100\.0%2F24/);
    await page.getByLabel('Another address or network').fill('2001:db8::99');
    await page.keyboard.press('Enter');
    await page.getByText('Never seen').waitFor();
    await page.getByText('Others in 2001:db8::/48').waitFor();
    await go('/attacker?address=nobody');
    await page.getByText('That is no address and no network').waitFor();
    assert.deepEqual(page.complaints, []);
  });

  test('what was tried is counted, with sources and trend', async () => {
    await page.keyboard.press('g');
    await page.keyboard.press('w');
    await page.waitForURL(/tried/);
    const row = (table, text) => region(`Table of ${table}`).getByRole('row').filter({ hasText: text });
    await row('Pairs', 'root / 123456').getByText('↑ 200 %').waitFor();
    await row('Pairs', 'admin / pass\\xff\\xfeword').getByText('↑ new').waitFor();
    await row('Passwords', 'pass\\xff\\xfeword').waitFor();
    await row('User names', 'admin').waitFor();
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'Save Pairs as CSV' }).click()]);
    assert.match(readFileSync(await download.path(), 'utf8'), /^user,password,events,sources,before\r\n[^]*^root,123456,12,1,4\r$/m);
    await page.getByRole('tab', { name: 'Credentials' }).focus();
    await page.keyboard.press('ArrowRight');
    await page.waitForURL(/view=commands/);
    await row('Commands', '‹ESC›[2J‹U+202E›evil').waitFor();
    await row('Downloads', 'http://203.0.113.9/x86').waitFor();
    await page.keyboard.press('ArrowRight');
    await row('Requests', 'GET /.env').getByText('6', { exact: true }).first().waitFor();
    await row('User agents', '<img src=x').waitFor();
    await row('Requests', 'GET /.env').getByRole('link').click();
    await page.waitForURL(/explore/);
    await page.waitForFunction(() => document.querySelectorAll('[role=grid] [role=row][aria-selected]').length === 6);
    assert.equal(await page.locator('#main img').count(), 0);
    assert.deepEqual(page.complaints, []);
  });

  test('what the honeypots are known by is said, with what to do', async () => {
    await go('/sensors');
    await page.getByRole('tab', { name: 'Detectability' }).click();
    const check = (id) => page.locator(`[data-tell="${id}"]`);
    await check('telnet-first-bytes').getByText('Hidden').waitFor();
    await check('telnet-first-bytes').getByRole('cell', { name: 'ff fd 01 ff fd 1f ff fb 01 ff fb 03', exact: true }).waitFor();
    await check('shell-dd').getByText('Hidden').first().waitFor();
    await page.getByLabel('Find a check').fill('arithmetic');
    await check('telnet-first-bytes').waitFor({ state: 'detached' });
    await page.getByLabel('Find a check').fill('');
    assert.deepEqual(page.complaints, []);
  });

  test('links to block lists and to be let in are made, listed and revoked', async () => {
    await go('/bans?show=links');
    await page.getByText('There is no link', { exact: true }).waitFor();
    await region('Links to block lists').getByRole('button', { name: 'New…' }).click();
    const form = page.getByRole('dialog');
    await form.getByLabel('Format').selectOption({ label: 'nftables: for nft -f' });
    await form.getByLabel('Which bans').fill('country:(');
    await form.getByLabel('Note').fill(HOSTILE.slice(0, 28));
    await form.getByRole('button', { name: 'Make the link' }).click();
    await form.getByRole('alert').waitFor();
    await form.getByLabel('Which bans').fill('');
    await form.getByRole('button', { name: 'Make the link' }).click();
    const made = await form.getByRole('status').textContent();
    // Without a session or a key.
    const stranger = await newPage(browser);
    const fetched = async () => (await stranger.request.get(made)).status();
    assert.equal(await fetched(), 200, made);
    await form.getByRole('button', { name: 'Done' }).click();
    await region('Links that let somebody in').getByRole('button', { name: 'New…' }).click();
    await form.getByLabel('Note').fill('hotel of Anna');
    await form.getByRole('button', { name: 'Make the link' }).click();
    const knock = await form.getByRole('status').textContent();
    await page.keyboard.press('Escape');
    await region('Table of links that let somebody in').getByText('hotel of Anna').waitFor();
    assert.deepEqual(await violations(page), []);
    for (const [table, title] of [['Table of links to block lists', 'There is no link'], ['Table of links that let somebody in', 'There is no link that can be used']]) {
      await region(table).getByRole('button', { name: /^Revoke/ }).click();
      await page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click();
      await page.getByText(title, { exact: true }).waitFor();
    }
    assert.equal(await fetched(), 403, 'it works no more');
    assert.equal((await stranger.request.post(knock)).status(), 404, 'it lets nobody in');
    await stranger.context().close();
    page.complaints = page.complaints.filter((text) => !/status of 422/.test(text));
    assert.deepEqual(page.complaints, []);
  });

  test('the open tab is in sight on a phone', async () => {
    await page.setViewportSize({ width: 390, height: 844 });
    await go('/bans?show=hosts');
    await page.getByRole('tab', { name: /^In force .*\d/ }).waitFor({ state: 'attached' });
    await page.waitForFunction(() => {
      const box = document.getElementById('view-hosts').getBoundingClientRect();
      return box.left >= 0 && box.right <= innerWidth;
    });
    await page.setViewportSize({ width: 1440, height: 900 });
  });

  test('who may not act sees no buttons, and no tells', async () => {
    hub.addUser('viewer', 'viewer');
    const there = await newPage(browser);
    await signIn(there, `${hub.url}/attacker?address=${ADDRESS}`, 'viewer');
    await there.getByRole('region', { name: 'Who' }).getByText('14 hops').waitFor();
    for (const name of [/^Ban/, /^Unban/, /^Allow/]) assert.equal(await there.getByRole('button', { name }).count(), 0, String(name));
    await there.goto(`${hub.url}/sensors?view=tells`);
    await there.getByRole('tab', { name: 'Sensors' }).waitFor();
    assert.equal(await there.getByRole('tab', { name: 'Detectability' }).count(), 0);
    assert.equal(await there.evaluate(() => fetch('api/v1/honeypot/tells').then((answer) => answer.status)), 403);
    there.complaints = there.complaints.filter((text) => !/status of 403/.test(text));
    assert.deepEqual(there.complaints, []);
    await there.context().close();
  });

  test('they fit every width, in light and dark, without violations', async () => {
    for (const [path, name] of [
      [`/attacker?address=${ADDRESS}`, 'attacker'],
      ['/tried', 'tried'],
      ['/sensors?view=tells', 'tells'],
      ['/bans?show=links', 'links'],
    ]) {
      for (const [width, scheme] of [[390, 'light'], [1440, 'dark'], [1440, 'light'], [390, 'dark'], [2560, 'light']]) {
        await page.emulateMedia({ colorScheme: scheme });
        await page.setViewportSize({ width, height: width === 390 ? 844 : 1000 });
        if (width === 390) await go(path);
        await page.waitForFunction(() => document.querySelector('#main h1') && !document.querySelector('.skeleton'));
        const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(over <= 0, `${path} is ${over} px too wide at ${width}`);
        await page.screenshot({ path: `${RESULTS}${name}-${scheme}-${width}.png`, fullPage: true });
        if ((width === 390) === (scheme === 'light')) assert.deepEqual(await violations(page), [], `${path} at ${width}, ${scheme}`);
      }
    }
    assert.deepEqual(page.complaints, []);
  });
});

// The public page, payloads, vulnerabilities and sensors in a real browser
// against the real binary.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { get, request } from 'node:https';
import { after, afterEach, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { event, launch, newPage, Palisade, shot, signIn, violations } from './palisade.mjs';

/** What no visitor may ever see. */
const SECRETS = ['8.8.8.8', '1.1.1.1', 'hidden-user', 'hidden-password', 'hidden-request', 'hidden-sensor', 'community-sender', 'private-sender', 'hidden-host', 'private-type'];
const CVE = 'CVE-2026-24061';

let hub;
let browser;
let page;
let visitor;
let receiver;
const announced = [];

/** An answer of the hub to somebody without a credential. */
function ask(path) {
  return new Promise((done, fail) => {
    get(`${hub.url}${path}`, { rejectUnauthorized: false }, (answer) => {
      let text = '';
      answer.on('data', (part) => (text += part));
      answer.on('end', () => done({ status: answer.statusCode, text }));
    }).on('error', fail);
  });
}

/** Everything of a stream for a while, or until `enough` says so. */
function listen(path, enough) {
  let text = '';
  return new Promise((done, fail) => {
    const asked = get(`${hub.url}${path}`, { rejectUnauthorized: false }, (answer) => {
      const late = setTimeout(() => fail(new Error(`waited in vain for the stream:\n${text}`)), 20_000);
      answer.on('data', (part) => {
        text += part;
        if (!enough(text)) return;
        clearTimeout(late);
        asked.destroy();
        done(text);
      });
    });
    asked.on('error', (error) => error.code !== 'ECONNRESET' && fail(error));
  });
}

/** An attack with everything in it that must not be seen. */
function attack(domain, more = {}) {
  return event(Date.now() - 500, 'auth.attempted', {
    domain,
    sensor: 'hidden-sensor',
    host: 'hidden-host',
    category: domain === 'community' ? 'SSH/console(cowrie)' : 'private-type',
    source: { address: domain === 'community' ? '8.8.8.8' : '1.1.1.1', port: 4000 },
    credentials: { username: 'hidden-user', password: 'hidden-password', outcome: 'failed' },
    request: 'hidden-request',
    ...more,
  });
}

/** Delivers as a sensor of this domain does. */
const keys = {};
async function deliver(domain, events) {
  keys[domain] ??= hub.command(['key', 'add', `${domain}-sender`, '--scope', 'ingest', '--domain', domain]).trim().split(/\s+/).find((word) => word.startsWith('pal_'));
  hub.key = keys[domain];
  assert.ok(await hub.deliver(events));
}

/** Posts alerts with captured bytes, as T-Pot does; the status of the answer. */
function capture(payloads) {
  const at = new Date().toISOString().slice(0, 19).replace('T', ' ');
  const alerts = payloads.map(
    (bytes, n) => `<Alert><Analyzer id="dionaea"/><CreateTime tz="+0000">${at}</CreateTime>
      <Source category="ipv4" port="${1024 + n}" protocol="tcp">8.8.4.4</Source><Target category="ipv4" port="445" protocol="tcp">203.0.113.5</Target>
      <Request type="binary">${bytes.toString('base64')}</Request></Alert>`,
  );
  const body = `<EWS-SimpleMessage version="3.0"><Authentication><username>trap</username><token>a long token of the trap</token></Authentication>${alerts.join('')}</EWS-SimpleMessage>`;
  return new Promise((done, fail) => {
    const options = { method: 'POST', headers: { 'Content-Length': Buffer.byteLength(body) }, rejectUnauthorized: false };
    const sent = request(`${hub.url}/ews-0.1/alert/postSimpleMessage`, options, (answer) => (answer.resume(), answer.on('end', () => done(answer.statusCode))));
    sent.on('error', fail);
    sent.end(body);
  });
}

before(async () => {
  receiver = createServer((request, answer) => {
    let body = '';
    request.on('data', (part) => (body += part));
    request.on('end', () => (announced.push(JSON.parse(body)), answer.end('ok')));
  });
  await new Promise((done) => receiver.listen(0, '127.0.0.1', done));
  hub = await Palisade.start({
    settings: `
[api.public]
enabled = true
title = "Attacks on our honeypots"
link = "https://example.org/honeynet"
show_home = true

[hub.home]
lat = 50.7374
lon = 7.0982

[[hub.notify.webhooks]]
name = "soc"
url = "http://127.0.0.1:${receiver.address().port}/hook"
`,
  });
  browser = await launch();
  visitor = await newPage(browser, { reducedMotion: 'reduce' });
  page = await newPage(browser);
});
afterEach(async (context) => {
  if (context.passed !== false && !context.error) return;
  const name = context.name.slice(0, 40).replace(/\W+/g, '-');
  await shot(visitor, `failed-visitor-${name}`);
  await shot(page, `failed-${name}`);
});
after(async () => {
  await browser?.close();
  await hub?.stop();
  receiver?.close();
});

describe('the public page', { timeout: 240_000 }, () => {
  test('who is not signed in sees it first, with map, counts, types and title', async () => {
    await visitor.goto(hub.url);
    await visitor.getByRole('heading', { name: 'Attacks on our honeypots' }).waitFor();
    assert.equal(await visitor.title(), 'Attacks on our honeypots');
    await visitor.locator('svg path.land.s3, svg path.land.s4, svg path.land.s5').first().waitFor();
    await visitor.waitForFunction(() => Number(document.querySelector('[data-counter="Last 24 hours"] strong')?.title.replace(/,/g, '')) > 20);
    await visitor.getByRole('region', { name: 'Top countries' }).getByRole('listitem').first().waitFor();
    await visitor.getByRole('region', { name: 'Types of attack', exact: true }).getByRole('listitem').first().waitFor();
    assert.equal(await visitor.getByRole('link', { name: 'example.org' }).getAttribute('href'), 'https://example.org/honeynet');
    assert.deepEqual(await violations(visitor), []);
    await shot(visitor, 'public-light-1440');
    assert.equal(visitor.complaints.join('\n'), '');
  });

  test('an attack on the community is there without being asked for', async () => {
    await visitor.getByRole('status').getByText('Live').waitFor();
    await visitor.mouse.move(5, 5);
    const log = visitor.getByRole('log');
    const drawn = Number(await visitor.locator('.map[data-drawn]').getAttribute('data-drawn'));
    await deliver('community', [attack('community', { category: 'RDP(rdpy)' })]);
    await log.getByText('RDP(rdpy)').first().waitFor();
    await visitor.waitForFunction((n) => Number(document.querySelector('.map[data-drawn]').dataset.drawn) > n, drawn);
    await log.getByText('Login attempt').first().waitFor();
  });

  test('nothing private is in page, numbers or stream', async () => {
    const stream = listen('/api/v1/public/stream', (text) => text.includes('VNC(vnclowpot)'));
    await pause(300);
    await deliver('private', [attack('private')]);
    await deliver('community', [attack('community', { category: 'VNC(vnclowpot)' })]);
    const heard = await stream;
    const before = await ask('/api/v1/public/summary');
    assert.equal(before.status, 200);
    let numbers = before.text;
    for (const end = Date.now() + 15_000; !numbers.includes('VNC(vnclowpot)'); numbers = (await ask('/api/v1/public/summary')).text) {
      assert.ok(Date.now() < end, numbers);
      await pause(300);
    }
    await visitor.getByRole('log').getByText('VNC(vnclowpot)').first().waitFor();
    const seen = [heard, numbers, await visitor.content(), (await ask('/public')).text];
    for (const text of seen) {
      for (const secret of SECRETS) assert.ok(!text.includes(secret), `${secret} in ${text.slice(0, 2000)}`);
      // The page names its own scripts by where it was loaded from.
      assert.doesNotMatch(text.replaceAll(hub.url, ''), /\b\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}\b/, 'an address');
    }
    const attackKeys = new Set(JSON.parse(numbers).recent.flatMap((row) => Object.keys(row)));
    assert.deepEqual([...attackKeys].sort(), ['at', 'category', 'country', 'lat', 'lon', 'what']);
    assert.deepEqual(JSON.parse(numbers).home, { lat: 51, lon: 7 });
    for (const path of ['events', 'cves', 'sensors', 'status', 'stream']) assert.equal((await ask(`/api/v1/${path}`)).status, 401, path);
  });

  test('it works in the dark, on a phone, and as a table', async () => {
    await visitor.getByRole('button', { name: 'Dark colours' }).click();
    assert.deepEqual(await violations(visitor), []);
    await shot(visitor, 'public-dark-1440');
    await visitor.setViewportSize({ width: 390, height: 844 });
    assert.ok(await visitor.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'nothing is wider than the screen');
    assert.deepEqual(await violations(visitor), []);
    await visitor.screenshot({ path: new URL('../test-results/public-dark-390.png', import.meta.url).pathname, fullPage: true });
    await visitor.getByRole('button', { name: 'Light colours' }).click();
    await visitor.screenshot({ path: new URL('../test-results/public-light-390.png', import.meta.url).pathname, fullPage: true });
    await visitor.getByRole('button', { name: 'Table' }).click();
    assert.ok((await visitor.getByRole('region', { name: 'Attacks by country' }).getByRole('row').count()) > 2);
    await visitor.setViewportSize({ width: 1440, height: 900 });
    assert.equal(visitor.complaints.join('\n'), '');
  });

  test('it leads to the sign-in, and stays reachable at its own address', async () => {
    await visitor.getByRole('link', { name: 'Sign in' }).click();
    await visitor.getByLabel('Password').waitFor();
    await visitor.goBack();
    await visitor.getByRole('heading', { name: 'Attacks on our honeypots' }).waitFor();
    await signIn(page, `${hub.url}/login`);
    await page.goto(`${hub.url}/public`);
    await page.getByRole('heading', { name: 'Attacks on our honeypots' }).waitFor();
    await page.goto(`${hub.url}/`);
    await page.getByRole('navigation', { name: 'Pages' }).waitFor();
  });
});

describe('vulnerabilities', { timeout: 240_000 }, () => {
  test('the first event of one is listed, opened, and announced', async () => {
    await deliver('private', [attack('private', { kind: 'http.requested', cve: CVE }), attack('private', { kind: 'http.requested', cve: CVE })]);
    await page.getByRole('link', { name: 'CVEs' }).click();
    const row = page.locator(`tr[data-key="${CVE}"]`);
    await row.waitFor({ timeout: 20_000 });
    await row.getByText('new').waitFor();
    // The list may be there before the store has counted.
    await row.locator('td.num').getByText('2', { exact: true }).waitFor();
    await shot(page, 'cves-light-1440');
    assert.deepEqual(await violations(page), []);
    await row.getByRole('link', { name: CVE }).focus();
    await page.keyboard.press('Enter');
    await page.waitForURL(/cve=CVE-2026-24061/);
    const side = page.getByRole('region', { name: 'Details of the vulnerability' });
    await side.getByText('2 events from 1 addresses').waitFor();
    await shot(page, 'cves-open-1440');
    assert.deepEqual(await violations(page), []);
    await side.getByRole('link', { name: 'First event' }).click();
    await page.getByRole('region', { name: 'Event details' }).waitFor();
    await page.goBack();
    await side.waitFor();
    await page.keyboard.press('Escape');
    await page.waitForURL((url) => !url.searchParams.has('cve'));
    // The demonstration has vulnerabilities of its own.
    const ours = () => announced.filter((one) => one.cve === CVE);
    for (const end = Date.now() + 15_000; ours().length === 0; await pause(50)) assert.ok(Date.now() < end, 'it is announced');
    assert.deepEqual(ours().map(({ type, attempt }) => [type, attempt]), [['cve.first_seen', 1]]);
  });

  test('a list is narrowed, sorted and saved', async () => {
    await deliver('private', [attack('private', { kind: 'http.requested', cve: 'CVE-2021-44228' })]);
    await page.locator('tr[data-key="CVE-2021-44228"]').waitFor({ timeout: 20_000 });
    await page.getByRole('button', { name: 'Events' }).click();
    await page.waitForURL(/sort=-count/);
    const rows = await page.locator('tbody tr').evaluateAll((all) => all.map((row) => row.getAttribute('data-key')));
    assert.ok(rows.indexOf(CVE) < rows.indexOf('CVE-2021-44228'), rows.join());
    await page.getByRole('searchbox').fill('44228');
    await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 1);
    const [saved] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'CSV' }).click()]);
    assert.equal(saved.suggestedFilename(), 'cves.csv');
    await page.getByRole('searchbox').fill('nothing like this');
    await page.getByText(/None of \d+ fits/).waitFor();
    await page.getByRole('searchbox').fill('');
  });
});

describe('payloads', { timeout: 240_000 }, () => {
  test('a file has its names, who brought it, and its events', async () => {
    const sha256 = '9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08';
    await deliver('private', ['jaws.sh', '<b>x</b>'].map((payload_name) => attack('private', { kind: 'data.received', payload: sha256, payload_name })));
    await page.getByRole('link', { name: 'Payloads' }).click();
    await page.getByText('Nothing is kept yet').waitFor();
    await page.getByRole('tab', { name: 'Named in events' }).click();
    await page.waitForURL(/view=named/);
    const row = page.locator(`tr[data-key="${sha256}"]`);
    await row.waitFor({ timeout: 30_000 });
    await shot(page, 'payloads-named-1440');
    assert.deepEqual(await violations(page), []);
    await row.getByRole('link').click();
    await page.waitForURL(/payload=9f86d081/);
    const side = page.getByRole('region', { name: 'Details of the payload' });
    await side.getByText('2 events from 1 addresses').waitFor();
    await side.getByText('<b>x</b>').waitFor();
    await shot(page, 'payloads-named-open-1440');
    assert.deepEqual(await violations(page), []);
    await side.getByRole('link', { name: 'Events behind it' }).click();
    await page.waitForURL(/explore\?q=payload/);
    await page.locator('[role=grid] [role=row][aria-selected]').nth(1).waitFor();
  });

  test('what is kept has its type and size, is found and paged through, and is given out locked', async () => {
    hub.command(['user', 'add', 'trap', '--ews', '--token-stdin'], 'a long token of the trap');
    const elf = Buffer.concat([Buffer.from('\x7fELF\x02\x01\x01'), Buffer.alloc(4089)]);
    const sha256 = createHash('sha256').update(elf).digest('hex');
    const others = [...Array(55)].map((_, n) => Buffer.from(`#!/bin/sh\nwget http://192.0.2.1/${n}\n`));
    assert.equal(await capture([elf, ...others]), 200);
    const long = `${'very-long-name-'.repeat(20)}.bin`;
    await deliver('private', [attack('private', { kind: 'payload.captured', payload: sha256, payload_name: long })]);
    await page.goto(`${hub.url}/payloads`);
    const rows = page.locator('tbody tr');
    const row = page.locator(`tr[data-key="${sha256}"]`);
    await page.getByText('56 known, 56 kept').waitFor({ timeout: 20_000 });
    // Once their events are counted they keep their order.
    const counts = () => page.evaluate(async () => (await (await fetch('/api/v1/payloads?limit=100')).json()).payloads.map((one) => [one.sha256, one.events_total]));
    const settled = (all) => all.every(([hash, events]) => events === (hash === sha256 ? 2 : 1));
    for (let tries = 0; !settled(await counts()); tries += 1) {
      assert.ok(tries < 80, 'all events are counted');
      await pause(250);
    }
    await page.reload();
    await page.getByText('56 known, 56 kept').waitFor({ timeout: 20_000 });
    await rows.nth(49).waitFor();
    assert.equal(await rows.count(), 50);
    await shot(page, 'payloads-light-1440');
    assert.deepEqual(await violations(page), []);
    await page.getByRole('button', { name: 'Older' }).click();
    await page.waitForURL(/cursor=/);
    await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 6);
    await page.goBack();
    await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 50);

    // By type, by the beginning of a hash, by a part of a name.
    await page.getByRole('combobox', { name: 'Type' }).selectOption('Programs');
    await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 1);
    await row.getByText('application/x-executable').waitFor();
    await row.getByText('4.0').waitFor();
    await page.getByRole('combobox', { name: 'Type' }).selectOption('All types');
    const search = page.getByRole('searchbox');
    for (const text of [sha256.slice(0, 10), 'long-name-very', 'application/x-']) {
      await search.fill(text);
      await page.waitForFunction(() => document.querySelectorAll('tbody tr').length === 1, undefined, { timeout: 20_000 });
      await row.waitFor();
    }
    await search.fill('nothing like this');
    await page.getByText('None fits').waitFor();
    await search.fill(sha256.slice(0, 10));
    await row.waitFor();
    await row.getByText('private', { exact: true }).waitFor({ timeout: 20_000 });

    await row.getByRole('link').click();
    const side = page.getByRole('region', { name: 'Details of the payload' });
    await side.getByText(createHash('md5').update(elf).digest('hex')).waitFor();
    await side.getByText('2 in all').waitFor({ timeout: 20_000 });
    await side.getByText(long.slice(0, 60)).waitFor();
    await shot(page, 'payloads-open-1440');
    assert.deepEqual(await violations(page), []);
    await page.setViewportSize({ width: 390, height: 844 });
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), 'details fit a phone');
    assert.ok(await side.evaluate((node) => node.scrollWidth <= node.clientWidth && [...node.querySelectorAll('.body')].every((body) => body.scrollWidth <= body.clientWidth)), 'a long name wraps');
    await shot(page, 'payloads-open-390');
    await side.getByRole('button', { name: 'Download…' }).click();
    const dialog = page.getByRole('dialog', { name: 'Download what an attacker brought' });
    await dialog.getByText('Treat it as malware').waitFor();
    await shot(page, 'payloads-download-390');
    assert.deepEqual(await violations(page), []);
    await page.setViewportSize({ width: 1440, height: 900 });
    await shot(page, 'payloads-download-1440');
    const [zip] = await Promise.all([page.waitForEvent('download'), dialog.getByRole('button', { name: 'Download the archive' }).click()]);
    assert.equal(zip.suggestedFilename(), `${sha256}.zip`);
    const packed = readFileSync(await zip.path());
    assert.equal(packed.subarray(0, 2).toString(), 'PK');
    assert.ok(packed.includes(sha256) && !packed.includes('ELF'), 'it is locked');
    await side.getByRole('button', { name: 'Download…' }).click();
    await dialog.getByLabel('The bytes as they are').check();
    const [raw] = await Promise.all([page.waitForEvent('download'), dialog.getByRole('button', { name: 'Download the bytes' }).click()]);
    assert.equal(raw.suggestedFilename(), `${sha256}.bin`);
    assert.ok(readFileSync(await raw.path()).equals(elf));
    await page.keyboard.press('Escape');
    await side.waitFor({ state: 'detached' });

    // Who may not operate sees what events say, and no bytes.
    hub.addUser('watcher', 'viewer');
    const viewer = await newPage(browser);
    await signIn(viewer, `${hub.url}/login`, 'watcher');
    await viewer.goto(`${hub.url}/payloads`);
    await viewer.locator(`tr[data-key="${sha256}"]`).getByRole('link').click();
    await viewer.getByRole('region', { name: 'Details of the payload' }).getByText('2 events from').waitFor();
    assert.equal(await viewer.getByRole('tab').count() + (await viewer.getByRole('button', { name: 'Download…' }).count()), 0);
    assert.deepEqual(viewer.complaints, []);
    await viewer.context().close();
  });
});

describe('sensors', { timeout: 240_000 }, () => {
  test('installations and daemons have their rate, their day and their events', async () => {
    await deliver('community', ['trap-1', 'trap-2'].map((host) => attack('community', { host, analyzer: host === 'trap-1' ? 'cowrie' : 'dionaea' })));
    await page.getByRole('link', { name: 'Sensors' }).click();
    await page.getByRole('tab', { name: 'Installations' }).click();
    await page.waitForURL(/view=installations/);
    const row = page.locator('tr[data-key="community-sender|trap-1"]');
    await row.waitFor({ timeout: 20_000 });
    await row.getByText('Reporting').waitFor();
    await shot(page, 'sensors-installations-1440');
    assert.deepEqual(await violations(page), []);
    await row.click();
    const side = page.getByRole('region', { name: 'Details of the host' });
    await side.getByText('1 events from 1 addresses').waitFor();
    await shot(page, 'sensors-open-1440');
    assert.deepEqual(await violations(page), []);
    await page.keyboard.press('Escape');
    await page.getByRole('tab', { name: 'Daemons' }).click();
    await page.locator('tr[data-key="community-sender|cowrie"]').waitFor({ timeout: 20_000 });
    await shot(page, 'sensors-daemons-1440');
    await page.getByRole('tab', { name: 'Sensors' }).click();
    await page.locator('tr[data-sensor="community-sender"]').waitFor();
  });

  test('these pages work in the dark and on a phone', async () => {
    await page.emulateMedia({ colorScheme: 'dark' });
    for (const [path, name] of [['cves', 'cves'], ['sensors?view=installations', 'sensors'], ['payloads', 'payloads'], ['payloads?view=named', 'payloads-named']]) {
      await page.setViewportSize({ width: 1440, height: 900 });
      await page.goto(`${hub.url}/${path}`);
      await page.locator('tbody tr').first().waitFor();
      await shot(page, `${name}-dark-1440`);
      assert.deepEqual(await violations(page), [], name);
      await page.setViewportSize({ width: 390, height: 844 });
      await shot(page, `${name}-dark-390`);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `${name} fits a phone`);
      assert.deepEqual(await violations(page), [], name);
    }
    await page.emulateMedia({ colorScheme: 'light' });
    await page.setViewportSize({ width: 1440, height: 900 });
    assert.equal(page.complaints.join('\n'), '');
  });
});

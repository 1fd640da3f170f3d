// The page in a real browser against the real binary.
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, afterEach, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { launch, newPage, Palisade, shot, signIn, USER, violations } from './palisade.mjs';

/** A failed sign-in is a 401, which the browser itself writes to the console. */
const EXPECTED_401 = /status of 401/;

let hub;
let browser;
let page;

before(async () => {
  hub = await Palisade.start();
  browser = await launch();
  page = await newPage(browser);
});
afterEach(async (context) => {
  if (context.error ?? context.passed === false) await shot(page, `failed-${context.name.slice(0, 40).replace(/\W+/g, '-')}`);
});
after(async () => {
  await browser?.close();
  await hub?.stop();
});

const go = (path) => page.goto(hub.url + path);
const rows = () => page.locator('[role=grid] [role=row][aria-selected]');
const query = () => page.getByRole('combobox', { name: 'Query' });
async function ask(text) {
  await query().fill(text);
  await query().press('Enter');
}

/** Waits until queries can see so many events. */
async function stored(q, events) {
  const visible = (text) => fetch(`api/v1/events?q=${encodeURIComponent(text)}`).then(async (answer) => (await answer.json()).events.length);
  const end = Date.now() + 15_000;
  while ((await page.evaluate(visible, q)) < events) {
    assert.ok(Date.now() < end, `waited in vain for ${q}`);
    await pause(50);
  }
}

describe('the page', { timeout: 240_000 }, () => {
  test('a wrong password is refused in words, the right one leads to the overview', async () => {
    await go('/');
    await page.getByLabel('Name').fill(USER.name);
    await page.getByLabel('Password').fill('not-the-password');
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('alert').getByText('do not belong together').waitFor();
    await shot(page, 'sign-in-refused');
    assert.deepEqual(await violations(page), []);
    await page.getByLabel('Password').fill(USER.password);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('navigation', { name: 'Pages' }).waitFor();
    assert.equal(page.complaints.filter((text) => !EXPECTED_401.test(text)).join('\n'), '');
    page.complaints.length = 0;
  });

  test('the overview shows demo data as such, with map, counters and lists', async () => {
    await page.getByRole('button', { name: 'Demo data' }).waitFor();
    await page.locator('svg path.land.s5').first().waitFor();
    await page.waitForFunction(() => Number(document.querySelector('[data-counter="Last 24 h"] strong')?.title.replace(/,/g, '')) > 100);
    for (const title of ['Addresses', 'Countries', 'Credentials', 'User names', 'Categories', 'Ports']) {
      await page.getByRole('region', { name: title, exact: true }).getByRole('listitem').first().waitFor();
    }
    await page.getByRole('button', { name: 'Table' }).click();
    const table = page.getByRole('region', { name: 'Events by country' });
    assert.ok((await table.getByRole('row').count()) > 3, 'the table has the numbers of the map');
    await page.getByRole('button', { name: 'Map', exact: true }).click();
    await shot(page, 'overview-light-1440');
    assert.deepEqual(await violations(page), []);
  });

  test('an attack on the honeypot is on ticker and map without being asked for', async () => {
    await page.getByRole('switch', { name: 'Live updates' }).getByText('Live').waitFor();
    const user = `live-${process.pid}`;
    const before = Number(await page.locator('.map[data-drawn]').getAttribute('data-drawn'));
    await hub.telnetLogin(user, 'xc3511');
    await page.getByRole('log').getByText(`${user} / xc3511`).waitFor();
    await page.waitForFunction((n) => Number(document.querySelector('.map[data-drawn]').dataset.drawn) > n, before);
    await shot(page, 'overview-live');
  });

  test('rows gather while one reads the ticker', async () => {
    const log = page.getByRole('log');
    await log.hover();
    const first = await log.getByRole('link').first().getAttribute('data-event');
    await hub.telnetLogin('gathering', 'admin');
    await page.getByRole('button', { name: /^\d+ new$/ }).waitFor();
    assert.equal(await log.getByRole('link').first().getAttribute('data-event'), first, 'nothing moved');
    await page.getByRole('button', { name: /^\d+ new$/ }).click();
    await log.getByText('gathering / admin').first().waitFor();
    await page.mouse.move(5, 400);
  });

  test('a number leads to the events behind it', async () => {
    await page.getByRole('region', { name: 'Countries', exact: true }).getByRole('link').first().click();
    await page.waitForURL(/\/explore\?q=country/);
    await rows().first().waitFor();
    await page.goBack();
    await page.waitForURL((url) => url.pathname === '/');
  });

  test('query, facets and time live in the address, and Back works', async () => {
    await go('/explore');
    await rows().first().waitFor();
    await shot(page, 'explore-light-1440');
    assert.deepEqual(await violations(page), []);
    await ask('kind:auth.attempted');
    await page.waitForURL(/q=kind/);
    await page.locator('[data-facet="country:CN"]').click();
    await page.waitForURL(/country%3ACN/);
    await page.waitForFunction(() => {
      const cells = [...document.querySelectorAll('[data-column="country"]')];
      return cells.length > 0 && cells.every((cell) => cell.textContent.trim() === 'CN');
    });
    assert.equal(await page.locator('[data-facet="country:CN"]').getAttribute('aria-pressed'), 'true');
    await page.getByRole('button', { name: /^Time range/ }).click();
    await page.getByRole('button', { name: 'Last hour' }).click();
    await page.waitForURL(/range=1h/);
    await page.goBack();
    await page.goBack();
    await page.waitForURL((url) => url.searchParams.get('q') === 'kind:auth.attempted' && !url.searchParams.has('range'));
    assert.equal(await query().inputValue(), 'kind:auth.attempted');
    await page.reload();
    await rows().first().waitFor();
    assert.equal(await query().inputValue(), 'kind:auth.attempted');
  });

  test('keys lead through table, details and pages', async () => {
    await go('/explore?q=kind:http.requested');
    await rows().first().waitFor();
    await page.getByRole('grid').focus();
    await page.keyboard.press('Enter');
    const drawer = page.getByRole('region', { name: 'Event details' });
    await drawer.getByText('User agent').waitFor();
    const first = new URL(page.url()).searchParams.get('event');
    await page.keyboard.press('ArrowDown');
    await page.waitForFunction((id) => !!new URL(location.href).searchParams.get('event') && new URL(location.href).searchParams.get('event') !== id, first);
    await shot(page, 'explore-drawer');
    assert.deepEqual(await violations(page), []);
    await page.keyboard.press('Escape');
    await drawer.waitFor({ state: 'detached' });
    await page.keyboard.press('?');
    await page.getByRole('dialog', { name: 'Keys' }).waitFor();
    assert.deepEqual(await violations(page), []);
    await page.keyboard.press('Escape');
    await page.keyboard.press('/');
    assert.equal(await page.evaluate(() => document.activeElement.id), 'query');
    await page.keyboard.press('Escape');
    await page.keyboard.press('g');
    await page.keyboard.press('s');
    await page.waitForURL(/\/sensors/);
    await page.keyboard.press('g');
    await page.keyboard.press('o');
    await page.waitForURL((url) => url.pathname === '/');
  });

  test('what is shown is exported as CSV and NDJSON', async () => {
    await go('/explore?q=kind:command.entered');
    await rows().first().waitFor();
    for (const format of ['CSV', 'NDJSON']) {
      await page.getByRole('button', { name: 'Export', exact: true }).click();
      const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: new RegExp(`^${format}`) }).click()]);
      const lines = readFileSync(await download.path(), 'utf8').trim().split('\n');
      await page.getByRole('status').getByText(/saved by the browser/).waitFor();
      await page.keyboard.press('Escape');
      assert.ok(lines.length > 10, `${format} has lines`);
      if (format === 'NDJSON') assert.ok(lines.every((line) => JSON.parse(line).kind === 'command.entered'));
      else assert.match(lines[0], /observed_at/);
    }
  });

  test('hostile text is shown harmlessly', async () => {
    const user = Buffer.from('evil\x1b[31m<img src=x onerror=alert(1)>\u202Efdp.exe');
    await hub.telnetLogin(user, '<script>alert(2)</script>');
    await hub.httpRequest(
      'GET /<svg/onload=alert(3)>?javascript:alert(4) HTTP/1.1\r\nHost: evil\r\nUser-Agent: "><b id=injected>\r\nConnection: close\r\n\r\n',
    );
    await stored('kind:http.requested -sensor:demo', 1);
    await stored('user:evil*', 1);
    await go('/explore?q=-sensor:demo');
    const cell = page.locator('[data-column="what"]', { hasText: 'evil' }).first();
    await cell.waitFor();
    const text = await cell.innerText();
    assert.ok(text.includes('‹ESC›[31m<img src=x onerror=alert(1)>'), text);
    assert.ok(text.includes('‹U+202E›'), text);
    assert.ok(!/[\u001b\u202e]/.test(await page.evaluate(() => document.body.innerText)), 'nothing that steers is left');
    await cell.click();
    await page.getByRole('region', { name: 'Event details' }).getByText('<script>alert(2)</script>').first().waitFor();
    await page.getByRole('tab', { name: 'JSON' }).click();
    await shot(page, 'explore-hostile');
    await ask('kind:http.requested -sensor:demo');
    await page.locator('[data-column="what"]', { hasText: 'onload' }).first().click();
    await page.getByRole('region', { name: 'Event details' }).getByText('id=injected').first().waitFor();
    assert.equal(await page.locator('#injected, [onerror], svg[onload], #app img').count(), 0);
    const outside = await page.locator('a[href^="http"], a[href^="javascript"]').count();
    assert.equal(outside, 0, 'no link to what an attacker wrote');
  });

  test('sensors show who reports', async () => {
    await go('/sensors');
    await page.locator('tr[data-sensor="demo"]').getByText('Reporting').waitFor();
    await page.locator('tr[data-sensor="edge-1"]').getByText('This machine').waitFor();
    await page.getByText('Nothing in quarantine').waitFor();
    await shot(page, 'sensors');
    assert.deepEqual(await violations(page), []);
  });

  test('a key is made, shown once and revoked', async () => {
    await go('/settings');
    await page.getByLabel('Name of the sensor').fill('edge-9');
    await page.getByRole('button', { name: 'Add key' }).click();
    const dialog = page.getByRole('dialog', { name: 'Key of edge-9' });
    assert.match(await dialog.locator('.secret').innerText(), /^pal_/);
    await dialog.getByRole('button', { name: 'Close' }).click();
    const row = page.getByRole('row', { name: /edge-9/ });
    await row.getByRole('button', { name: 'Revoke' }).click();
    await page.getByRole('button', { name: 'Revoke key' }).click();
    await row.waitFor({ state: 'detached' });
    await shot(page, 'settings');
    assert.deepEqual(await violations(page), []);
  });

  test('the dark theme is chosen and kept', async () => {
    await go('/');
    await page.getByRole('button', { name: 'Theme' }).click();
    await page.getByRole('button', { name: 'Dark', exact: true }).click();
    const colour = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    assert.equal(await colour(), 'rgb(13, 19, 23)');
    await page.reload();
    await page.locator('svg path.land.s5').first().waitFor();
    await page.getByRole('region', { name: 'Countries', exact: true }).getByRole('listitem').first().waitFor();
    assert.equal(await colour(), 'rgb(13, 19, 23)');
    await shot(page, 'overview-dark-1440');
    assert.deepEqual(await violations(page), []);
    await go('/explore');
    await rows().first().waitFor();
    await shot(page, 'explore-dark-1440');
    assert.deepEqual(await violations(page), []);
  });

  test('a phone, a tablet and a wide screen have the whole page without sideways scrolling', async () => {
    for (const width of [390, 768, 2560]) {
      await page.setViewportSize({ width, height: width === 390 ? 844 : 1100 });
      for (const path of ['/', '/explore', '/sensors', '/settings']) {
        await go(path);
        await page.locator(path === '/explore' ? '[role=grid] [aria-selected]' : 'main section').first().waitFor();
        const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        assert.ok(over <= 0, `${path} is ${over} px too wide at ${width}`);
        await shot(page, `${width}-${path.slice(1) || 'overview'}`);
        if (width === 390) assert.deepEqual(await violations(page), [], `${path} at 390`);
      }
    }
    await page.setViewportSize({ width: 1440, height: 900 });
  });

  test('signing out ends it, and the browser had nothing to complain about', async () => {
    await go('/');
    await page.getByRole('button', { name: /^Account/ }).click();
    await page.getByRole('button', { name: 'Sign out' }).click();
    await page.getByLabel('Password').waitFor();
    assert.equal(await page.evaluate(async () => (await fetch('api/v1/events')).status), 401);
    const complaints = page.complaints.filter((text) => !EXPECTED_401.test(text));
    assert.deepEqual(complaints, [], 'no error, warning or policy violation');
  });
});

test('without motion the map still marks events', { timeout: 60_000 }, async () => {
  const calm = await newPage(browser, { reducedMotion: 'reduce' });
  await signIn(calm, hub.url);
  await calm.locator('svg path.land').first().waitFor();
  await calm.waitForFunction(() => Number(document.querySelector('.map[data-drawn]').dataset.drawn) > 0);
  assert.deepEqual(calm.complaints, []);
  await calm.context().close();
});

test('below a base path everything is found', { timeout: 90_000 }, async () => {
  const below = await Palisade.start({ base: '/guard' });
  try {
    const there = await newPage(browser);
    await signIn(there, `${below.url}/guard/`);
    await there.locator('svg path.land').first().waitFor();
    await there.getByRole('link', { name: 'Sensors' }).click();
    await there.waitForURL(/\/guard\/sensors$/);
    await there.locator('tr[data-sensor]').first().waitFor();
    await there.reload();
    await there.locator('tr[data-sensor]').first().waitFor();
    assert.deepEqual(there.complaints, []);
    await there.context().close();
  } finally {
    await below.stop();
  }
});

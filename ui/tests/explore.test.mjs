// The explore page at work, in a real browser against the real binary, on
// events that the tests themselves deliver, so that every number is known.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, afterEach, before, describe, test } from 'node:test';
import { setTimeout as pause } from 'node:timers/promises';
import { Postgres } from './postgres.mjs';
import { event, launch, newPage, Palisade, shot, signIn, violations } from './palisade.mjs';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const START = Date.now();
/** A session two hours ago, and its address an hour before and after. */
const SESSION_AT = START - 2 * HOUR;
const ATTACKER = '203.0.113.77';

let hub;
let browser;
let page;

/** A failed login from one of many addresses. */
function login(at, username, more = {}) {
  return event(at, 'auth.attempted', {
    category: 'Telnet(palisade)',
    source: { address: '198.51.100.9', port: 40_000, transport: 'tcp' },
    target: { address: '192.0.2.1', port: 23, transport: 'tcp' },
    credentials: { username, password: 'xc3511', outcome: 'failed' },
    ...more,
  });
}

function session() {
  const common = { category: 'SSH/console(palisade)', session: 'session-of-the-test', source: { address: ATTACKER, port: 40_001, transport: 'tcp' }, target: { address: '192.0.2.1', port: 2222, transport: 'tcp' } };
  const other = { ...common, session: undefined };
  return [
    event(SESSION_AT - HOUR, 'connection.opened', other),
    event(SESSION_AT, 'connection.opened', common),
    event(SESSION_AT + 1_000, 'auth.attempted', { ...common, credentials: { username: 'root', password: 'toor', outcome: 'accepted' } }),
    event(SESSION_AT + 2_000, 'command.entered', { ...common, request: 'uname -a' }),
    event(SESSION_AT + 3_000, 'command.entered', { ...common, request: 'cat /etc/passwd' }),
    event(SESSION_AT + 4_000, 'session.closed', { ...common, attributes: { duration_ms: 4000 } }),
    event(SESSION_AT + HOUR, 'connection.opened', other),
  ];
}

/** Users by how many logins they have in the last day and in the day before. */
const LOGINS = { alpha: [30, 20], beta: [10, 15], gamma: [5, 0], delta: [0, 7] };

before(async () => {
  hub = await Palisade.start({ demo: false });
  const events = session();
  for (const [user, [now, earlier]] of Object.entries(LOGINS)) {
    for (let i = 0; i < now; i += 1) events.push(login(START - 3 * HOUR - i * 20 * MINUTE, user));
    for (let i = 0; i < earlier; i += 1) events.push(login(START - 27 * HOUR - i * 20 * MINUTE, user));
  }
  assert.ok(await hub.deliver(events));
  // A month ago, out of the way of the others: enough to scroll through.
  for (let n = 0; n < 3_000; n += 1_000) {
    const old = Array.from({ length: 1_000 }, (_, i) => login(START - 20 * 24 * HOUR - (n + i) * 1_000, `many-${(n + i) % 40}`));
    assert.ok(await hub.deliver(old));
  }
  browser = await launch();
  page = await newPage(browser);
  await signIn(page, hub.url);
  await stored('since:30d', events.length + 3_000);
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
const params = () => new URL(page.url()).searchParams;
const cells = (column) => page.locator(`[data-column="${column}"]`);

/** The answer of the API to the signed-in browser. */
const aggregate = (q, aggregations) =>
  page.evaluate(async (body) => {
    const headers = { 'Content-Type': 'application/json', 'X-Palisade': '1' };
    const answer = await fetch('api/v1/aggregate', { method: 'POST', headers, body: JSON.stringify(body) });
    return (await answer.json()).results;
  }, { q, aggregations });
const count = async (q) => (await aggregate(q, { n: { type: 'count' } })).n.count;

async function until(what, check) {
  const end = Date.now() + 20_000;
  while (!(await check())) {
    assert.ok(Date.now() < end, `waited in vain: ${what}`);
    await pause(50);
  }
}
const stored = (q, events) => until(`${events} events of ${q}`, async () => (await count(q)) >= events);
/** The number of events above the table. */
const total = () => page.locator('.total strong').getAttribute('title').then((text) => Number(text?.replace(/\D/g, '')));
const totalIs = (n) => until(`${n} events shown`, async () => (await page.locator('.total strong').count()) > 0 && (await total()) === n);

describe('the explore page', { timeout: 240_000 }, () => {
  test('a mistake is underlined at its character while one types, and what was typed stays', async () => {
    await go('/explore');
    await rows().first().waitFor();
    await query().fill('user:"\u{1F600}" colour:red port:23');
    await query().press('Home');
    const mark = page.locator('.paint .wrong');
    await mark.first().waitFor();
    assert.equal((await mark.allInnerTexts()).join(''), 'colour:', 'characters are counted as the server counts them');
    assert.equal(await query().getAttribute('aria-invalid'), 'true');
    await page.getByRole('alert').getByText("no field 'colour'").waitFor();
    await shot(page, 'explore-mistake');
    assert.deepEqual(await violations(page), []);
    await query().press('Enter');
    await page.getByText('The query cannot be understood').waitFor();
    assert.equal(await query().inputValue(), 'user:"\u{1F600}" colour:red port:23');
    assert.deepEqual(page.complaints.filter((text) => !/status of 422/.test(text)), []);
    page.complaints.length = 0;

    await query().fill('user:alpha (port:2');
    await page.waitForResponse((answer) => answer.url().includes('/api/v1/query?'));
    assert.equal(await mark.count(), 0, 'a bracket that may still be closed is no mistake yet');
    await query().press('Enter');
    await mark.first().waitFor();
    assert.equal((await mark.allInnerTexts()).join(''), '(');
    await query().fill('');
    await query().press('Enter');
    await rows().first().waitFor();
    page.complaints.length = 0;
  });

  test('fields, values of the store and times are completed with the keyboard', async () => {
    await query().fill('');
    await query().pressSequentially('usern');
    await page.getByRole('option', { name: /^user:/ }).waitFor();
    await query().press('Tab');
    assert.equal(await query().inputValue(), 'user:', 'an alias leads to its field');
    await query().pressSequentially('a');
    await page.getByRole('option', { name: /^alpha.*30$/ }).waitFor();
    await shot(page, 'explore-completion');
    assert.deepEqual(await violations(page), []);
    await query().press('ArrowDown');
    const active = await query().getAttribute('aria-activedescendant');
    assert.match(await page.locator(`[id="${active}"]`).innerText(), /alpha/);
    await query().press('Enter');
    assert.equal(await query().inputValue(), 'user:alpha ');
    await query().pressSequentially('port:(');
    await page.getByRole('option', { name: /^23\b/ }).waitFor();
    assert.equal(await page.getByRole('option', { name: /^2222/ }).count(), 0, 'only what goes with the rest of the query');
    await query().press('ArrowDown');
    await query().press('Tab');
    await query().pressSequentially(') kin');
    await query().press('Tab');
    await query().pressSequentially('auth.att');
    await page.getByRole('option', { name: /auth\.attempted/ }).waitFor();
    await query().press('Tab');
    await query().pressSequentially('since:7');
    await page.getByRole('option', { name: /^7d/ }).waitFor();
    await query().press('Escape');
    assert.equal(await page.getByRole('listbox').count(), 0);
    await query().pressSequentially('d');
    await query().press('Enter');
    await page.waitForURL((url) => url.searchParams.get('q') === 'user:alpha port:(23) kind:auth.attempted since:7d');
    await totalIs(50);
    await query().fill('');
    await query().press('Enter');
  });

  test('facets count what the API counts, and add, exclude and search values', async () => {
    await go('/explore');
    const facet = (value) => page.locator(`[data-facet="${value}"]`);
    await facet('user:alpha').waitFor();
    assert.match(await facet('user:alpha').getAttribute('title'), /: 30\./);
    await facet('user:alpha').click();
    await page.waitForURL((url) => url.searchParams.get('q') === 'user:alpha');
    await totalIs(30);
    assert.equal(await facet('user:alpha').getAttribute('aria-pressed'), 'true');
    await facet('user:alpha').click({ modifiers: ['Alt'] });
    await page.waitForURL((url) => url.searchParams.get('q') === '-user:alpha');
    await totalIs((await count('since:24h -user:alpha')));
    await page.getByRole('button', { name: 'Leave out User name beta' }).click();
    await page.waitForURL((url) => url.searchParams.get('q') === '-user:alpha -user:beta');
    await go('/explore?range=30d');
    const users = page.getByRole('region', { name: 'User name', exact: true });
    const top = await aggregate('since:30d', { top: { type: 'top', fields: ['user'], k: 8 } });
    await users.getByText('more values').waitFor();
    await until('the number of other values', async () => (await users.locator('.rest span').first().getAttribute('title'))?.replace(/\D/g, '') === String(top.top.other));
    await users.getByRole('button', { name: 'Search in User name' }).click();
    await page.keyboard.type('amm');
    await until('one value with this in it', async () => (await users.locator('[data-facet]').count()) === 1);
    assert.match(await users.locator('[data-facet]').innerText(), /gamma/);
    await page.keyboard.press('Escape');
    await page.getByRole('button', { name: 'Choose facets' }).click();
    await page.getByRole('checkbox', { name: 'Session' }).check();
    await page.keyboard.press('Escape');
    await facet('session:session-of-the-test').waitFor();
  });

  test('the brush chooses whole bars, and the way back is kept', async () => {
    await go('/explore?q=kind:auth.attempted');
    await totalIs(46);
    const bars = page.locator('.timeline .u-over');
    const box = await bars.boundingBox();
    await page.mouse.move(box.x + box.width * 0.6, box.y + 20);
    await page.mouse.down();
    await page.mouse.move(box.x + box.width * 0.75, box.y + 20, { steps: 4 });
    await page.mouse.up();
    await page.waitForURL(/from=/);
    const [from, to] = [params().get('from'), params().get('to')];
    assert.equal(Date.parse(from) % (15 * MINUTE), 0, 'bars of a quarter of an hour');
    assert.equal(Date.parse(to) % (15 * MINUTE), 0);
    await totalIs(await count(`kind:auth.attempted since:${from} until:${to}`));
    await bars.dblclick();
    await page.waitForURL((url) => !url.searchParams.has('from'));
    await totalIs(46);

    // The same with keys: the last five bars, of which the last still runs.
    assert.ok(Number(await page.getByRole('slider').getAttribute('aria-valuemax')) >= 95, 'bars without events up to now');
    const slider = page.getByRole('slider', { name: /^Events over time/ });
    await slider.focus();
    await page.keyboard.press('End');
    for (let i = 0; i < 4; i += 1) await page.keyboard.press('Shift+ArrowLeft');
    assert.match(await slider.getAttribute('aria-valuetext'), /selected: \d+ events/);
    await page.keyboard.press('Enter');
    await page.waitForURL(/from=/);
    assert.equal(Date.parse(params().get('to')) - Date.parse(params().get('from')), 5 * 15 * MINUTE);
    await slider.focus();
    await page.keyboard.press('Escape');
    await page.waitForURL((url) => !url.searchParams.has('from'));
    await page.getByRole('button', { name: 'Longer time' }).click();
    await page.waitForURL(/range=2d/);

    // A query that says its time itself gives it up to the brush, and gets it back.
    await go('/explore?q=kind:auth.attempted+since:48h');
    await totalIs(88);
    await slider.focus();
    await page.keyboard.press('End');
    await page.keyboard.press('Enter');
    await page.waitForURL((url) => url.searchParams.get('q') === 'kind:auth.attempted' && url.searchParams.has('from'));
    await slider.focus();
    await page.keyboard.press('Escape');
    await page.waitForURL((url) => url.searchParams.get('q') === 'kind:auth.attempted since:48h');
  });

  test('query, time, bars, columns and comparison come back from the address', async () => {
    await go('/explore?range=7d');
    await rows().first().waitFor();
    await page.getByLabel('Width of a bar').selectOption('1d');
    await page.waitForURL(/step=1d/);
    await until('eight days', async () => (await page.getByRole('slider').getAttribute('aria-valuemax')) === '7');
    await page.goto(`${hub.url}/explore?range=90d`);
    await page.getByLabel('Width of a bar').selectOption('1mo');
    await page.waitForURL(/step=1mo/);
    const today = new Date();
    const oldest = new Date(Date.now() - 90 * 24 * HOUR);
    const months = (today.getUTCFullYear() - oldest.getUTCFullYear()) * 12 + today.getUTCMonth() - oldest.getUTCMonth();
    await until('months of the calendar', async () => (await page.getByRole('slider').getAttribute('aria-valuemax')) === String(months));
    await go('/explore?range=7d&step=1d');
    await rows().first().waitFor();
    await page.getByRole('button', { name: 'Columns' }).click();
    await page.getByLabel('Find a column').fill('port');
    await page.getByRole('checkbox', { name: 'Port', exact: true }).click();
    await page.getByRole('checkbox', { name: 'Sensor', exact: true }).click();
    await page.getByRole('button', { name: 'Move Port to the left' }).click();
    await page.keyboard.press('Escape');
    const heads = () => page.locator('[data-head]').evaluateAll((list) => list.map((head) => head.dataset.head));
    const wanted = ['time', 'kind', 'country', 'ip', 'what', 'port', 'category'];
    assert.deepEqual(await heads(), wanted);
    assert.equal(params().get('cols'), wanted.join(','));
    assert.equal(await cells('port').first().innerText(), '2222');
    await page.reload();
    await rows().first().waitFor();
    assert.deepEqual(await heads(), wanted);
    assert.equal(await page.getByLabel('Width of a bar').inputValue(), '1d');
    await go('/explore');
    await rows().first().waitFor();
    assert.deepEqual(await heads(), wanted, 'this browser keeps the choice');
    await page.getByRole('button', { name: 'Columns' }).click();
    await page.getByRole('button', { name: 'As at first' }).click();
    await page.keyboard.press('Escape');
  });

  test('a saved query is found in another browser by another account, renamed and removed', async () => {
    hub.addUser('colleague', 'viewer');
    await go('/explore?q=user:alpha&range=7d&cols=time,user,port&step=1d');
    await totalIs(50);
    const menu = () => page.getByRole('button', { name: 'Saved queries' });
    await menu().click();
    await page.getByLabel('Name for what is shown').fill('Mirai <b>logins</b>');
    await page.getByRole('checkbox', { name: 'Share with all who may read' }).check();
    await page.getByRole('button', { name: 'Save', exact: true }).click();
    await page.getByRole('link', { name: /^Mirai/ }).waitFor();
    await shot(page, 'explore-saved');
    assert.deepEqual(await violations(page), []);
    await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
    await page.getByRole('button', { name: 'With these times' }).click();
    const link = new URL(await page.evaluate(() => navigator.clipboard.readText()));
    assert.deepEqual([link.pathname, link.searchParams.get('q'), link.searchParams.get('cols')], ['/explore', 'user:alpha', 'time,user,port']);
    assert.equal(Date.parse(link.searchParams.get('to')) - Date.parse(link.searchParams.get('from')), 7 * 24 * HOUR);
    await page.getByLabel('Name for what is shown').fill('Mirai <b>logins</b>');
    await page.getByRole('button', { name: 'Save', exact: true }).click();
    await page.getByRole('alert').getByText('Mirai').waitFor();
    page.complaints = page.complaints.filter((text) => !/status of 409/.test(text));

    const other = await newPage(browser);
    await signIn(other, hub.url, 'colleague');
    await other.goto(`${hub.url}/explore`);
    await other.getByRole('button', { name: 'Saved queries' }).click();
    const kept = other.getByRole('link', { name: /^Mirai <b>logins<\/b>/ });
    await kept.getByText('by tester').waitFor();
    assert.equal(await other.getByRole('button', { name: /^Remove Mirai/ }).count(), 0, 'it is not theirs');
    await kept.click();
    await other.waitForURL((url) => url.searchParams.get('q') === 'user:alpha' && url.searchParams.get('range') === '7d' && url.searchParams.get('step') === '1d');
    await other.locator('[data-column="user"]', { hasText: 'alpha' }).first().waitFor();
    assert.deepEqual(await other.locator('[data-head]').evaluateAll((list) => list.map((head) => head.dataset.head)), ['time', 'user', 'port']);
    assert.deepEqual(other.complaints, []);
    await other.context().close();

    await page.getByRole('button', { name: /^Rename Mirai/ }).click();
    await page.getByLabel(/^New name of/).fill('Alpha');
    await page.getByRole('button', { name: 'Rename', exact: true }).click();
    await page.getByRole('link', { name: /^Alpha/ }).waitFor();
    await page.getByRole('button', { name: 'Share Alpha' }).click();
    await page.getByText('shared', { exact: true }).waitFor({ state: 'detached' });
    await page.getByRole('button', { name: 'Remove Alpha' }).click();
    await page.getByRole('button', { name: 'Remove for good' }).click();
    await page.getByText('None yet').waitFor();
    await page.keyboard.press('Escape');
  });

  test('neighbours of the session and of the address are shown in order', async () => {
    await go('/explore?q=request:uname*');
    await rows().first().click();
    const drawer = page.getByRole('region', { name: 'Event details' });
    await drawer.getByRole('tab', { name: 'Session' }).click();
    const neighbours = drawer.locator('[data-neighbour]');
    await until('five of the session', async () => (await neighbours.count()) === 5);
    assert.deepEqual(
      await neighbours.locator('.kind').allInnerTexts(),
      ['Connected', 'Login', 'Command', 'Command', 'Closed'],
    );
    assert.match(await drawer.locator('[aria-current] ').innerText(), /uname -a/);
    assert.deepEqual(await violations(page), []);
    const id = params().get('event');
    await neighbours.nth(3).click();
    await page.waitForURL((url) => url.searchParams.get('event') !== id);
    await drawer.locator('[aria-current]').getByText('cat /etc/passwd').waitFor();
    await drawer.getByRole('tab', { name: 'Session' }).press('ArrowRight');
    await until('seven of the address', async () => (await neighbours.count()) === 7);
    await shot(page, 'explore-neighbours');
    const times = await neighbours.locator('time').evaluateAll((list) => list.map((time) => Date.parse(time.dateTime)));
    assert.deepEqual(times, [...times].sort((a, b) => a - b));
    assert.equal(times.at(-1), SESSION_AT + HOUR);
    await drawer.getByRole('tab', { name: 'Fields' }).click();
    await drawer.getByRole('link', { name: 'Same session' }).click();
    await page.waitForURL((url) => url.searchParams.get('q') === 'session:session-of-the-test');
    await totalIs(5);
  });

  test('rows are stepped through from the details, and the event can be copied', async () => {
    await go('/explore?q=session:session-of-the-test');
    await rows().nth(1).click();
    const drawer = page.getByRole('region', { name: 'Event details' });
    const id = params().get('event');
    await drawer.getByRole('button', { name: 'Older event' }).click();
    await page.waitForURL((url) => url.searchParams.get('event') !== id);
    await drawer.getByRole('button', { name: 'Newer event' }).click();
    await page.waitForURL((url) => url.searchParams.get('event') === id);
    await drawer.getByRole('button', { name: 'Newer event' }).click();
    assert.ok(await drawer.getByRole('button', { name: 'Newer event' }).isDisabled(), 'it is the newest');
    await drawer.getByRole('button', { name: 'Copy as JSON' }).click();
    const copied = JSON.parse(await page.evaluate(() => navigator.clipboard.readText()));
    assert.equal(copied.id, params().get('event'));
  });

  test('two times are compared with the numbers of the API', async () => {
    await go('/explore?q=kind:auth.attempted&vs=previous');
    await page.locator('[data-change]').first().waitFor();
    await page.getByRole('combobox', { name: 'By' }).selectOption('user');
    const row = (user) => page.locator(`[data-change="${user}"] .num`).allInnerTexts();
    await until('users', async () => (await page.locator('[data-change="alpha"]').count()) === 1);
    const [now, earlier] = await Promise.all([
      count('kind:auth.attempted since:24h'),
      count(`kind:auth.attempted since:48h until:24h`),
    ]);
    assert.deepEqual([now, earlier], [46, 42]);
    assert.match(await page.locator('.changes .sum').innerText(), /^46 events.*42 before.*\+9\.5 %$/s);
    assert.deepEqual(await row('alpha'), ['30', '20', '+10 +50 %']);
    assert.deepEqual(await row('beta'), ['10', '15', '−5 −33 %']);
    assert.deepEqual(await row('gamma'), ['5', '0', 'new']);
    assert.deepEqual(await row('delta'), ['0', '7', 'gone']);
    await shot(page, 'explore-compare');
    assert.deepEqual(await violations(page), []);
    assert.match(await page.getByRole('slider').getAttribute('aria-valuetext'), /46 events/);
    await page.getByRole('button', { name: 'Events', exact: true }).click();
    await rows().first().waitFor();
    await page.reload();
    await rows().first().waitFor();
    assert.equal(params().get('vs'), 'previous');
    await page.getByRole('button', { name: 'Compare two times' }).click();
    await page.getByRole('button', { name: 'Do not compare' }).click();
    await page.waitForURL((url) => !url.searchParams.has('vs'));
  });

  test('an export holds exactly the events of the query', async () => {
    await go('/explore?q=user:alpha');
    await totalIs(30);
    await page.getByRole('button', { name: 'Export', exact: true }).click();
    const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: /^NDJSON/ }).click()]);
    const lines = readFileSync(await download.path(), 'utf8').trim().split('\n').map((line) => JSON.parse(line));
    assert.equal(lines.length, 30);
    assert.ok(lines.every((line) => line.credentials.username === 'alpha'));
    assert.equal(download.suggestedFilename(), 'palisade-events.ndjson');
    await page.getByText('30 lines').waitFor();
    await page.keyboard.press('Escape');
  });

  test('thousands of rows are scrolled through while only those in view exist', async () => {
    await go('/explore?q=user:many*&range=30d');
    await totalIs(3_000);
    await page.getByRole('grid').focus();
    for (let loaded = 0; loaded < 3_000; ) {
      await page.keyboard.press('End');
      const seen = loaded;
      await until('more rows', async () => (loaded = await page.getByRole('rowgroup').evaluate((space) => Math.round(space.clientHeight / 29))) > seen);
    }
    await page.keyboard.press('End');
    await page.getByText('No more events').waitFor();
    await until('the last rows', async () => Number(await rows().last().getAttribute('aria-rowindex')) === 3_001);
    assert.ok((await rows().count()) < 80, `${await rows().count()} rows exist`);
  });

  test('live rows gather while one reads, and come when asked for', async () => {
    await go('/explore?q=user:live');
    await page.getByText('No events match').waitFor();
    await page.getByRole('switch', { name: 'Live updates' }).getByText('Live').waitFor();
    assert.ok(await hub.deliver([login(Date.now(), 'live')]));
    await page.getByRole('button', { name: '1 new' }).click();
    await cells('what').getByText('live / xc3511').waitFor();
    assert.ok(await hub.deliver([login(Date.now(), 'live'), login(Date.now(), 'live')]));
    await page.getByRole('button', { name: '2 new' }).waitFor();
    assert.equal(await rows().count(), 1, 'nothing moved');
  });

  test('all of it fits every width, in light and dark, without violations', async () => {
    const seen = ['/explore?q=user:alpha', '/explore?q=kind:auth.attempted&vs=previous'];
    for (const scheme of ['light', 'dark']) {
      await page.emulateMedia({ colorScheme: scheme });
      for (const width of [390, 768, 1440, 2560]) {
        await page.setViewportSize({ width, height: width === 390 ? 844 : 1000 });
        for (const [i, path] of seen.entries()) {
          await go(path);
          await page.locator(i === 0 ? '[role=grid] [aria-selected]' : '[data-change]').first().waitFor();
          const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
          assert.ok(over <= 0, `${path} is ${over} px too wide at ${width}`);
          await shot(page, `explore-${scheme}-${width}-${i}`);
          if (width === 390 || width === 1440) assert.deepEqual(await violations(page), [], `${path} at ${width}, ${scheme}`);
        }
      }
    }
    await page.emulateMedia({ colorScheme: null });
    await page.setViewportSize({ width: 1440, height: 900 });
    assert.deepEqual(page.complaints, [], 'no error, warning or policy violation');
  });
});

test('every page says that the store is behind, by how much, and when it is not any more', { timeout: 120_000 }, async (context) => {
  let disk;
  const mount = (data) => {
    const folder = join(data, 'store');
    mkdirSync(folder);
    if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'tmpfs', folder]).status === 0) disk = folder;
  };
  const small = await Palisade.start({ demo: false, before: mount });
  try {
    if (!disk) return context.skip('a file system cannot be mounted here; that needs root');
    const there = await newPage(browser);
    await signIn(there, small.url);
    await there.getByRole('region', { name: 'State of the hub' }).or(there.locator('.todo')).first().waitFor();
    assert.equal(await there.locator('[data-behind]').count(), 0);
    const request = 'x'.repeat(2_000);
    for (let n = 0; n < 3; n += 1) {
      const events = Array.from({ length: 1_000 }, (_, i) => event(START - i, 'data.received', { request: `${n} ${i} ${request} ${Math.random()}` }));
      assert.ok(await small.deliver(events), 'the spool takes what the store cannot');
    }
    const banner = there.locator('[data-behind=failed]');
    await banner.waitFor({ timeout: 60_000 });
    const text = await banner.innerText();
    assert.match(text, /does not take events/);
    assert.match(text, /disk.*full/i);
    assert.match(text, /records? waits? in the spool/);
    await shot(there, 'behind-overview');
    assert.deepEqual(await violations(there), []);
    for (const name of ['Explore', 'Sensors', 'Settings']) {
      await there.getByRole('navigation', { name: 'Pages' }).getByRole('link', { name, exact: true }).click();
      assert.ok(await banner.isVisible(), name);
    }
    spawnSync('mount', ['-o', 'remount,size=64m', disk]);
    await banner.waitFor({ state: 'detached', timeout: 60_000 });
    await there.context().close();
  } finally {
    await small.stop(() => disk && spawnSync('umount', ['-l', disk]));
  }
});

test('a lost database of accounts is said, and when it is back', { timeout: 120_000 }, async () => {
  const database = await Postgres.start();
  let lost;
  try {
    lost = await Palisade.start({ demo: false, settings: `[hub.state]\npostgres = "${database.url}"` });
    const there = await newPage(browser);
    await signIn(there, `${lost.url}/sensors`);
    await there.getByText('PostgreSQL', { exact: true }).waitFor();
    await database.stop();
    const banner = there.locator('[data-behind=state]');
    await banner.waitFor({ timeout: 60_000 });
    assert.match(await banner.innerText(), /cannot reach its database/);
    await shot(there, 'behind-state');
    assert.deepEqual(await violations(there), []);
    await database.run();
    await banner.waitFor({ state: 'detached', timeout: 60_000 });
    await there.getByText('Answers', { exact: true }).waitFor();
    await there.context().close();
  } finally {
    await lost?.stop();
    await database.remove();
  }
});

// Accounts of people and their sessions, in two browsers at once.
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { launch, newPage, Palisade, shot, signIn, USER, violations } from './palisade.mjs';

let browser;
let hub;
before(async () => {
  browser = await launch();
  hub = await Palisade.start({ demo: false });
});
after(async () => {
  await browser?.close();
  await hub?.stop();
});

describe('accounts', { timeout: 120_000 }, () => {
  let page;
  let anna;
  const people = () => page.getByRole('region', { name: 'Table of accounts' });
  const row = (name) => people().locator(`tr[data-key="${name}"]`);
  const sessions = () => page.getByRole('region', { name: 'Table of sessions' });
  before(async () => {
    page = await newPage(browser);
    await signIn(page, hub.url);
    await page.goto(`${hub.url}/accounts`);
    await row('admin').waitFor();
  });
  after(() => Promise.all([page?.context().close(), anna?.context().close()]));

  test('an account is added with a role, and signs in', async () => {
    await page.getByRole('button', { name: 'Add…' }).click();
    const dialog = page.getByRole('dialog', { name: 'Add an account' });
    await dialog.getByLabel('Name').fill('anna');
    await dialog.getByLabel('Password').fill('short');
    await dialog.getByLabel(/^Viewer/).check();
    assert.deepEqual(await violations(page), []);
    await dialog.getByRole('button', { name: 'Add account' }).click();
    await dialog.getByRole('alert').getByText(/password/i).waitFor();
    await dialog.getByLabel('Password').fill(USER.password);
    await dialog.getByRole('button', { name: 'Add account' }).click();
    await row('anna').waitFor();
    anna = await newPage(browser);
    await signIn(anna, hub.url, 'anna');
    await page.reload();
    await sessions().getByRole('row', { name: /anna/ }).waitFor();
    assert.equal(await row('anna').locator('td').nth(3).innerText(), '1');
  });

  test('admin keeps its role and stays, one cannot take away what one is oneself', async () => {
    for (const name of ['admin', USER.name]) {
      assert.ok(await row(name).getByRole('combobox').isDisabled(), `${name} keeps its role`);
      assert.equal(await row(name).getByRole('button', { name: /^Remove/ }).count(), 0);
    }
    const refused = await page.evaluate(async () => {
      const write = { 'X-Palisade': '1', 'Content-Type': 'application/json' };
      const removed = await fetch('api/v1/users/admin', { method: 'DELETE', headers: write });
      const demoted = await fetch('api/v1/users/admin/role', { method: 'PUT', headers: write, body: '{"role":"viewer"}' });
      return [removed.status, demoted.status];
    });
    assert.deepEqual(refused, [422, 422]);
  });

  test('a role counts at once, also in a session that goes on', async () => {
    await anna.goto(`${hub.url}/bans`);
    await anna.getByRole('heading', { level: 1, name: 'Bans' }).waitFor();
    assert.equal(await anna.getByRole('button', { name: 'Ban…' }).count(), 0);
    await row('anna').getByRole('combobox').selectOption('operator');
    await page.getByText('anna is operator from now on').waitFor();
    await anna.reload();
    await anna.getByRole('button', { name: 'Ban…' }).waitFor();
    await anna.goto(`${hub.url}/accounts`);
    await anna.getByRole('region', { name: 'Where you are signed in' }).getByText('this browser').waitFor();
    assert.equal(await anna.getByRole('region', { name: 'Table of accounts' }).count(), 0);
    await shot(anna, 'accounts-operator');
    assert.deepEqual(await violations(anna), []);
  });

  test('it looks right, on a phone and in the dark too', async () => {
    for (const [width, scheme] of [[1440, 'light'], [1440, 'dark'], [390, 'light'], [390, 'dark']]) {
      await page.setViewportSize({ width, height: 900 });
      await page.emulateMedia({ colorScheme: scheme });
      await page.reload();
      await row('anna').waitFor();
      await sessions().getByText('this browser').waitFor();
      await shot(page, `accounts-${width}-${scheme}`);
      assert.deepEqual(await violations(page), [], `${width} ${scheme}`);
      const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(over <= 0, `${over} px too wide at ${width}`);
    }
    await page.setViewportSize({ width: 1440, height: 900 });
    await page.emulateMedia({ colorScheme: null });
    await page.reload();
    await row('anna').waitFor();
  });

  test('a session is ended from another browser, and says so there', async () => {
    await sessions().getByRole('row', { name: /anna/ }).getByRole('button', { name: /^Sign out anna/ }).click();
    await sessions().getByRole('row', { name: /anna/ }).waitFor({ state: 'detached' });
    await anna.getByRole('link', { name: 'Bans', exact: true }).click();
    await anna.getByText('Your session has ended').waitFor();
  });

  test('an account is removed after a question that names what happens', async () => {
    await row('anna').getByRole('button', { name: 'Remove anna' }).click();
    const dialog = page.getByRole('dialog', { name: 'Remove anna?' });
    await dialog.getByText('This cannot be undone').waitFor();
    assert.deepEqual(await violations(page), []);
    await dialog.getByRole('button', { name: 'Cancel' }).click();
    await row('anna').waitFor();
    await row('anna').getByRole('button', { name: 'Remove anna' }).click();
    await dialog.getByRole('button', { name: 'Remove account' }).click();
    await row('anna').waitFor({ state: 'detached' });
    const complaints = page.complaints.filter((text) => !/\b422\b/.test(text));
    assert.deepEqual(complaints, [], 'no error, warning or policy violation');
  });
});

// Starts the real binary in a temporary folder and a real browser for it.
import { spawn, spawnSync } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { createRequire } from 'node:module';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
export const BINARY = process.env.PALISADE_BIN ?? here('../../target/debug/palisade');
/** Has the slow disk of the tests. */
export const BENCH = process.env.PALISADE_BENCH ?? join(dirname(BINARY), 'palisade-bench');
const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const START_MS = 60_000;
export const RESULTS = here('../test-results/');
export const USER = { name: 'tester', password: 'correct-horse-9' };

/** A running `palisade up` with honeypots, a watched log and, unless `demo` is
 * false, demo data. `before` is called with its data folder before it starts,
 * `settings` are added to its file, `port` is the page's where it must stay, `machine` says whether the
 * machine that runs the test is told too. */
export class Palisade {
  static async start({ base = '', demo = true, before = undefined, settings = '', port = 0, machine = false } = {}) {
    if (!existsSync(BINARY)) throw new Error(`${BINARY} is not there: build it, or set PALISADE_BIN`);
    const self = new Palisade();
    self.home = mkdtempSync(join(tmpdir(), 'palisade-ui-'));
    self.data = join(self.home, 'data');
    mkdirSync(self.data);
    await before?.(self.data);
    writeFileSync(join(self.home, 'auth.log'), '');
    writeFileSync(
      join(self.home, 'palisade.toml'),
      `data = "${self.data}"
sensor = "edge-1"

[api]
${base ? `base_path = "${base}"` : ''}

[[api.listeners]]
address = "127.0.0.1:${port}"
tls = true

${machine ? '' : '[agent.inventory]\nenabled = false\n[agent.audit]\nenabled = false\n[agent.integrity]\nenabled = false\n'}
[[agent.sources]]
type = "file"
path = "${self.home}/auth.log"
parser = "sshd"
from = "start"

[[honeypot.services]]
type = "telnet"
listen = "127.0.0.1:0"

[[honeypot.services]]
type = "http"
listen = "127.0.0.1:0"
${settings}
`,
    );
    self.demo = demo;
    await self.run();
    self.addUser(USER.name, 'admin');
    return self;
  }

  /** Starts it on the data it has. */
  async run() {
    this.printed = '';
    this.child = spawn(BINARY, ['up', ...(this.demo ? ['--demo'] : []), '--config', join(this.home, 'palisade.toml')], { cwd: this.home });
    this.child.stdout.on('data', (text) => (this.printed += text));
    this.child.stderr.on('data', (text) => (this.log = ((this.log ?? '') + text).slice(-20_000)));
    this.ended = new Promise((done) => this.child.on('exit', done));
    await this.until('ready', () => /^ready/m.test(this.printed));
    this.url = `https://${this.address('https://')}`;
  }

  /** kill -9. */
  async kill() {
    this.child.kill('SIGKILL');
    await this.ended;
  }

  /** A command for the running hub; what it prints. */
  command(arguments_, input = '') {
    const ran = spawnSync(BINARY, [...arguments_, '--data', this.data], { input, encoding: 'utf8' });
    if (ran.status !== 0) throw new Error(`palisade ${arguments_.join(' ')}: ${ran.stderr}`);
    return ran.stdout;
  }

  /** All accounts of the tests have the same password. */
  addUser(name, role) {
    this.command(['user', 'add', name, '--role', role, '--password-stdin'], USER.password);
  }

  /** Delivers events as a sensor does; true once the hub has them for good. */
  async deliver(events) {
    this.key ??= this.command(['key', 'add', 'sender', '--scope', 'ingest']).trim().split(/\s+/).find((word) => word.startsWith('pal_'));
    const body = JSON.stringify({ version: 1, events });
    const headers = { Authorization: `Bearer ${this.key}`, 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) };
    const status = await new Promise((done, fail) => {
      const options = { method: 'POST', headers, rejectUnauthorized: false };
      const sent = request(`${this.url}/api/v1/events`, options, (answer) => (answer.resume(), answer.on('end', () => done(answer.statusCode))));
      sent.on('error', fail);
      sent.end(body);
    });
    return status === 200;
  }

  /** The address printed after a label. */
  address(label) {
    const line = this.printed.split('\n').find((text) => text.includes(label)) ?? '';
    const found = /127\.0\.0\.1:\d+/.exec(line.slice(line.indexOf(label)));
    if (!found) throw new Error(`no address after '${label}' in:\n${this.printed}`);
    return found[0];
  }

  async until(what, check) {
    const end = Date.now() + START_MS;
    while (!check()) {
      if (this.child.exitCode !== null) throw new Error(`palisade ended:\n${this.log}`);
      if (Date.now() > end) throw new Error(`waited in vain for ${what}:\n${this.printed}\n${this.log}`);
      await pause(20);
    }
  }

  /** Logs in to the telnet honeypot as an attacker would; ends when it is over. */
  telnetLogin(user, password) {
    const [host, port] = this.address('honeypot telnet on').split(':');
    return new Promise((done, fail) => {
      const socket = connect(Number(port), host);
      let heard = '';
      let said = 0;
      socket.setTimeout(15_000, () => socket.destroy(new Error(`telnet: silence after '${heard}'`)));
      socket.on('error', fail);
      socket.on('data', (bytes) => {
        heard += bytes.toString('latin1');
        if (said === 0 && /login:/i.test(heard)) {
          said = 1;
          socket.write(Buffer.concat([Buffer.from(user), Buffer.from('\r\n')]));
        } else if (said === 1 && /password:/i.test(heard)) {
          said = 2;
          socket.write(Buffer.concat([Buffer.from(password), Buffer.from('\r\n')]));
          heard = '';
        } else if (said === 2 && heard.length > 0) {
          socket.destroy();
          done();
        }
      });
    });
  }

  /** A request to the honeypot web server, written byte for byte. */
  httpRequest(text) {
    const [host, port] = this.address('honeypot http on').split(':');
    return new Promise((done, fail) => {
      const socket = connect(Number(port), host, () => socket.write(text));
      socket.setTimeout(15_000, () => socket.destroy(new Error('http: silence')));
      socket.on('error', fail);
      socket.on('data', () => (socket.destroy(), done()));
    });
  }

  /** `between` is called when it has ended, before its folder is removed. */
  async stop(between = undefined) {
    this.child.kill('SIGTERM');
    const late = setTimeout(() => this.child.kill('SIGKILL'), 15_000);
    await this.ended;
    clearTimeout(late);
    await between?.();
    rmSync(this.home, { recursive: true, force: true });
  }
}

/** A port that nothing listens on. */
export async function freePort() {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise((done) => server.on('listening', done));
  const { port } = server.address();
  await new Promise((done) => server.close(done));
  return port;
}

export async function launch() {
  mkdirSync(RESULTS, { recursive: true });
  return chromium.launch({
    executablePath: CHROMIUM,
    headless: true,
    args: [
      '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync',
    ],
  });
}

/** A page that remembers everything the browser complained about. */
export async function newPage(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ignoreHTTPSErrors: true, ...options });
  const page = await context.newPage();
  page.complaints = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) page.complaints.push(message.text());
  });
  page.on('pageerror', (error) => page.complaints.push(`uncaught: ${error.message}`));
  await page.addInitScript(() => {
    document.addEventListener('securitypolicyviolation', (event) => {
      console.error(`policy: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
    });
  });
  return page;
}

export async function signIn(page, url, name = USER.name) {
  await page.goto(url);
  await page.getByLabel('Name').fill(name);
  await page.getByLabel('Password').fill(USER.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('navigation', { name: 'Pages' }).waitFor();
}

const ULID = '0123456789ABCDEFGHJKMNPQRSTVWXYZ';

/** An id of that instant, drawn as sensors draw it. */
export function ulid(at) {
  let time = '';
  for (let i = 0, rest = at; i < 10; i += 1, rest = Math.floor(rest / 32)) time = ULID[rest % 32] + time;
  return time + [...randomBytes(16)].map((byte) => ULID[byte % 32]).join('');
}

/** An event of that instant in the wire form; the hub puts the sensor in. */
export function event(at, kind, more = {}) {
  return { id: ulid(at), kind, observed_at: new Date(at).toISOString(), domain: 'private', sensor: 'sender', ...more };
}

const AXE = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

/** Violations of WCAG 2.2 AA, as axe sees them. */
export async function violations(onPage) {
  // Run by the driver, not by the page, so that the page's policy stays as it is.
  await onPage.evaluate(AXE);
  // What the head of the page half covers while it scrolls is not too small.
  await onPage.evaluate(() => globalThis.scrollTo(0, 0));
  const found = await onPage.evaluate(async () => {
    const tags = ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'];
    const result = await globalThis.axe.run(document, { runOnly: tags });
    return result.violations.map((v) => `${v.id}: ${v.nodes.slice(0, 3).map((n) => n.html.slice(0, 160)).join(' | ')}`);
  });
  return found;
}

export const shot = (page, name) => page.screenshot({ path: join(RESULTS, `${name}.png`) });

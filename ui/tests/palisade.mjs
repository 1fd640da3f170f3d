// Starts the real binary in a temporary folder and a real browser for it.
import { spawn, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { chromium } from 'playwright-core';

const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const BINARY = process.env.PALISADE_BIN ?? here('../../target/debug/palisade');
const CHROMIUM = process.env.CHROMIUM ?? '/usr/bin/chromium';
const START_MS = 60_000;
export const RESULTS = here('../test-results/');
export const USER = { name: 'tester', password: 'correct-horse-9' };

/** A running `palisade up` with demo data, honeypots and a watched log. */
export class Palisade {
  static async start(base = '') {
    if (!existsSync(BINARY)) throw new Error(`${BINARY} is not there: build it, or set PALISADE_BIN`);
    const self = new Palisade();
    self.home = mkdtempSync(join(tmpdir(), 'palisade-ui-'));
    self.data = join(self.home, 'data');
    writeFileSync(join(self.home, 'auth.log'), '');
    writeFileSync(
      join(self.home, 'palisade.toml'),
      `data = "${self.data}"
sensor = "edge-1"

[api]
${base ? `base_path = "${base}"` : ''}

[[api.listeners]]
address = "127.0.0.1:0"
tls = true

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
`,
    );
    self.printed = '';
    self.child = spawn(BINARY, ['up', '--demo', '--config', join(self.home, 'palisade.toml')], { cwd: self.home });
    self.child.stdout.on('data', (text) => (self.printed += text));
    self.child.stderr.on('data', (text) => (self.log = ((self.log ?? '') + text).slice(-20_000)));
    self.ended = new Promise((done) => self.child.on('exit', done));
    await self.until('ready', () => /^ready/m.test(self.printed));
    self.url = `https://${self.address('https://')}`;
    const arguments_ = ['user', 'add', USER.name, '--role', 'admin', '--password-stdin', '--data', self.data];
    const added = spawnSync(BINARY, arguments_, { input: USER.password, encoding: 'utf8' });
    if (added.status !== 0) throw new Error(`user add: ${added.stderr}`);
    return self;
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

  async stop() {
    this.child.kill('SIGTERM');
    const late = setTimeout(() => this.child.kill('SIGKILL'), 15_000);
    await this.ended;
    clearTimeout(late);
    rmSync(this.home, { recursive: true, force: true });
  }
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

export async function signIn(page, url) {
  await page.goto(url);
  await page.getByLabel('Name').fill(USER.name);
  await page.getByLabel('Password').fill(USER.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('navigation', { name: 'Pages' }).waitFor();
}

export const shot = (page, name) => page.screenshot({ path: join(RESULTS, `${name}.png`) });

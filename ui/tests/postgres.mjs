// A PostgreSQL server of the tests' own, in a temporary folder, without fsync.
import { spawn, spawnSync } from 'node:child_process';
import { chownSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { freePort } from './palisade.mjs';

const ROOT = '/usr/lib/postgresql';
const START_MS = 60_000;

/** Whose server it is: initdb refuses root. */
function owner() {
  if (process.getuid() !== 0) return {};
  const number = (flag) => Number(spawnSync('id', [flag, 'nobody'], { encoding: 'utf8' }).stdout);
  return { uid: number('-u'), gid: number('-g') };
}

export class Postgres {
  static async start() {
    const version = existsSync(ROOT) ? readdirSync(ROOT).sort((a, b) => Number(a) - Number(b)).at(-1) : undefined;
    if (!version) throw new Error(`${ROOT} is not there: install postgresql`);
    const self = new Postgres();
    self.bin = join(ROOT, version, 'bin');
    self.home = mkdtempSync(join(tmpdir(), 'palisade-pg-'));
    self.as = owner();
    if (self.as.uid !== undefined) chownSync(self.home, self.as.uid, self.as.gid);
    self.data = join(self.home, 'data');
    const made = spawnSync(join(self.bin, 'initdb'), ['--no-sync', '--username', 'palisade', '--auth', 'trust', '--encoding', 'UTF8', '--locale', 'C.UTF-8', '-D', self.data], { cwd: self.home, encoding: 'utf8', ...self.as });
    if (made.status !== 0) throw new Error(`initdb: ${made.stderr}`);
    self.port = await freePort();
    self.url = `postgres://palisade@127.0.0.1:${self.port}/postgres?sslmode=disable`;
    await self.run();
    return self;
  }

  async run() {
    const settings = ['fsync=off', `port=${this.port}`, 'listen_addresses=127.0.0.1', `unix_socket_directories=${this.home}`];
    this.log = '';
    this.child = spawn(join(this.bin, 'postgres'), ['-D', this.data, ...settings.flatMap((line) => ['-c', line])], { cwd: this.home, ...this.as });
    this.child.stderr.on('data', (text) => (this.log = (this.log + text).slice(-10_000)));
    this.ended = new Promise((done) => this.child.on('exit', done));
    // However the tests end.
    const { child } = this;
    process.once('exit', () => child.kill('SIGQUIT'));
    const end = Date.now() + START_MS;
    while (!this.log.includes('ready to accept connections')) {
      if (this.child.exitCode !== null || Date.now() > end) throw new Error(`PostgreSQL does not start:\n${this.log}`);
      await pause(20);
    }
  }

  /** Cuts its connections and ends. */
  async stop() {
    this.child.kill('SIGINT');
    await this.ended;
  }

  async remove() {
    this.child.kill('SIGQUIT');
    await this.ended;
    rmSync(this.home, { recursive: true, force: true });
  }
}

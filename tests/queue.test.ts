/**
 * The fleet on one machine: a real Redis server, workers as processes, and everything that may happen to them. Cells are kernels of a few
 * instructions. Skips itself where there is no redis-server or no bullmq.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFileSync, spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { tinyKernel } from '../src/conformance/tiny-elf.ts';
import type { CellResult, MatrixReport } from '../src/matrix/result.ts';
import { polyvisor, program } from './command.ts';
import { startS3rver, without } from './s3rver.ts';

const missing =
  spawnSync('redis-server', ['--version']).status !== 0
    ? 'there is no redis-server here: apt install redis-server'
    : without('bullmq');

const folder = mkdtempSync(join(tmpdir(), 'polyvisor-queue-'));
const store = join(folder, 'store');
/** Seconds: a busy host must not be taken for a worker that is lost. */
const LEASE = '6';
/** What ends with the tests, whatever becomes of them. */
const endings: (() => void)[] = [];
after(() => {
  for (const end of endings.reverse()) end();
  rmSync(folder, { recursive: true, force: true });
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, '127.0.0.1');
  await new Promise(resolve => server.once('listening', resolve));
  const { port } = server.address() as { port: number };
  await new Promise(resolve => server.close(resolve));
  return port;
}

/** A server that keeps what it was told on the disk. */
async function startRedis(port: number, ...words: string[]): Promise<() => Promise<void>> {
  const data = join(folder, `redis-${port}`);
  mkdirSync(data, { recursive: true });
  const always = ['--port', `${port}`, '--bind', '127.0.0.1', '--dir', data, '--appendonly', 'yes', '--save', ''];
  const child = spawn('redis-server', [...always, ...words], { stdio: 'ignore' });
  const end = () => void child.kill('SIGKILL');
  endings.push(end);
  while (!/PONG|NOAUTH/.test(spawnSync('redis-cli', ['-p', `${port}`, 'ping'], { encoding: 'utf8' }).stdout))
    await new Promise(resolve => setTimeout(resolve, 50));
  return async () => {
    child.kill('SIGTERM');
    await new Promise(resolve => child.once('exit', resolve));
  };
}

/** Writes "ok\n" to the first serial port, and halts for ever. Files of different sizes are different kernels. */
function kernel(name: string, size: number): string {
  const letters = [...'ok\n'].flatMap(letter => [0xb0, letter.charCodeAt(0), 0xee]);
  const code = tinyKernel([0x66, 0xba, 0xf8, 0x03, ...letters, 0xfa, 0xf4]);
  const path = join(folder, name);
  const bytes = new Uint8Array(size);
  bytes.set(code);
  writeFileSync(path, bytes);
  return path;
}

/** A hypervisor that ends the worker whose cell loads it; if there is a `marker`, only the first. */
function killer(name: string, marker?: string): string {
  const path = join(folder, name);
  const condition = marker === undefined ? 'true' : `!existsSync(${JSON.stringify(marker)})`;
  writeFileSync(
    path,
    `import { existsSync, writeFileSync } from 'node:fs';
     import { bareTable, derive } from 'polyvisor';
     const names = { name: 'killer', title: 'ends workers' };
     if (${condition}) {
       ${marker === undefined ? '' : `writeFileSync(${JSON.stringify(marker)}, '');`}
       process.kill(process.ppid, 'SIGKILL');
     }
     export default { ...names, make: () => derive(bareTable, names) };`,
  );
  return path;
}

describe('a fleet', { skip: missing, timeout: 500_000 }, () => {
  let port = 0;
  let address = '';
  let stopRedis = async () => {};
  const empty = join(folder, 'initrd');
  const shared = (words: string[]) => [...words, '--queue', address, '--store', store];
  const matrix = (...words: string[]) =>
    shared(['matrix', ...words, '--initrd', empty, '--until', 'ok', '--memory', '16M']);
  const workers = new Set<ChildProcess>();
  let wanted = true;

  /** A worker that is started again when something has killed it, as a service manager would. */
  const keepWorker = (): void => {
    const child = spawn(program, shared(['worker', '--jobs', '1', '--lease', LEASE]), { stdio: 'ignore' });
    workers.add(child);
    child.once('exit', () => {
      workers.delete(child);
      if (wanted) keepWorker();
    });
  };

  before(async () => {
    writeFileSync(empty, '');
    port = await freePort();
    address = `redis://127.0.0.1:${port}`;
    stopRedis = await startRedis(port);
    endings.push(() => {
      wanted = false;
      for (const child of workers) child.kill('SIGKILL');
    });
  });

  test('60 cells, whoever is killed, restarted or without room: none is lost, none counts twice', async t => {
    const kernels = Array.from({ length: 15 }, (_, index) => kernel(`kernel-${index}`, 16384 + index));
    const once = killer('once.js', join(folder, 'marker'));
    const json = join(folder, 'fleet.json');
    for (let count = 0; count < 4; count++) keepWorker();
    const full = await workerWithoutRoom(shared(['worker', '--jobs', '1', '--lease', LEASE]));
    let restarted: Promise<void> | undefined;
    let said = '';
    const result = await polyvisor(matrix(...kernels, '-H', `bare,kvm,vmware,${once}`, '--json', json), {
      limit: 450,
      onError(text) {
        said += text;
        if (restarted || said.split('✔').length < 15) return;
        restarted = stopRedis().then(async () => {
          stopRedis = await startRedis(port);
        });
      },
    });
    assert.ok(restarted, `the server was restarted in the middle: ${said}`);
    await restarted;
    const { cells, jobs } = JSON.parse(readFileSync(json, 'utf8')) as MatrixReport;
    assert.equal(cells.length, 60);
    assert.equal(new Set(cells.map(({ kernel, hypervisor }) => `${kernel} ${hypervisor}`)).size, 60);
    for (const { kernel, hypervisor, verdict, reason } of cells)
      assert.equal(verdict, 'passed', `${kernel} ${hypervisor}: ${reason}`);
    assert.ok(jobs >= 2, 'several workers had a part');
    const again = cells.filter(({ hypervisor, workers = [] }) => hypervisor === 'once.js' && workers.length > 1);
    assert.ok(again.length > 0, 'the cell whose worker was killed was run again');
    // Each ends once in what is shown, too.
    assert.equal(said.match(/^polyvisor: ✔ /gm)?.length, 60);
    assert.equal(result.status, 0, result.stdout);
    if (full === undefined) return t.diagnostic('only root can make a disk without room');
    const { status, stderr } = await full.outcome;
    assert.match(stderr, /the disk is full/);
    assert.equal(status, 74);
  });

  test('a cell that kills every worker it meets is given up, and names them', async () => {
    const json = join(folder, 'killer.json');
    const always = killer('always.js');
    const { status } = await polyvisor(matrix(kernel('victim', 12288), '-H', `${always},kvm`, '--json', json));
    assert.equal(status, 1);
    const [{ verdict, reason, workers }, other] = (JSON.parse(readFileSync(json, 'utf8')) as MatrixReport).cells as [
      CellResult,
      CellResult,
    ];
    assert.equal(verdict, 'died');
    assert.match(reason, /^given up: the workers that ran it were lost, one after the other: \S+, \S+, \S+$/);
    assert.equal(workers?.length, 3);
    assert.equal(other.verdict, 'passed');
  });

  test('left with Ctrl-C, a run is collected with --resume; twice, it is cancelled', async () => {
    wanted = false;
    for (const child of workers) child.kill('SIGKILL');
    const small = kernel('small', 12290);
    const left = await polyvisor(matrix(small, '-H', 'bare,kvm'), {
      signal: { after: 'cells in the queue', name: 'SIGINT' },
    });
    assert.equal(left.status, 130, left.stderr);
    const [, run] = /ended by SIGINT: the cells go on; .*--resume (\w+) /.exec(left.stderr) ?? [];
    assert.ok(run, left.stderr);

    const other = await polyvisor(matrix(small, '-H', 'bare', '--resume', run));
    assert.match(other.stderr, /--resume \w+: that run has other kernels, hypervisors or options/);
    wanted = true;
    keepWorker();
    const collected = await polyvisor(matrix(small, '-H', 'bare,kvm', '--resume', run));
    assert.match(collected.stdout, /2 of 2 cells passed/);
    assert.equal(collected.status, 0);
    const gone = await polyvisor(matrix(small, '-H', 'bare,kvm', '--resume', run));
    assert.match(gone.stderr, /the queue knows no such run/);
    assert.equal(gone.status, 64);

    wanted = false;
    for (const child of workers) child.kill('SIGKILL');
    let signals = 0;
    const child = spawn(program, matrix(small, '-H', 'bare,kvm'), { stdio: ['ignore', 'ignore', 'pipe'] });
    let said = '';
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      said += text;
      if (signals === 0 && said.includes('cells in the queue')) signals = +child.kill('SIGINT');
      if (signals === 1 && said.includes('once more')) signals += +child.kill('SIGINT');
    });
    assert.equal(await new Promise(resolve => child.once('exit', resolve)), 130);
    assert.match(said, /run \w+ is cancelled/);
    const keys = execFileSync('redis-cli', ['-p', `${port}`, 'keys', '*'], { encoding: 'utf8' });
    assert.doesNotMatch(keys, /polyvisor:run:|:[0-9a-f]{10}-\d+$/m, 'nothing waits any more');
  });

  test('a bucket is the store', { skip: without('aws4fetch', 's3rver') }, async () => {
    const server = await startS3rver(join(folder, 's3'), 'fleet');
    endings.push(() => void server.close());
    const place = ['--queue', address, '--store', 's3://fleet/run'];
    const env = { ...process.env, ...server.env };
    const child = spawn(program, ['worker', '--jobs', '2', ...place], { stdio: 'ignore', env });
    endings.push(() => void child.kill('SIGKILL'));
    const words = [
      'matrix',
      kernel('bucket', 12292),
      '-H',
      'bare,kvm',
      '--initrd',
      empty,
      '--until',
      'ok',
      '--memory',
      '16M',
    ];
    const { status, stdout, stderr } = await polyvisor([...words, ...place], { env: server.env });
    assert.match(stdout, /2 of 2 cells passed/, stderr);
    assert.equal(status, 0);
    child.kill('SIGINT');
    assert.equal(await new Promise(resolve => child.once('exit', resolve)), 0);
  });

  test('a worker of another version is refused', async () => {
    const note = JSON.stringify({ version: '9.9.9', plan: '' });
    execFileSync('redis-cli', ['-p', `${port}`, 'set', 'polyvisor:run:0123456789', note]);
    const { status, stderr } = await polyvisor(shared(['worker']));
    execFileSync('redis-cli', ['-p', `${port}`, 'del', 'polyvisor:run:0123456789']);
    assert.match(stderr, /^polyvisor: this is Polyvisor \S+, and what waits in the queue \S+ is for 9\.9\.9: .*\n$/);
    assert.equal(status, 69);
  });

  test('no server, a wrong password, a store without room', async () => {
    const tiny = kernel('tiny', 12291);
    const at = (queue: string, place = store) =>
      polyvisor(['matrix', tiny, '--initrd', empty, '--until', 'ok', '--queue', queue, '--store', place]);
    const nobody = await at('redis://127.0.0.1:1');
    assert.match(nobody.stderr, /^polyvisor: --queue redis:\/\/127\.0\.0\.1:1: .*ECONNREFUSED.*\n$/);
    assert.equal(nobody.status, 69);

    const other = await freePort();
    await startRedis(other, '--requirepass', 'secret');
    const wrong = await at(`redis://:guess@127.0.0.1:${other}`);
    assert.match(wrong.stderr, /^polyvisor: --queue redis:\/\/127\.0\.0\.1:\d+: WRONGPASS .*\n$/);
    assert.equal(wrong.status, 69);

    const nowhere = await at('127.0.0.1');
    assert.match(nowhere.stderr, /--queue 127\.0\.0\.1: a Redis server's address/);
    assert.equal(nowhere.status, 64);
    const place = mountSmall('small-store');
    if (place === undefined) return;
    const noRoom = await at(address, place);
    assert.match(noRoom.stderr, /the disk is full/);
    assert.equal(noRoom.status, 74);
  });
});

/** A file system of two pages; undefined where this user cannot make one. */
function mountSmall(name: string): string | undefined {
  const place = join(folder, name);
  mkdirSync(place);
  if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=8k', 'polyvisor-test', place]).status !== 0) return undefined;
  endings.push(() => void spawnSync('umount', [place]));
  return place;
}

/** One whose folder for temporary files is full, once it is at the queue. `outcome` is what becomes of it. */
async function workerWithoutRoom(words: readonly string[]) {
  const place = mountSmall('small-tmp');
  if (place === undefined) return undefined;
  let ready: () => void;
  const started = new Promise<void>(resolve => {
    ready = resolve;
  });
  const outcome = polyvisor(words, {
    env: { TMPDIR: place },
    limit: 450,
    onError: text => void (text.includes('at a time') && ready()),
  });
  await started;
  return { outcome };
}

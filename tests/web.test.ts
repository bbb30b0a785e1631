/** The page in headless Chromium: what it is made of, and what it does. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, get, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { gzipSync } from 'node:zlib';
import { buildSync } from 'esbuild';
import { listen } from '../src/cli/web.ts';
import { createSite, type Site } from '../src/cli/web-site.ts';
import { diskCache, ensureGuest, type Guest, workerTranslator } from '../src/host/node/index.ts';
import { createMachine, Snapshot, type Statistics } from '../src/index.ts';
import { Browser, findChromium } from './browser.ts';
import { root } from './sources.ts';

/** Bytes of JavaScript, as they are sent. */
const MOST_SCRIPT = 1e6;
/** A boot takes some ten seconds; the host may be busy. In milliseconds. */
const LIMIT = 280_000;
/** Columns and rows of a terminal for which there is room. */
const SCREEN = { width: 1280, height: 900 };
const TERMINAL = 'LINES=24 COLUMNS=80 TERM=xterm-256color';

let guest: Guest;
let site: Site;
let server: Server;
let browser: Browser;
let address: string;

const textOf = (name: string) => {
  const file = site.files.get(name)!;
  return 'text' in file ? file.text : readFileSync(file.path, 'utf8');
};
const origin = (of: Server) => `http://127.0.0.1:${(of.address() as AddressInfo).port}/`;

/** Asks until the answer is a true one. @returns it */
async function until<T>(expression: string, what: string): Promise<T> {
  for (const start = Date.now(); ; await new Promise(resolve => setTimeout(resolve, 300))) {
    const value = await browser.evaluate<T>(expression);
    if (value) return value;
    if (Date.now() - start > LIMIT) {
      const seen = await browser.evaluate<string>('document.body.innerText');
      assert.fail(`${what}: not within ${LIMIT / 1000} s. The page says:\n${seen}`);
    }
  }
}

/** The machine under a hypervisor, in the page. */
const machine = (hypervisor: string) =>
  `polyvisor.machines.find(({ element }) => element.dataset.hypervisor === '${hypervisor}')`;

/** Types a command at the prompt, and waits for what it prints. */
async function type(hypervisor: string, command: string, answer: string): Promise<void> {
  await browser.evaluate(`${machine(hypervisor)}.type(${JSON.stringify(`${command}\n`)})`);
  await until(`${machine(hypervisor)}.text.includes(${JSON.stringify(answer)})`, `${hypervisor}: ${answer}`);
}

const chromium = findChromium();

describe('the page', { skip: chromium ? false : 'needs chromium' }, () => {
  before(async () => {
    guest = await ensureGuest();
    site = createSite([{ name: 'Debian', kernel: guest.kernel, initrd: guest.initrd }]);
    server = await listen(site, 0);
    address = origin(server);
    browser = await Browser.start(chromium!);
  });
  after(async () => {
    await browser?.close();
    server?.closeAllConnections();
    server?.close();
  });

  test('its scripts are small, and it loads nothing from elsewhere', () => {
    const scripts = [...site.files.keys()].filter(name => name.endsWith('.js'));
    const sizes = scripts.map(name => gzipSync(textOf(name)).length);
    assert.ok(scripts.length >= 3 && sizes.reduce((sum, size) => sum + size, 0) < MOST_SCRIPT, `${scripts} ${sizes}`);
    const page = textOf('index.html');
    for (const [, reference] of page.matchAll(/(?:src|href|content)="([^"]*)"/g))
      assert.doesNotMatch(reference!, /^(?:\w+:)?\/\/|^\//, 'a relative reference');
    for (const name of page.match(/assets\/[^"]*/g)!) {
      assert.ok(site.files.has(name), name);
      assert.match(name, /-[A-Z0-9]{8}\.(?:js|css)$/, 'a name with a hash');
    }
  });

  test('the server hands out the page and nothing else', async () => {
    const head = await fetch(address, { method: 'HEAD' });
    assert.equal(head.headers.get('cross-origin-opener-policy'), 'same-origin');
    assert.match(head.headers.get('content-security-policy')!, /default-src 'self'/);
    for (const path of ['../package.json', '%2e%2e/package.json', '/etc/passwd', 'kernels/', '__proto__'])
      assert.equal((await fetch(address + path)).status, 404, path);
    assert.equal((await fetch(address, { method: 'POST', body: 'x' })).status, 405);
    // A page elsewhere whose name has been made to lead here.
    const asked = new Promise<number>(resolve =>
      get(address, { headers: { Host: 'elsewhere.example' } }, ({ statusCode }) => resolve(statusCode!)),
    );
    assert.equal(await asked, 403);
  });

  test('two hypervisors side by side boot to their prompts, and answer', { timeout: 2 * LIMIT }, async () => {
    await browser.open(`${address}?hypervisor=bare&beside=kvm&boot=1`, SCREEN);
    for (const hypervisor of ['bare', 'kvm']) {
      await until(`${machine(hypervisor)}?.text.includes('~ #')`, `${hypervisor}'s prompt`);
      await type(hypervisor, 'echo $((6*7)); uname -r', `42\n${guest.release}`);
    }
    await type('kvm', 'cat /sys/devices/system/clocksource/*/current_clocksource', '\nkvm-clock');
  });

  test('what a guest knew before a snapshot, it knows after it', { timeout: 2 * LIMIT }, async () => {
    await type('kvm', 'A=before', 'A=before');
    await browser.evaluate(`(async () => { globalThis.saved = await ${machine('kvm')}.snapshot(); })()`);
    await browser.evaluate('polyvisor.restore(saved)');
    assert.equal(await browser.evaluate('polyvisor.machines.length'), 1);
    await type('kvm', 'echo $A and after', 'before and after');
  });

  test("the live view counts what Node.js's run counts", { timeout: 2 * LIMIT }, async () => {
    const millions = 20;
    const names = ['hyperv', 'xen-pv'];
    const query = `hypervisor=${names[0]}&beside=${names[1]}&clock=virtual&until=${millions}&boot=1`;
    await browser.open(`${address}?${query}`, SCREEN);
    for (const hypervisor of names) {
      await until(`${machine(hypervisor)}?.activity === 'paused'`, `${hypervisor}'s pause`);
      const expected = await statisticsOf(hypervisor, millions * 1e6);
      const seen = await browser.evaluate<Statistics>(`${machine(hypervisor)}.statistics`);
      for (const kind of ['instructions', 'operations', 'hypercalls', 'msrs', 'exits', 'ports'] as const)
        assert.deepEqual(seen[kind], expected[kind], `${hypervisor}: ${kind}`);
      // And what a person sees.
      const shown = await browser.evaluate<[string, string][]>(
        `[...${machine(hypervisor)}.element.querySelectorAll('[data-count]')].map(b => [b.dataset.count, b.textContent])`,
      );
      const counts = new Map(shown.map(([name, text]) => [name, Number(text.replaceAll(',', ''))]));
      assert.ok(Object.values(expected.operations).some(times => times > 0));
      for (const [name, times] of Object.entries(expected.operations)) assert.equal(counts.get(name), times, name);
    }
  });

  test('a snapshot goes out and comes back, into the page and into Node.js', { timeout: 2 * LIMIT }, async () => {
    await browser.open(`${address}?hypervisor=kvm&clock=virtual&until=10&boot=1`, SCREEN);
    await until(`${machine('kvm')}?.activity === 'paused'`, 'the pause');
    const bytes = await browser.evaluate<string>(`(async () => {
      const saved = await ${machine('kvm')}.snapshot();
      const text = await new Promise(done => {
        const reader = new FileReader();
        reader.onload = () => done(reader.result.split(',')[1]);
        reader.readAsDataURL(new Blob([saved]));
      });
      await polyvisor.restore(saved);
      return text;
    })()`);
    assert.equal(await browser.evaluate('polyvisor.machines.length'), 1);
    await until(`${machine('kvm')}.statistics.instructions > 12e6`, 'the restored machine goes on');
    await browser.evaluate(`${machine('kvm')}.pause(true)`);

    const snapshot = await Snapshot.decode(Buffer.from(bytes, 'base64'));
    const restored = await createMachine({ snapshot });
    assert.deepEqual([restored.statistics.hypervisor, restored.instructions], ['kvm', 10e6]);
    assert.equal((await restored.run({ instructions: 1e6 })).kind, 'stopped');
  });

  test('the library runs in a page that a bundler made, on the one thread of a page without isolation', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'polyvisor-page-'));
    const plain = createServer((request, response) => {
      const name = request.url === '/' ? 'index.html' : request.url!.slice(1);
      const guests: Record<string, string> = { vmlinuz: guest.kernel, initrd: guest.initrd };
      const file = guests[name] ?? join(name.startsWith('page.') ? folder : join(root, 'examples/page'), name);
      const type = { html: 'text/html', js: 'text/javascript', css: 'text/css' }[name.split('.')[1]!];
      if (!existsSync(file)) return void response.writeHead(404).end();
      response.writeHead(200, { 'Content-Type': type ?? 'application/octet-stream' }).end(readFileSync(file));
    });
    try {
      assert.ok(readFileSync(join(root, 'examples/page/page.ts'), 'utf8').split('\n').length <= 31, '30 lines');
      buildSync({
        absWorkingDir: root,
        entryPoints: ['examples/page/page.ts'],
        bundle: true,
        format: 'esm',
        outfile: join(folder, 'page.js'),
        logLevel: 'error',
      });
      await new Promise<void>(resolve => plain.listen(0, '127.0.0.1', resolve));
      await browser.open(origin(plain), SCREEN);
      await until(`document.body.innerText.includes('~ #')`, 'the prompt');
      assert.equal(await browser.evaluate('crossOriginIsolated'), false);
    } finally {
      plain.closeAllConnections();
      plain.close();
      rmSync(folder, { recursive: true });
    }
  });
});

/** What Node.js counts in so many instructions of the same boot. */
async function statisticsOf(hypervisor: string, instructions: number): Promise<Statistics> {
  const machine = await createMachine({
    kernel: readFileSync(guest.kernel),
    initrd: readFileSync(guest.initrd),
    append: TERMINAL,
    ...{ hypervisor, memory: 256 << 20, clock: 'virtual', cache: diskCache, translator: workerTranslator },
  });
  assert.equal((await machine.run({ instructions })).kind, 'stopped');
  return machine.statistics;
}

/** The page in headless Chromium and Firefox: what it is made of, and what it does. */
import assert from 'node:assert/strict';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createServer, get, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { gzipSync } from 'node:zlib';
import { buildSync } from 'esbuild';
import { listen } from '../src/cli/web.ts';
import { createSite, type Site } from '../src/cli/web-site.ts';
import { diskCache, ensureGuest, type Guest, workerTranslator } from '../src/host/node/index.ts';
import { createMachine, Snapshot, type Statistics } from '../src/index.ts';
import { Browser, findChromium, type TestBrowser } from './browser.ts';
import { Firefox, findFirefox } from './firefox.ts';
import { LIMIT, PageMachines } from './page-machines.ts';
import { root } from './sources.ts';

/** Bytes of JavaScript, as they are sent. */
const MOST_SCRIPT = 1e6;
const SCREEN = { width: 1280, height: 900 };
/** Millions of instructions after which the page's counts are compared with those of Node.js. */
const COUNTED = 20;

let guest: Guest;
let site: Site;
let server: Server;
let address: string;

const textOf = (name: string) => {
  const file = site.files.get(name)!;
  return 'text' in file ? file.text : readFileSync(file.path, 'utf8');
};
const origin = (of: Server) => `http://127.0.0.1:${(of.address() as AddressInfo).port}/`;

before(async () => {
  guest = await ensureGuest();
  site = createSite([{ name: 'Debian', kernel: guest.kernel, initrd: guest.initrd }]);
  server = await listen(site, 0);
  address = origin(server);
});
after(() => {
  server?.closeAllConnections();
  server?.close();
});

describe('the page', () => {
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
});

const chromium = findChromium();

interface Tested {
  name: string;
  program: string | undefined;
  start(program: string): Promise<TestBrowser>;
  /** Whose interfaces the two machines of the page have: each takes its time. */
  hypervisors: readonly [string, string];
  clock: 'host' | 'virtual';
  /** The second hypervisor's. */
  clocksource: string;
}

const CHROMIUM = { name: 'Chromium', program: chromium, start: (program: string) => Browser.start(program) };
const FIREFOX = { name: 'Firefox', program: findFirefox(), start: (program: string) => Firefox.start(program) };
const PCS = { hypervisors: ['bare', 'kvm'], clocksource: 'kvm-clock' } as const;
const OTHERS = { hypervisors: ['hyperv', 'xen-pv'], clocksource: 'xen' } as const;

/** All four kinds of hypervisors, both clocks. */
const USUAL: readonly Tested[] = [
  { ...CHROMIUM, ...PCS, clock: 'host' },
  { ...FIREFOX, ...OTHERS, clock: 'virtual' },
];
/** WEB_HYPERVISORS=all has each browser take the other's pair, too. */
const MORE: readonly Tested[] = [
  { ...CHROMIUM, ...OTHERS, clock: 'host' },
  { ...FIREFOX, ...PCS, clock: 'virtual' },
];

for (const { name, program, start, hypervisors, clock, clocksource } of process.env.WEB_HYPERVISORS === 'all'
  ? [...USUAL, ...MORE]
  : USUAL)
  describe(`the page in ${name}, ${hypervisors.join(' and ')}`, { skip: program ? false : `needs ${name}` }, () => {
    const [first, second] = hypervisors;
    const paused = (hypervisor: string) => `${page.of(hypervisor)}?.activity === 'paused'`;
    let browser: TestBrowser;
    let page: PageMachines;

    before(async () => {
      browser = await start(program!);
      page = new PageMachines(browser);
    });
    after(() => browser?.close());

    test("the live view counts what Node.js's run counts", { timeout: 2 * LIMIT }, async () => {
      await browser.open(
        `${address}?hypervisor=${first}&beside=${second}&clock=virtual&until=${COUNTED}&boot=1`,
        SCREEN,
      );
      for (const hypervisor of hypervisors) {
        await page.until(paused(hypervisor), `${hypervisor}'s pause`);
        const expected = await statisticsOf(hypervisor, COUNTED * 1e6, page);
        const seen = await browser.evaluate<Statistics>(`${page.of(hypervisor)}.statistics`);
        for (const kind of ['instructions', 'operations', 'hypercalls', 'msrs', 'exits', 'ports'] as const)
          assert.deepEqual(seen[kind], expected[kind], `${hypervisor}: ${kind}`);
        // And what a person sees.
        const shown = await browser.evaluate<[string, string][]>(
          `[...${page.of(hypervisor)}.element.querySelectorAll('[data-count]')].map(b => [b.dataset.count, b.textContent])`,
        );
        const counts = new Map(shown.map(([name, text]) => [name, Number(text.replaceAll(',', ''))]));
        const times = Object.values(expected.operations);
        assert.equal(
          times.some(each => each > 0),
          hypervisor !== 'bare',
        );
        for (const [name, times] of Object.entries(expected.operations)) assert.equal(counts.get(name), times, name);
      }
    });

    test('a snapshot goes out, into Node.js', { timeout: LIMIT }, async () => {
      const text = await browser.evaluate<string>(`(async () => {
        const saved = await ${page.of(second)}.snapshot();
        return new Promise(done => {
          const reader = new FileReader();
          reader.onload = () => done(reader.result.split(',')[1]);
          reader.readAsDataURL(new Blob([saved]));
        });
      })()`);
      const snapshot = await Snapshot.decode(Buffer.from(text, 'base64'));
      const restored = await createMachine({ snapshot, cache: diskCache });
      assert.deepEqual([restored.statistics.hypervisor, restored.instructions], [second, COUNTED * 1e6]);
      assert.equal((await restored.run({ instructions: 1e6 })).kind, 'stopped');
    });

    test('two hypervisors side by side boot to their prompts, and answer', { timeout: 2 * LIMIT }, async () => {
      if (clock === 'virtual') for (const each of hypervisors) await browser.evaluate(`${page.of(each)}.pause(false)`);
      else await browser.open(`${address}?hypervisor=${first}&beside=${second}&boot=1`, SCREEN);
      for (const hypervisor of hypervisors) {
        await page.prompt(hypervisor);
        await page.answer(hypervisor, 'echo "$((6*7)) is of $(uname -r)"', `42 is of ${guest.release}`);
        // By the virtual clock, a guest with nothing to do keeps the host busy.
        if (hypervisor === first) await browser.evaluate(`${page.of(first)}.pause(true)`);
      }
      const file = '/sys/devices/system/clocksource/*/current_clocksource';
      await page.answer(second, `echo "its clock: $(cat ${file})"`, `its clock: ${clocksource}`);
    });

    test('what a guest knew before a snapshot, it knows after it', { timeout: 2 * LIMIT }, async () => {
      await page.answer(second, 'A=before; echo "A is $A"', 'A is before');
      await browser.evaluate(`(async () => polyvisor.restore(await ${page.of(second)}.snapshot()))()`);
      assert.equal(await browser.evaluate('polyvisor.machines.length'), 1);
      await page.answer(second, 'echo $A and after', 'before and after');
    });

    test('a page that is left keeps no machine for the way back', { timeout: LIMIT }, async () => {
      // Browsers keep pages as they are, their workers' memory and all: this one starts anew then.
      const at = await browser.evaluate<string>('window.isOld = true, location.href');
      await browser.open(address, SCREEN);
      await browser.evaluate('void setTimeout(() => history.back())');
      const isAnew = `location.href === ${JSON.stringify(at)} && !window.isOld && globalThis.polyvisor !== undefined`;
      // A page on its way to another does not answer.
      for (const start = Date.now(); !(await browser.evaluate<boolean>(isAnew).catch(() => false)); await sleep(100))
        assert.ok(Date.now() - start < LIMIT, 'the page does not start anew');
    });
  });

test('the library runs in a page that a bundler made, on the one thread of a page without isolation', {
  skip: chromium ? false : 'needs Chromium',
  timeout: 2 * LIMIT,
}, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'polyvisor-page-'));
  const plain = createServer((request, response) => {
    const name = request.url === '/' ? 'index.html' : request.url!.slice(1);
    const guests: Record<string, string> = { vmlinuz: guest.kernel, initrd: guest.initrd };
    const file = guests[name] ?? join(name.startsWith('page.') ? folder : join(root, 'examples/page'), name);
    const type = { html: 'text/html', js: 'text/javascript', css: 'text/css' }[name.split('.')[1]!];
    if (!existsSync(file)) return void response.writeHead(404).end();
    response.writeHead(200, { 'Content-Type': type ?? 'application/octet-stream' }).end(readFileSync(file));
  });
  const browser = await Browser.start(chromium!);
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
    await new PageMachines(browser).until(`document.body.innerText.includes('~ #')`, 'the prompt');
    assert.equal(await browser.evaluate('crossOriginIsolated'), false);
  } finally {
    await browser.close();
    plain.closeAllConnections();
    plain.close();
    rmSync(folder, { recursive: true });
  }
});

/** What Node.js counts in so many instructions of the same boot. */
async function statisticsOf(hypervisor: string, instructions: number, page: PageMachines): Promise<Statistics> {
  const machine = await createMachine({
    kernel: readFileSync(guest.kernel),
    initrd: readFileSync(guest.initrd),
    append: await page.browser.evaluate<string>(`${page.of(hypervisor)}.parameters`),
    ...{ hypervisor, memory: 256 << 20, clock: 'virtual', cache: diskCache, translator: workerTranslator },
  });
  assert.equal((await machine.run({ instructions })).kind, 'stopped');
  return machine.statistics;
}

/** The page in browsers beside the command in Node.js: to the prompt, on from a snapshot, and memory. */
import type { AddressInfo } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { listen } from '../src/cli/web.ts';
import { createSite } from '../src/cli/web-site.ts';
import { ensureGuest } from '../src/host/node/guest.ts';
import { Browser, findChromium, type TestBrowser } from '../tests/browser.ts';
import { Firefox, findFirefox } from '../tests/firefox.ts';
import { PageMachines } from '../tests/page-machines.ts';
import { type Bench, type BenchContext, median, type Table } from './bench.ts';
import { ProcessConsole } from './console.ts';
import { type BesideRam, familyBesideRam, mebibytes } from './host-use.ts';
import { polyvisor } from './peers.ts';

const BROWSERS: readonly [
  name: string,
  program: string | undefined,
  start: (program: string) => Promise<TestBrowser>,
][] = [
  ['chromium', findChromium(), program => Browser.start(program)],
  ['firefox', findFirefox(), program => Firefox.start(program)],
];
const SCREEN = { width: 1280, height: 900 };
/** What is aimed at: times Node.js's time to the prompt; seconds from a snapshot to the prompt; bytes beside RAM. */
const GOALS = { times: 1.5, fromSnapshot: 2, besideRam: 400e6 };
/** The guest is alone for so long before its memory is looked at, in milliseconds. */
const SETTLED = 3000;

interface Measured {
  name: string;
  toShell: number[];
  fromSnapshot: number[];
  /** Of the process that has the page, or the command. */
  besideRam: BesideRam[];
}

const measured = (name: string): Measured => ({
  name,
  toShell: [],
  fromSnapshot: [],
  besideRam: [],
});

export const browser: Bench = {
  name: 'browser',
  title: "the page in Chromium and Firefox beside Node.js: the shell's prompt, a snapshot, memory",
  usual: false,
  async run(context) {
    const { runs, memory, hypervisor, limit, progress, note } = context;
    const guest = await ensureGuest({ progress: ({ text }) => progress(text) });
    note(`kernel ${guest.release}, ${memory} MiB, hypervisor ${hypervisor}, clock host`);
    const command = polyvisor(guest, context);
    const node = measured('node');
    for (let attempt = 0; attempt <= runs; attempt++) {
      progress(`node, ${attempt === 0 ? 'once before' : `${attempt} of ${runs}`}`);
      const console = new ProcessConsole(command);
      try {
        const { seconds } = await console.waitFor(/~ [#$] /, limit);
        await sleep(SETTLED);
        // Once before, as on any day but the first.
        if (attempt > 0) take(node, seconds, familyBesideRam(console.child.pid!, memory << 20));
      } finally {
        await console.stop();
      }
    }
    const all = [node];
    const server = await listen(createSite([{ name: 'Debian', kernel: guest.kernel, initrd: guest.initrd }]), 0);
    try {
      for (const [name, program, start] of BROWSERS) {
        if (program)
          all.push(await measure(name, await start(program), (server.address() as AddressInfo).port, context));
        else note(`${name} is not installed`);
      }
    } finally {
      server.closeAllConnections();
      server.close();
    }
    for (const each of all.slice(1)) note(verdict(each, node));
    return { tables: [table(all)], data: all };
  },
};

function take(result: Measured, seconds: number, besideRam: BesideRam | undefined): void {
  result.toShell.push(seconds);
  if (besideRam) result.besideRam.push(besideRam);
}

async function measure(
  name: string,
  browser: TestBrowser,
  port: number,
  { runs, memory, hypervisor, progress, note }: BenchContext,
): Promise<Measured> {
  const result = measured(name);
  const page = new PageMachines(browser);
  const machine = page.of(hypervisor);
  /** Milliseconds since `start`, an expression, when the prompt is there. */
  const prompt = (start: string) =>
    `new Promise(done => {
      const look = () => (${machine}?.text.includes('~ #') ? done(performance.now() - ${start}) : setTimeout(look, 20));
      look();
    })`;
  try {
    for (let attempt = 0; attempt <= runs; attempt++) {
      progress(`${name}, ${attempt === 0 ? 'the first visit' : `${attempt} of ${runs}`}`);
      await browser.open(`http://127.0.0.1:${port}/?hypervisor=${hypervisor}&memory=${memory}&boot=1`, SCREEN);
      const seconds = (await browser.evaluate<number>(prompt('0'))) / 1000;
      // The prompt that a command leaves is the one of a snapshot.
      await page.prompt(hypervisor);
      await sleep(SETTLED);
      const besideRam = familyBesideRam(browser.pid, memory << 20);
      await browser.evaluate(`(async () => void (window.saved = await ${machine}.snapshot()))()`);
      const restored = await browser.evaluate<number>(`(async () => {
        const start = performance.now();
        await polyvisor.restore(window.saved);
        ${machine}.type('\\n');
        return ${prompt('start')};
      })()`);
      if (attempt === 0) {
        note(`${name}, the first visit: ${seconds.toFixed(1)} s`);
        continue;
      }
      take(result, seconds, besideRam);
      result.fromSnapshot.push(restored / 1000);
    }
    return result;
  } finally {
    await browser.close();
  }
}

const MEMORY: readonly [text: string, kind: keyof BesideRam][] = [
  ["the guest's process beside RAM: its own", 'own'],
  ["with the program's text and what else is shared", 'resident'],
  ['all processes beside RAM', 'all'],
];

function table(all: readonly Measured[]): Table {
  const [node] = all;
  const cell = (values: readonly number[], text: (value: number) => string) =>
    values.length > 0 ? text(median(values)) : '-';
  const seconds = (value: number) => `${value.toFixed(2)} s`;
  return {
    title: 'medians',
    header: ['', ...all.map(({ name }) => name)],
    rows: [
      ["to the shell's prompt", ...all.map(({ toShell }) => cell(toShell, seconds))],
      [
        "in Node.js's time",
        ...all.map(({ toShell }) => cell(toShell, value => `${(value / median(node.toShell)).toFixed(2)} x`)),
      ],
      ['from a snapshot to the prompt', ...all.map(({ fromSnapshot }) => cell(fromSnapshot, seconds))],
      ...MEMORY.map(([text, kind]) => [
        text,
        ...all.map(({ besideRam }) =>
          cell(
            besideRam.map(each => each[kind]),
            mebibytes,
          ),
        ),
      ]),
    ],
  };
}

/** What was aimed at, and whether it is reached. */
function verdict({ name, toShell, fromSnapshot, besideRam }: Measured, node: Measured): string {
  const check = (value: number, goal: number, text: string) => `${text} ${value <= goal ? 'reached' : 'MISSED'}`;
  const goals = [
    check(median(toShell) / median(node.toShell), GOALS.times, `at most ${GOALS.times} times Node.js's time`),
    check(median(fromSnapshot), GOALS.fromSnapshot, `${GOALS.fromSnapshot} s from a snapshot`),
    ...(besideRam.length > 0
      ? [
          check(
            median(besideRam.map(({ own }) => own)),
            GOALS.besideRam,
            `${GOALS.besideRam / 1e6} MB of its own beside RAM`,
          ),
        ]
      : []),
  ];
  return `${name}: ${goals.join(', ')}`;
}

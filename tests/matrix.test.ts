/**
 * `polyvisor matrix` as its users see it: green cells and their reports, a kernel broken for one hypervisor only, and whatever
 * a kernel or a test can do that is not to boot: that cell says so, the others finish, nothing is left running.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { tinyKernel } from '../src/conformance/tiny-elf.ts';
import { ensureGuest } from '../src/host/node/guest.ts';
import { parseKernel } from '../src/index.ts';
import { type CellResult, type MatrixReport, PHASES } from '../src/matrix/result.ts';
import { scriptedTests } from '../src/matrix/test-script.ts';
import { type CommandResult, polyvisor } from './command.ts';

const timeout = 500_000;
const folder = mkdtempSync(join(tmpdir(), 'polyvisor-matrix-'));
after(() => rmSync(folder, { recursive: true }));
const path = (name: string) => join(folder, name);

function file(name: string, content: string | Uint8Array): string {
  writeFileSync(path(name), content);
  return path(name);
}

interface MatrixResult extends CommandResult {
  report: MatrixReport;
  cell(hypervisor: string, kernel?: string): CellResult;
}

async function matrix(words: readonly string[], onError?: (text: string) => void): Promise<MatrixResult> {
  const json = path('report.json');
  rmSync(json, { force: true });
  const options = { limit: 400, ...(onError && { onError }) };
  const result = await polyvisor(['matrix', '--clock', 'virtual', '--json', json, ...words], options);
  const report = JSON.parse(readFileSync(json, 'utf8')) as MatrixReport;
  return {
    ...result,
    report,
    cell: (hypervisor, kernel) =>
      report.cells.find(cell => cell.hypervisor === hypervisor && (kernel === undefined || cell.kernel === kernel))!,
  };
}

/** mov dx, 0x3f8; then `code` writes what is in AL. */
const TO_SERIAL = [0x66, 0xba, 0xf8, 0x03];
/** mov al, C; out dx, al */
const print = (text: string) => [...TO_SERIAL, ...[...text].flatMap(c => [0xb0, c.charCodeAt(0), 0xee])];
const FOR_EVER = [0xeb, 0xfe];

describe('the built-in test', { timeout }, () => {
  let result: MatrixResult;
  before(async () => {
    result = await matrix([
      '-H',
      'kvm',
      '--cpus',
      '2',
      '--junit',
      path('r.xml'),
      '--html',
      path('r.html'),
      '--markdown',
      '--timeout',
      '180',
    ]);
  });

  test('passes, and the status says so', () => {
    assert.equal(result.status, 0, `${result.stdout}${result.stderr}`);
    const { verdict, tests, console } = result.cell('kvm');
    assert.equal(verdict, 'passed', console.slice(-2000));
    assert.deepEqual(
      tests.map(({ name, outcome }) => [name, outcome]),
      [...scriptedTests(true), 'reboot'].map(name => [name, 'passed']),
    );
  });

  test('every phase has its time and its instructions', () => {
    const { phases, total } = result.cell('kvm');
    assert.deepEqual(
      phases.map(({ phase }) => phase),
      [...PHASES],
    );
    for (const { phase, instructions, guestTime } of phases)
      assert.ok(instructions > 100_000 && guestTime > 0, `${phase}: ${instructions}`);
    const sum = phases.reduce((so_far, { instructions }) => so_far + instructions, 0);
    assert.equal(sum, total.instructions);
  });

  test('says what the guest found and uses', () => {
    const { found, counts } = result.cell('kvm');
    assert.equal(found.hypervisor, 'KVM');
    assert.equal(found.clocksource, 'kvm-clock');
    assert.ok(found.features.includes('MSR_KVM_SYSTEM_TIME_NEW'));
    assert.deepEqual(found.complaints, []);
    assert.ok(counts.operations['cpu.cpuid']! > 10);
    assert.ok(counts.msrs['write MSR_KVM_SYSTEM_TIME_NEW']! >= 1);
    assert.ok(counts.ports['out 0x3f8']! > 10_000, 'the console');
  });

  test('writes all reports', () => {
    assert.match(readFileSync(path('r.xml'), 'utf8'), /tests="1" failures="0"/);
    assert.match(readFileSync(path('r.html'), 'utf8'), /<title>Polyvisor matrix: 1 of 1 cell passed/);
    assert.match(result.stdout, /^## Polyvisor matrix: 1 of 1 cell passed/);
  });
});

describe('a test that never ends under one hypervisor', { timeout }, () => {
  let result: MatrixResult;
  before(async () => {
    const script = file(
      'test.sh',
      'echo "my own words"\ncase $(dmesg) in *"detected: KVM"*) while :; do :; done ;; esac\nexit 0\n',
    );
    result = await matrix(['-H', 'bare,kvm', '--test', script, '--limit', '2.5G', '--trace', path('traces')]);
  });

  test('hangs there alone', () => {
    assert.equal(result.status, 1, result.stderr);
    assert.equal(result.cell('bare').verdict, 'passed');
    assert.match(result.cell('bare').console, /my own words/);
    assert.equal(result.cell('kvm').verdict, 'hung');
    assert.match(result.cell('kvm').reason, /its time was up in the test/);
    assert.match(result.cell('kvm').state!, /rip/);
  });

  test('leaves traces that name functions, and differ in what they should', async () => {
    const [bare, kvm] = readdirSync(path('traces'))
      .sort()
      .map(name => join(path('traces'), name));
    const shown = await polyvisor(['trace', 'show', kvm!, '--match', 'MSR_KVM']);
    assert.match(
      shown.stdout,
      /(?:native_write_msr|kvm_register_clock)\S*\s+cpu\.msr write MSR_KVM_SYSTEM_TIME_NEW index=4b564d01 value=/,
    );
    const difference = await polyvisor(['trace', 'diff', bare!, kvm!]);
    assert.equal(difference.status, 1, difference.stderr);
    assert.match(difference.stdout, /^ +0 +1 {2}cpu\.msr write MSR_KVM_STEAL_TIME +kvm_guest_cpu_init \+1$/m);
    assert.match(difference.stdout, /^The kernel: \d+ questions new, \d+ gone/m);
    assert.match(difference.stdout, /^\+ .*MSR_KVM_STEAL_TIME, by kvm_guest_cpu_init$/m);
    const same = await polyvisor(['trace', 'diff', kvm!, kvm!]);
    assert.equal(same.status, 0);
    assert.match(same.stdout, /No difference/);
    assert.equal((await polyvisor(['trace', 'export', kvm!, path('perfetto.json')])).status, 0);
    const { traceEvents } = JSON.parse(readFileSync(path('perfetto.json'), 'utf8')) as {
      traceEvents: { ph: string }[];
    };
    assert.ok(traceEvents.filter(({ ph }) => ph === 'X').length > 100);
  });
});

test("with the virtual clock both Xens' counts repeat to the last digit", { timeout }, async () => {
  const script = file('twice.sh', 'for i in 1 2 3 4 5; do busybox true; done; sleep 0.05; dmesg | md5sum');
  const run = async () => {
    const { status, stderr, report } = await matrix(['-H', 'xen-pv,xen-pvh', '--test', script]);
    assert.equal(status, 0, stderr);
    return report.cells.map(({ total, phases, counts }) => [
      total.instructions,
      total.guestTime,
      phases.map(({ instructions }) => instructions),
      counts,
    ]);
  };
  assert.deepEqual(await run(), await run());
});

test('a kernel broken for one hypervisor is red there, and green elsewhere', { timeout }, async () => {
  const { elf, xen } = await parseKernel(readFileSync((await ensureGuest()).kernel));
  const entry = elf!.segments.find(
    ({ virtualAddress, fileSize }) => xen.entry! >= virtualAddress && xen.entry! < virtualAddress + BigInt(fileSize),
  )!;
  // UD2 where Xen's domain builder jumps to.
  elf!.bytes.set([0x0f, 0x0b], entry.offset + Number(xen.entry! - entry.virtualAddress));
  const kernel = file('vmlinux', elf!.bytes);
  const { status, cell, stderr } = await matrix([
    kernel,
    '-H',
    'xen-pv,vmi,bare',
    '--until',
    'Run /init',
    '--timeout',
    '120',
  ]);
  assert.equal(status, 1, stderr);
  assert.equal(cell('bare').verdict, 'passed', cell('bare').reason);
  assert.equal(cell('vmi').verdict, 'not built for it');
  assert.deepEqual(cell('vmi').phases, [], 'and was not booted');
  assert.equal(cell('xen-pv').verdict, 'crashed');
  assert.equal(cell('xen-pv').phase, 'entry');
  assert.match(cell('xen-pv').state!, /startup_xen|xen_start/);
});

describe('bad input', { timeout }, () => {
  const initrd = file('initrd', 'none');
  const small = ['-m', '16M', '--initrd', initrd, '--until', 'alive', '--limit', '300M'];

  test('kernels that hang, flood, reset, crash or are none', async () => {
    const kernels = {
      hangs: tinyKernel(FOR_EVER),
      halts: tinyKernel([0xfa, 0xf4]),
      floods: tinyKernel([...TO_SERIAL, 0xee, 0xeb, 0xfd]),
      resets: tinyKernel([0x66, 0xba, 0xf9, 0x0c, 0xb0, 0x06, 0xee, ...FOR_EVER]),
      crashes: tinyKernel([0x0f, 0x0b]),
      lives: tinyKernel([...print('I am alive\n'), ...FOR_EVER]),
      picture: Uint8Array.of(0xff, 0xd8, 0xff, 0xe0, 0, 0x10, 0x4a, 0x46, 0x49, 0x46),
      empty: new Uint8Array(),
    };
    const files = Object.entries(kernels).map(([name, bytes]) => file(name, bytes));
    const { status, report, cell, stderr } = await matrix([...files, '-H', 'bare', ...small]);
    assert.equal(status, 1, stderr);
    const verdicts = Object.fromEntries(report.kernels.map(({ name }) => [name, cell('bare', name).verdict]));
    assert.deepEqual(verdicts, {
      hangs: 'hung',
      halts: 'hung',
      floods: 'flooded',
      resets: 'reset',
      crashes: 'crashed',
      lives: 'passed',
      picture: 'unusable',
      empty: 'unusable',
    });
    assert.ok(cell('bare', 'floods').console.length < 400_000, 'a flood is not kept');
    assert.match(cell('bare', 'picture').reason, /JPEG/);
    assert.match(cell('bare', 'hangs').reason, /its time was up in its entry, before it printed anything/);
  });

  test('a red cell leaves its recording, and the command that repeats it; a green one none', async () => {
    const recordings = path('recordings');
    const kernels = ['crashes', 'hangs', 'lives'].map(path);
    const limit = ['--limit', '20M', '--record-failures', recordings];
    const { stdout, cell } = await matrix([...kernels, '-H', 'bare', ...small, ...limit]);
    assert.deepEqual(readdirSync(recordings).sort(), ['crashes-bare.recording', 'hangs-bare.recording']);
    const { recording, repeat } = cell('bare', 'crashes');
    assert.equal(recording, join(recordings, 'crashes-bare.recording'));
    assert.equal(repeat, `polyvisor run --replay ${recording}`);
    assert.ok(stdout.includes(`once more: ${repeat}\n`), stdout);
    assert.equal(cell('bare', 'lives').repeat, undefined);
    assert.equal((await polyvisor(['run', '--replay', recording!])).status, 121);
    const hangs = await polyvisor(['run', '--replay', cell('bare', 'hangs').recording!]);
    assert.match(hangs.stderr, /the recording ends at instruction 20000000;/);
  });

  /** Kernels under `bare`, one after the other, the first of which has begun: processes are there before they have a cell. */
  async function begun(kernels: readonly string[]) {
    let running!: ReturnType<typeof matrix>;
    await new Promise<void>((resolve, reject) => {
      running = matrix([...kernels, '-H', 'bare', ...small.slice(0, -1), '1T', '--jobs', '1'], text => {
        if (text.includes(': started')) resolve();
      });
      running.then(() => reject(new Error('no cell has begun')), reject);
    });
    return { running, cell: cellProcesses()[0]! };
  }

  test("a cell's process that is killed says so; the others finish", async () => {
    const [hangs, lives] = [path('hangs'), path('lives')];
    const { running, cell: first } = await begun([hangs, lives]);
    process.kill(first.pid, 'SIGKILL');
    const { status, cell } = await running;
    assert.equal(status, 1);
    assert.equal(cell('bare', 'hangs').verdict, 'died');
    assert.match(cell('bare', 'hangs').reason, /SIGKILL/);
    assert.equal(cell('bare', 'lives').verdict, 'passed');
  });

  test('SIGTERM ends all cells, and the reports are written', async () => {
    const { running, cell } = await begun([path('hangs'), path('lives')]);
    process.kill(cell.parent, 'SIGTERM');
    const { status, report } = await running;
    assert.equal(status, 143);
    assert.deepEqual(
      report.cells.map(({ verdict }) => verdict),
      ['died', 'died'],
    );
    assert.deepEqual(cellProcesses(), []);
  });

  const report = (changes: object) =>
    JSON.stringify({ format: 1, polyvisor: '0', clock: 'virtual', kernels: [], cells: [], ...changes });
  const refusals: [words: string[], status: number, says: RegExp][] = [
    [['-H', 'kmv'], 64, /did you mean kvm/],
    [['--jobs', '0'], 64, /--jobs 0/],
    [['--tolerance', 'much'], 64, /--tolerance much/],
    [['--timeout', '-1'], 64, /--timeout -1/],
    [['--limit', 'much'], 64, /--limit much/],
    [['--engine', 'both'], 64, /--engine both/],
    [['nonexistent'], 66, /nonexistent: no such file; a kernel is a file, a source tree .*, or one of Debian's/],
    [['--test', '/nonexistent'], 66, /no such file/],
    [['--test', file('blank', '\n')], 64, /script is empty/],
    [['--html', '/nonexistent/x'], 74, /the folder for it does not exist/],
    [['--baseline', '/nonexistent'], 66, /no such file/],
    [['--baseline', file('text', 'hello')], 65, /not JSON/],
    [['--baseline', file('future.json', report({ format: 2 }))], 65, /format 2/],
    [['--baseline', file('cells.json', report({ cells: [1] }))], 65, /damaged/],
  ];
  for (const [words, status, says] of refusals)
    test(`matrix ${words.join(' ').replaceAll(folder, '')}`, async () => {
      const result = await polyvisor(['matrix', ...words]);
      assert.match(result.stderr, says);
      assert.equal(result.status, status, result.stderr);
    });

  for (const [name, text, says] of [
    ['no trace', 'hello', /not a trace/],
    ['a future one', 'polyvisor trace 9 {}\n', /format 9/],
    ['a damaged one', 'polyvisor trace 1 {}\nx y z\n', /line 2/],
  ] as const)
    test(`trace show ${name}`, async () => {
      const { status, stderr } = await polyvisor(['trace', 'show', file('bad.trace', text)]);
      assert.match(stderr, says);
      assert.equal(status, 65);
    });
});

/** The processes of our cells: their parents were told of our folder. */
function cellProcesses(): { pid: number; parent: number }[] {
  const text = (pid: number, name: string) => readFileSync(`/proc/${pid}/${name}`, 'utf8');
  return readdirSync('/proc')
    .map(Number)
    .flatMap(pid => {
      try {
        if (!pid || !text(pid, 'cmdline').includes('cell-process.cjs')) return [];
        const parent = Number(/^PPid:\s*(\d+)/m.exec(text(pid, 'status'))![1]);
        return text(parent, 'cmdline').includes(folder) ? [{ pid, parent }] : [];
      } catch {
        return []; // It has ended meanwhile.
      }
    });
}

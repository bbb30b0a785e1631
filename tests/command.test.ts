/** The command line and what it says to bad input: one clear line, the right status, never a stack trace. */
import assert from 'node:assert/strict';
import { execFile, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { promisify } from 'node:util';
import { tinyKernel } from '../src/conformance/tiny-elf.ts';
import { hypervisors } from '../src/hypervisors/list.ts';
import { polyvisor, program } from './command.ts';

const folder = mkdtempSync(join(tmpdir(), 'polyvisor-command-'));
after(() => rmSync(folder, { recursive: true }));

function file(name: string, content: string | Uint8Array): string {
  const path = join(folder, name);
  writeFileSync(path, content);
  return path;
}

/** The beginning of a JPEG, and of nothing at all. */
const jpeg = file('picture.jpg', Uint8Array.of(0xff, 0xd8, 0xff, 0xe0, 0, 0x10, 0x4a, 0x46, 0x49, 0x46));
const empty = file('empty', '');
const text = file('text', 'hello\n');
const disk = file('disk.img', new Uint8Array(512));
/** "ARMd" at 0x38 (Linux Documentation/arm64/booting.rst). */
const arm = file('arm64', Object.assign(new Uint8Array(4096), { 56: 0x41, 57: 0x52, 58: 0x4d, 59: 0x64 }));

/** Code at the PVH entry that halts for ever. */
const tinyKernelFile = file('tiny', tinyKernel([0xfa, 0xf4]));

const REFUSALS: readonly { words: string[]; status: number; says: RegExp }[] = [
  { words: ['rnu'], status: 64, says: /unknown command 'rnu': did you mean run\?/ },
  { words: ['run', '--hyp', 'kvm'], status: 64, says: /unknown option '--hyp': did you mean --hypervisor\?/ },
  { words: ['run', '--initd=x'], status: 64, says: /unknown option '--initd=x': did you mean --initrd\?/ },
  { words: ['run', '-kernel', 'x'], status: 64, says: /-kernel is an option of QEMU's: here it is --kernel FILE/ },
  { words: ['run', '-nographic'], status: 64, says: /-nographic is an option of QEMU's: leave it out/ },
  { words: ['run', '--append', '-smp', '--engine', 'git'], status: 64, says: /--engine git/ },
  { words: ['list', 'kmv'], status: 64, says: /unknown hypervisor "kmv": did you mean kvm\?/ },
  { words: ['run', '--hypervisr', 'kvm'], status: 64, says: /unknown option '--hypervisr'[\s\S]*--hypervisor/ },
  { words: ['run', '-H', 'kmv'], status: 64, says: /unknown hypervisor "kmv": did you mean kvm\?/ },
  { words: ['run', '--memory', 'much'], status: 64, says: /--memory much/ },
  { words: ['run', '--memory', '64G'], status: 64, says: /--memory 64G/ },
  { words: ['run', '--timeout', '-1'], status: 64, says: /--timeout -1/ },
  { words: ['run', '--clock', 'wall'], status: 64, says: /--clock wall/ },
  { words: ['run', '--engine', 'git'], status: 64, says: /--engine git: did you mean jit/ },
  { words: ['run', '--arch', 'i368'], status: 64, says: /--arch i368: did you mean i386/ },
  { words: ['run', '--flavour', '686'], status: 64, says: /--flavour 686: .*there are cloud-amd64, amd64/ },
  { words: ['guest', '--arch', 'i386', '--flavour', '586'], status: 64, says: /did you mean 686\?/ },
  { words: ['run', '--entry', 'reel'], status: 64, says: /--entry reel: did you mean real/ },
  { words: ['run', '--engine', 'both'], status: 64, says: /--engine both: .*--clock virtual/ },
  {
    words: ['run', '--engine', 'both', '--clock', 'virtual', '--disk', disk],
    status: 64,
    says: /writes nothing twice.*disk\.img,ro/,
  },
  { words: ['run', ...Array(32).fill(`--disk=${disk}`)], status: 64, says: /32 disks, and a machine has at most 31/ },
  { words: ['run', '--exec', ' '], status: 64, says: /command is empty/ },
  { words: ['run', '--json', ''], status: 64, says: /--json: the name of the file is empty/ },
  {
    words: ['run', 'vmlinus'],
    status: 66,
    says: /vmlinus: no such file; a kernel is a file, a source tree .*cloud-amd64/,
  },
  { words: ['run', 'vmlinuz', 'initrd'], status: 64, says: /too many arguments/ },
  { words: ['shell', tinyKernelFile, '-k', text], status: 64, says: /tiny: and --kernel .*text: there is one kernel/ },
  { words: ['run', 'amd64', '--flavour', '686'], status: 64, says: /amd64: and --flavour 686/ },
  { words: ['run', '--disk', `${text},format=vmdk`], status: 64, says: /raw and qcow2/ },
  { words: ['run', '--disk', `${text},format=qcow2`], status: 65, says: /is no qcow2 image/ },
  { words: ['run', '--disk', text], status: 65, says: /sectors/ },
  {
    words: ['run', '--disk', disk, '--disk', `${disk},ro`],
    status: 75,
    says: /disk\.img is in use by this process already/,
  },
  { words: ['run', '--disk', '/nonexistent.img'], status: 66, says: /nonexistent\.img: no such file/ },
  { words: ['run', '--kernel', '/nonexistent'], status: 66, says: /\/nonexistent: no such file/ },
  {
    words: ['run', '--kernel', folder],
    status: 66,
    says: /is a folder without arch.x86.boot.bzImage or vmlinux in it/,
  },
  { words: ['matrix', folder], status: 66, says: /is a folder without arch.x86.boot.bzImage or vmlinux in it/ },
  { words: ['run', '--kernel', '/dev/zero'], status: 66, says: /dev.zero: more than 1 GiB/ },
  { words: ['trace', 'show', '/dev/zero'], status: 66, says: /dev.zero: more than 1 GiB/ },
  { words: ['run', '--kernel', jpeg], status: 65, says: /picture\.jpg: .*JPEG/ },
  { words: ['run', '--kernel', empty], status: 65, says: /empty/ },
  { words: ['run', '--kernel', text], status: 65, says: /text/ },
  { words: ['run', '--kernel', arm], status: 65, says: /ARM/ },
  {
    words: ['run', '--kernel', jpeg, '--json', '/nonexistent/x.json'],
    status: 74,
    says: /x\.json: the folder for it does not exist/,
  },
  { words: ['run', '--kernel', jpeg, '--trace', '/nonexistent/x'], status: 74, says: /x: the folder for it does not/ },
];

describe('refusals', () => {
  for (const { words, status, says } of REFUSALS)
    test(words.join(' ').replaceAll(folder, ''), async () => {
      const result = await polyvisor(words);
      assert.match(result.stderr, says);
      assert.equal(result.status, status);
      assert.equal(result.stdout, '');
      assert.doesNotMatch(result.stderr, /^\s+at /m, 'no stack trace');
      assert.match(result.stderr, /^polyvisor: /);
    });
});

describe('limits of the host', { skip: process.platform !== 'linux' && 'ulimit as Linux has it' }, () => {
  /** What bin/polyvisor says under a limit of the shell's. */
  const limited = (limit: string) =>
    spawnSync('sh', ['-c', `ulimit ${limit} && exec "$0" run --kernel "$1"`, program, tinyKernelFile], {
      encoding: 'utf8',
    });
  for (const [limit, says] of [
    ['-n 20', /may have 20 files open, and needs 64/],
    ['-v 300000', /300000 KiB of address space/],
    ['-v 1500000', /1500000 KiB of address space/],
    ['-v 4000000', /no memory for this guest.*--memory.*ulimit -v/],
  ] as const)
    test(`ulimit ${limit}`, () => {
      const { status, stderr } = limited(limit);
      assert.match(stderr, says);
      assert.match(stderr, /^polyvisor: [^\n]*\n$/, 'one line');
      assert.equal(status, 71);
    });
});

describe('FIFOs', () => {
  const fifo = (name: string) => {
    const path = join(folder, name);
    spawnSync('mkfifo', [path]);
    return path;
  };

  for (const [option, what] of [
    ['--json', 'nobody reads: waiting for a reader'],
    ['--trace', 'nobody reads: waiting for a reader'],
    ['--kernel', 'reading a FIFO until its end'],
  ] as const)
    test(`${option}: says what it waits for, and is ended by a signal`, async () => {
      const path = fifo(`fifo${option}`);
      const words = ['run', ...(option === '--kernel' ? [] : ['--kernel', tinyKernelFile]), option, path];
      const result = await polyvisor(words, { signal: { after: what, name: 'SIGTERM' } });
      assert.match(result.stderr, new RegExp(`^polyvisor: .*${path}: .*${what}\n`));
      assert.equal(result.status, 128 + 15);
    });

  test('a reader that is there gets the summary, whole', async () => {
    const path = fifo('summary.fifo');
    const reader = promisify(execFile)('cat', [path]);
    const { status } = await polyvisor(['run', '--kernel', tinyKernelFile, '--json', path]);
    assert.equal(status, 123);
    assert.equal((JSON.parse((await reader).stdout) as { status: number }).status, 123);
  });
});

test('--help everywhere', async () => {
  for (const words of [
    ['--help'],
    ['run', '--help'],
    ['list', '--help'],
    ['guest', '--help'],
    ['matrix', '--help'],
    ['trace', '--help'],
    ['help', 'run'],
  ]) {
    const { status, stdout } = await polyvisor(words);
    assert.equal(status, 0, words.join(' '));
    assert.match(stdout, /^Usage: polyvisor/, words.join(' '));
  }
});

test('the list is made from the tables', async () => {
  const { stdout } = await polyvisor(['list', '--json']);
  const listed = JSON.parse(stdout) as { name: string; operations: unknown[] }[];
  assert.deepEqual(
    listed.map(({ name }) => name),
    hypervisors.map(({ name }) => name),
  );
  assert.deepEqual(listed[0].operations, [], 'bare hardware changes nothing');
  const [plain, one, all] = [
    await polyvisor(['list']),
    await polyvisor(['list', 'kvm']),
    await polyvisor(['list', '--all']),
  ];
  const lines = plain.stdout.split('\n');
  for (const [index, { name, title }] of hypervisors.entries())
    assert.match(lines[index]!, new RegExp(`^${name} +${title.replace(/[()]/g, '.')}$`));
  assert.match(one.stdout, /^kvm {2}KVM: [\s\S]* {2}MSRs {7}MSR_KVM_WALL_CLOCK \(0x11\)/);
  assert.ok(!one.stdout.includes('hyperv'));
  assert.ok(all.stdout.includes(one.stdout.trimEnd()) && all.stdout.includes('HV_X64_MSR_GUEST_OS_ID'));
});

test("the version is the package's", async () => {
  const { version } = JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as {
    version: string;
  };
  assert.equal((await polyvisor(['--version'])).stdout, `${version}\n`);
});

describe('runs', () => {
  const timeout = 400_000;

  test('a script on standard input reaches the shell, and its last line ends the run', { timeout }, async () => {
    const result = await polyvisor(['run', '--timeout', '120'], {
      input: 'echo $((6 * 7)) is it; uname -s; poweroff -f\n',
    });
    assert.equal(result.status, 0, result.stderr);
    assert.match(result.stdout, /^42 is it\r?\nLinux\r?$/m);
  });

  test("resize tells the guest's shell the size that the terminal answers", { timeout }, async () => {
    const result = await polyvisor(['run', '--timeout', '120'], {
      terminal: true,
      dialogue: [
        { after: '~ # ', type: 'resize\n' },
        { after: '\x1b[6n', type: '\x1b[33;101R' },
        { after: '~ # ', type: 'stty size; poweroff -f\n' },
      ],
    });
    assert.match(result.stdout, /^33 101\r?$/m);
    assert.equal(result.status, 0, result.stderr);
  });

  test('a source tree in which a kernel has been built is a kernel', { timeout }, async () => {
    const tree = join(folder, 'tree');
    mkdirSync(tree);
    writeFileSync(join(tree, 'vmlinux'), tinyKernel([0xfa, 0xf4]));
    const result = await polyvisor(['run', tree, '--timeout', '120']);
    assert.equal(result.status, 123, result.stderr);
  });

  test('the end of standard input ends the shell', { timeout }, async () => {
    const result = await polyvisor(['run', '--timeout', '120'], { input: 'echo $((6 * 7)) is it\n' });
    assert.equal(result.status, 0, result.stderr);
    assert.match(result.stdout, /^42 is it\r?$/m);
  });

  test('--exec prints exactly the output, and ends with the status', { timeout }, async () => {
    const json = join(folder, 'summary.json');
    const command = "printf 'no line end'; printf '\\0\\377' | od -An -tx1; echo to stderr >&2; exit 7";
    const result = await polyvisor(['run', '--exec', command, '--json', json, '--timeout', '120']);
    assert.equal(result.stdout, 'no line end 00 ff\nto stderr\n');
    assert.equal(result.stderr, '');
    assert.equal(result.status, 7);
    const summary = JSON.parse(readFileSync(json, 'utf8')) as Record<string, unknown>;
    assert.equal(summary.status, 7);
    assert.equal(summary.commandStatus, 7);
    assert.equal(summary.hypervisor, 'bare');
    assert.ok((summary.instructions as number) > 1e6);
    assert.ok((summary.wallTime as number) > 0 && (summary.guestTime as number) > 0);
  });

  test('a panic is told from other endings, with its reason', { timeout }, async () => {
    const result = await polyvisor(['run', '--append', 'rdinit=/nothing init=/nothing', '--timeout', '120'], {
      input: '',
    });
    assert.equal(result.status, 120, result.stderr);
    assert.match(result.stderr, /^polyvisor: the guest's kernel panicked: /m);
    assert.doesNotMatch(result.stderr, /^\s+at .*\.js/m);
  });

  test('a time limit ends a guest that never ends', { timeout }, async () => {
    const result = await polyvisor(['run', '--exec', 'while :; do :; done', '--timeout', '8']);
    assert.equal(result.status, 124, result.stderr);
    assert.match(result.stderr, /^polyvisor: the time limit has passed$/m);
    assert.ok(result.seconds < 20);
  });

  test('a guest that powers off before its command has ended gave no status', { timeout }, async () => {
    const result = await polyvisor(['run', '--exec', 'echo going; sleep 1; poweroff -f', '--timeout', '120']);
    assert.equal(result.status, 119, result.stderr);
    assert.equal(result.stdout, 'going\n');
  });

  test('in a terminal Ctrl-A leaves, helps and opens the monitor', { timeout }, async () => {
    const result = await polyvisor(['run', '--timeout', '120'], {
      terminal: true,
      dialogue: [
        { after: '~ # ', type: 'tty; echo $((6 * 7)) is it\r' },
        { after: '42 is it', type: '\x01h' },
        { after: 'Ctrl-A x', type: '\x01c' },
        { after: '(polyvisor) ', type: 'registers\r' },
        { after: '(polyvisor) ', type: 'counters\r' },
        { after: 'exits', type: 'continue\r' },
        { after: 'The guest goes on', type: 'echo $((7 * 7)) on\r' },
        { after: '49 on', type: '\x01x' },
      ],
    });
    assert.equal(result.status, 0, result.stdout);
    assert.ok(!result.expired, result.stdout);
    assert.match(result.stdout, /49 on/);
  });

  test('SIGTERM ends the run at once', { timeout }, async () => {
    const result = await polyvisor(['run', '--exec', 'echo ready; sleep 1000', '--timeout', '120'], {
      signal: { after: 'ready', name: 'SIGTERM' },
    });
    assert.equal(result.status, 143, result.stderr);
    assert.equal(result.stdout, 'ready\n');
  });
});

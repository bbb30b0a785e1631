/**
 * What a Debian guest must be able to do, and what it must find, under every hypervisor. One boot does the whole list; the
 * tests then look at its parts.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { before, describe, test } from 'node:test';
import { makeElf } from '../src/boot/testing.ts';
import { tinyProgram } from '../src/conformance/tiny-elf.ts';
import { assembled } from './assembled.ts';
import { type CommandResult, polyvisor } from './command.ts';
import { complaintsOf } from './smp-complaints.ts';

/** Of a PC's keyboard controller and what is plugged into it. */
const KEYBOARD = /input: AT Translated Set 2 keyboard/;

const XEN_PV = {
  dmesg: [/Hypervisor detected: Xen PV/, /Booting kernel on Xen$/m, /Xen version: 4\.17/, /Using FIFO-based ABI/],
  clocksource: /^xen$/,
};

/** What the guest must say about where it runs: lines of dmesg and the clock source it chose. */
const EXPECTED: Readonly<Record<string, { dmesg: RegExp[]; clocksource: RegExp }>> = {
  bare: { dmesg: [/Booting paravirtualized kernel on bare hardware/, KEYBOARD], clocksource: /^tsc/ },
  kvm: { dmesg: [/Hypervisor detected: KVM/, /Booting paravirtualized kernel on KVM/], clocksource: /^kvm-clock$/ },
  vmware: {
    dmesg: [/Hypervisor detected: VMware/, /vmware: hypercall mode: 0x01/, /vmware: vmware-stealtime: cpu 0/, KEYBOARD],
    clocksource: /^tsc$/,
  },
  hyperv: {
    dmesg: [
      /Hypervisor detected: Microsoft Hyper-V/,
      /Booting paravirtualized kernel on Hyper-V/,
      /hv_vmbus: Vmbus version:5\.3/,
    ],
    clocksource: /^hyperv_clocksource_tsc_page$/,
  },
  // Debian's kernels are too new for VMI: they find bare hardware.
  vmi: { dmesg: [/Booting paravirtualized kernel on bare hardware/], clocksource: /^tsc/ },
  'xen-pv': XEN_PV,
  'xen-on-bare': XEN_PV,
  'xen-on-kvm': XEN_PV,
  'xen-on-hyperv': XEN_PV,
  'xen-hvm': {
    dmesg: [
      /Hypervisor detected: Xen HVM/,
      /Booting paravirtualized kernel on Xen HVM/,
      /Xen version 4\.17/,
      /Using FIFO-based ABI/,
      KEYBOARD,
    ],
    clocksource: /^xen$/,
  },
  'xen-pvh': {
    dmesg: [/Hypervisor detected: Xen HVM/, /Booting kernel on Xen PVH/, /Xen version: 4\.17/, /Using FIFO-based ABI/],
    clocksource: /^xen$/,
  },
};

const MEBIBYTE = 2 ** 20;
const MEMORY = 256 * MEBIBYTE;
/** What a machine may take beside its guest's RAM. */
const OVERHEAD = 200 * MEBIBYTE;
const LINE = 'one kernel, every hypervisor\n';

/** Programs that earn a signal, and the status a shell reports for it: 128 and the signal's number. The code is any mode's. */
const SIGNALS = {
  SIGSEGV: { code: [0x31, 0xc0, 0x89, 0x00], status: 139 }, // xor eax, eax; mov [rax], eax
  SIGFPE: { code: [0x31, 0xc9, 0x31, 0xd2, 0xf7, 0xf1], status: 136 }, // xor ecx, ecx; xor edx, edx; div ecx
  SIGILL: { code: [0x0f, 0x0b], status: 132 }, // ud2
  SIGTRAP: { code: [0xcc], status: 133 }, // int3
} as const;

/**
 * The stops of a debugger that steps over a few instructions, among them a system call, INT3 and REP MOVSB, as a real
 * processor has them (guests/single-step).
 */
const STOPS = 'ABGIJKLMRWbbbd';

/** A static i386 Linux program that consists of `code`. */
function tinyProgram32(code: readonly number[]): Uint8Array {
  // Headers fill 84 bytes of the file, and the program is mapped with them.
  const start = 0x400000 + 84;
  return makeElf({ class: 32, entry: start, segments: [{ address: start, data: Uint8Array.from(code) }] });
}

const decoded = (file: Uint8Array) =>
  `echo ${Buffer.from(file).toString('base64')} | base64 -d >/tmp/program; chmod +x /tmp/program`;

/** What is summed up: so long that what computes it is translated. */
const MD5_LENGTH = 16 * MEBIBYTE;

const sections = (program: (code: readonly number[]) => Uint8Array) => ({
  release: 'uname -r',
  processors: 'nproc',
  dmesg: 'dmesg',
  clocksource: 'cat /sys/devices/system/clocksource/clocksource0/current_clocksource',
  forks: 'i=0; while [ $i -lt 300 ]; do /bin/busybox true || exit; i=$((i + 1)); done; echo $i',
  md5sum: `yes '${LINE.trim()}' | head -c ${MD5_LENGTH} | md5sum`,
  signals: Object.values(SIGNALS)
    .map(({ code }) => `${decoded(program(code))}; /tmp/program >/dev/null 2>&1; echo $?; rm /tmp/program`)
    .join('; '),
  // The i386 kernel has no 64-bit programs: nothing is asked of it.
  steps:
    program === tinyProgram ? `${decoded(program([...assembled('single-step')]))}; /tmp/program; rm /tmp/program` : ':',
  gzip: 'dd if=/bin/busybox of=/tmp/copy bs=5000 2>/dev/null && gzip -c /tmp/copy | gunzip -c | cmp - /bin/busybox && echo same',
  sleep: 'sleep 2; echo slept',
  complaints:
    'dmesg | grep -iE "warning|bug:|(^|[^l])oops|unchecked MSR|call trace|soft lockup|segfault at" | grep -v "program\\["',
});

/** The list for 64-bit guests: commands of a shell by name. */
export const LIST = sections(tinyProgram);
/** What those of them print that print the same everywhere. */
export const ANSWERS = {
  forks: '300',
  md5sum: `${createHash('md5')
    .update(LINE.repeat(Math.ceil(MD5_LENGTH / LINE.length)).slice(0, MD5_LENGTH))
    .digest('hex')}  -`,
  signals: Object.values(SIGNALS)
    .map(({ status }) => status)
    .join('\n'),
  steps: STOPS,
  gzip: 'same',
  sleep: 'slept',
  complaints: '',
} satisfies Partial<Record<keyof typeof LIST, string>>;

/** The list as a shell's script. */
export const scriptOf = (commands: Readonly<Record<string, string>>) =>
  Object.entries(commands)
    .map(([name, command]) => `echo "=== ${name}"; ${command}`)
    .join('\n');

/** What the commands of such a script have printed, by name. */
export function resultsIn(output: string): Record<string, string> {
  const parts = output.split(/^=== (\w+)\n/m).slice(1);
  return Object.fromEntries(
    parts.flatMap((part, index) => (index % 2 === 0 ? [[part, parts[index + 1]!.trim()]] : [])),
  );
}

export interface GuestCase {
  hypervisor: string;
  architecture: 'amd64' | 'i386';
  /** What `uname -r` prints. */
  release: RegExp;
  /** How many processors; 1 if left out. */
  cpus?: number;
  /** More options of `polyvisor run`. */
  options?: readonly string[];
}

/** Boots Debian's guest of `architecture` and looks at what it did with the list. */
export function examineGuest({ hypervisor: name, architecture, release, cpus = 1, options = [] }: GuestCase): void {
  const several = cpus > 1 ? ['--cpus', `${cpus}`] : [];
  describe(`Debian ${[architecture, ...several, ...options].join(' ')} under ${name}`, () => {
    const commands = architecture === 'i386' ? sections(tinyProgram32) : LIST;
    let result: CommandResult;
    let found: Record<string, string>;
    /** By the host, in seconds. */
    let stolen = 0;
    const times: { text: string; time: number }[] = [];

    before(async () => {
      const words = ['run', '-H', name, '--cold', '--arch', architecture, ...several, ...options, '--timeout', '240'];
      const summary = join(tmpdir(), `polyvisor-list-${process.pid}.json`);
      words.push('--json', summary);
      result = await polyvisor([...words, '--exec', `${scriptOf(commands)}\nexit 42`], {
        limit: 300,
        onOutput: (text, time) => void times.push({ text, time }),
      });
      ({ stolenTime: stolen } = JSON.parse(readFileSync(summary, 'utf8')));
      rmSync(summary);
      found = resultsIn(result.stdout);
    });

    test('boots, runs the command and ends with its status', () => {
      assert.equal(result.status, 42, result.stderr);
      assert.deepEqual(Object.keys(found), Object.keys(commands));
      assert.match(found.release, release);
    });

    test(cpus === 1 ? 'has one processor' : `has ${cpus} processors, of which the kernel says nothing bad`, () => {
      assert.equal(found.processors, `${cpus}`);
      assert.deepEqual(complaintsOf(found.dmesg), []);
    });

    test('finds this hypervisor and its clock', () => {
      const expected = EXPECTED[name];
      assert.ok(expected, `what does a guest say under ${name}? EXPECTED does not know`);
      for (const line of expected.dmesg) assert.match(found.dmesg, line);
      assert.match(found.clocksource, expected.clocksource);
    });

    test('forks and executes 300 times', () => assert.equal(found.forks, ANSWERS.forks));

    test("has the host's MD5 of many lines", () => assert.equal(found.md5sum, ANSWERS.md5sum));

    test('gets the signals it earns', () => assert.equal(found.signals, ANSWERS.signals));

    test('stops a debugger at every instruction', { skip: architecture === 'i386' && 'the program is for amd64' }, () =>
      assert.equal(found.steps, ANSWERS.steps),
    );

    test('packs and unpacks', () => assert.equal(found.gzip, ANSWERS.gzip));

    test("sleeps 2 seconds by the host's clock", () => {
      const at = (text: string) => times.find(entry => entry.text.includes(text))?.time ?? Number.NaN;
      const slept = (at('slept') - at('=== sleep')) / 1000;
      // What the host took from the guest before, the guest's clock makes good as soon as it can, which is when the guest sleeps.
      assert.ok(slept > 1.9 - stolen && slept < 3.5, `${slept} s, and ${stolen} s were taken by the host`);
    });

    test('has nothing to complain about', () => assert.equal(found.complaints, ''));

    test('takes less than 200 MB beyond its RAM', () => {
      assert.ok(result.peakMemory < MEMORY + OVERHEAD, `${Math.round(result.peakMemory / MEBIBYTE)} MiB`);
    });
  });
}

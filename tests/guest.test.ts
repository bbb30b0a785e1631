/**
 * Debian's kernel under every hypervisor of the list: what a guest must be able to do, and what it must find. One boot a
 * hypervisor does the whole list; the tests then look at its parts.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { before, describe, test } from 'node:test';
import { hypervisors } from '../src/hypervisors/list.ts';
import { type CommandResult, polyvisor } from './command.ts';
import { tinyProgram } from './tiny-elf.ts';

/** What the guest must say about where it runs: lines of dmesg and the clock source it chose. */
const EXPECTED: Readonly<Record<string, { dmesg: RegExp[]; clocksource: RegExp }>> = {
  bare: { dmesg: [/Booting paravirtualized kernel on bare hardware/], clocksource: /^tsc/ },
  kvm: { dmesg: [/Hypervisor detected: KVM/, /Booting paravirtualized kernel on KVM/], clocksource: /^kvm-clock$/ },
  'xen-pv': {
    dmesg: [/Hypervisor detected: Xen PV/, /Booting kernel on Xen$/m, /Xen version: 4\.17/],
    clocksource: /^xen$/,
  },
  'xen-pvh': {
    dmesg: [/Hypervisor detected: Xen HVM/, /Booting kernel on Xen PVH/, /Xen version: 4\.17/],
    clocksource: /^xen$/,
  },
};

const MEBIBYTE = 2 ** 20;
const MEMORY = 256 * MEBIBYTE;
/** What a machine may take beside its guest's RAM. */
const OVERHEAD = 200 * MEBIBYTE;
const MD5_LENGTH = 64 * MEBIBYTE;
const LINE = 'one kernel, every hypervisor\n';

const base64 = (code: readonly number[]) => Buffer.from(tinyProgram(code)).toString('base64');
/** Programs that earn a signal, and the status a shell reports for it: 128 and the signal's number. */
const SIGNALS = {
  SIGSEGV: { code: [0x31, 0xc0, 0x89, 0x00], status: 139 }, // xor eax, eax; mov [rax], eax
  SIGFPE: { code: [0x31, 0xc9, 0x31, 0xd2, 0xf7, 0xf1], status: 136 }, // xor ecx, ecx; xor edx, edx; div ecx
  SIGILL: { code: [0x0f, 0x0b], status: 132 }, // ud2
  SIGTRAP: { code: [0xcc], status: 133 }, // int3
} as const;

const SECTIONS = {
  release: 'uname -r',
  dmesg: 'dmesg',
  clocksource: 'cat /sys/devices/system/clocksource/clocksource0/current_clocksource',
  forks: 'i=0; while [ $i -lt 300 ]; do /bin/busybox true || exit; i=$((i + 1)); done; echo $i',
  md5sum: `yes '${LINE.trim()}' | head -c ${MD5_LENGTH} | md5sum`,
  signals: Object.values(SIGNALS)
    .map(
      ({ code }) =>
        `echo ${base64(code)} | base64 -d >/tmp/program; chmod +x /tmp/program; /tmp/program >/dev/null 2>&1; echo $?`,
    )
    .join('; rm /tmp/program; '),
  gzip: 'dd if=/bin/busybox of=/tmp/copy bs=5000 2>/dev/null && gzip -c /tmp/copy | gunzip -c | cmp - /bin/busybox && echo same',
  sleep: 'sleep 2; echo slept',
  complaints:
    'dmesg | grep -iE "warning|bug:|oops|unchecked MSR|call trace|soft lockup|segfault at" | grep -v "program\\["',
} as const;

const script = Object.entries(SECTIONS)
  .map(([name, command]) => `echo "=== ${name}"; ${command}`)
  .join('\n');

for (const { name } of hypervisors) {
  describe(`Debian under ${name}`, () => {
    let result: CommandResult;
    let sections: Record<string, string>;
    const times: { text: string; time: number }[] = [];

    before(async () => {
      result = await polyvisor(['run', '-H', name, '--timeout', '240', '--exec', `${script}\nexit 42`], {
        limit: 300,
        onOutput: (text, time) => void times.push({ text, time }),
      });
      const parts = result.stdout.split(/^=== (\w+)\n/m).slice(1);
      sections = Object.fromEntries(
        parts.flatMap((part, index) => (index % 2 === 0 ? [[part, parts[index + 1].trim()]] : [])),
      );
    });

    test('boots, runs the command and ends with its status', () => {
      assert.equal(result.status, 42, result.stderr);
      assert.deepEqual(Object.keys(sections), Object.keys(SECTIONS));
      assert.match(sections.release, /^\d+\.\d+\.\d+-\d+-cloud-amd64$/);
    });

    test('finds this hypervisor and its clock', () => {
      const expected = EXPECTED[name];
      assert.ok(expected, `what does a guest say under ${name}? EXPECTED does not know`);
      for (const line of expected.dmesg) assert.match(sections.dmesg, line);
      assert.match(sections.clocksource, expected.clocksource);
    });

    test('forks and executes 300 times', () => assert.equal(sections.forks, '300'));

    test("has the host's MD5 of 64 MiB", () => {
      const text = LINE.repeat(Math.ceil(MD5_LENGTH / LINE.length)).slice(0, MD5_LENGTH);
      assert.equal(sections.md5sum, `${createHash('md5').update(text).digest('hex')}  -`);
    });

    test('gets the signals it earns', () => {
      const statuses = Object.values(SIGNALS).map(({ status }) => `${status}`);
      assert.deepEqual(sections.signals.split('\n'), statuses);
    });

    test('packs and unpacks', () => assert.equal(sections.gzip, 'same'));

    test("sleeps 2 seconds by the host's clock", () => {
      const at = (text: string) => times.find(entry => entry.text.includes(text))?.time ?? Number.NaN;
      const slept = (at('slept') - at('=== sleep')) / 1000;
      assert.ok(slept > 1.9 && slept < 3.5, `${slept} s`);
    });

    test('has nothing to complain about', () => assert.equal(sections.complaints, ''));

    test('takes less than 200 MB beyond its RAM', () => {
      assert.ok(result.peakMemory < MEMORY + OVERHEAD, `${Math.round(result.peakMemory / MEBIBYTE)} MiB`);
    });
  });
}

test('two runs on the virtual clock print the same', { timeout: 400_000 }, async () => {
  const words = [
    'run',
    '--clock',
    'virtual',
    '--timeout',
    '180',
    '-v',
    '--exec',
    'dmesg; cat /proc/uptime /proc/interrupts; date',
  ];
  const [first, second] = [await polyvisor(words), await polyvisor(words)];
  assert.equal(first.status, 0, first.stderr);
  assert.equal(second.stdout, first.stdout);
  assert.equal(second.stderr, first.stderr);
});

/** What Debian's kernel and its programs find only under VMware and Hyper-V. */
import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { tinyProgram } from '../src/conformance/tiny-elf.ts';
import { polyvisor } from './command.ts';

const run = (hypervisor: string, command: string, ...options: string[]) =>
  polyvisor(['run', '-H', hypervisor, '--timeout', '120', ...options, '--exec', command], { limit: 180 });

describe('vmware', () => {
  const EXIT = [0xb8, 60, 0, 0, 0, 0x0f, 0x05]; // mov eax, exit; syscall
  /** Ends with status 1 unless the flags say equal. */
  const expectEqual = [0x74, 12, 0xbf, 1, 0, 0, 0, ...EXIT]; // je over; mov edi, 1; exit
  const question = [
    ...[0xb8, 0x68, 0x58, 0x4d, 0x56], // mov eax, "VMXh"
    ...[0xb9, 10, 0, 0, 0], // mov ecx, GETVERSION
    ...[0xba, 0x58, 0x56, 0, 0], // mov edx, 0x5658
  ];
  const programs = {
    port: [...question, 0xed, 0x83, 0xf8, 6, ...expectEqual], // in eax, dx; cmp eax, 6
    call: [...question, 0x0f, 0x01, 0xd9, 0x83, 0xf8, 6, ...expectEqual], // vmmcall; cmp eax, 6
    counter: [0xb9, 1, 0, 1, 0, 0x0f, 0x33, 0x09, 0xd0, 0x0f, 0x94, 0xc0, 0x3c, 0, ...expectEqual], // rdpmc; is it 0?
    forbidden: [0xba, 0x58, 0x56, 0, 0, 0x31, 0xc0, 0xed], // in eax, dx without the magic number
  };
  const command = Object.values(programs)
    .map(code => Buffer.from(tinyProgram([...code, 0xbf, 42, 0, 0, 0, ...EXIT])).toString('base64'))
    .map(text => `echo ${text} | base64 -d >/tmp/program; chmod +x /tmp/program; /tmp/program 2>/dev/null; echo $?`)
    .join('; rm /tmp/program; ');

  test('programs reach the backdoor and the pseudo counters although they may not touch ports', async () => {
    const { status, stdout, stderr } = await run('vmware', command);
    assert.equal(status, 0, stderr);
    assert.deepEqual(stdout.trim().split('\n'), ['42', '42', '42', '139']);
  });
});

describe('hyperv', () => {
  test("a panic is told by the guest's own words and numbers", async () => {
    const { status, stderr } = await run('hyperv', 'echo c >/proc/sysrq-trigger');
    assert.equal(status, 120);
    assert.match(
      stderr,
      /^polyvisor: the guest's kernel panicked: sysrq triggered crash \(crash registers: P0 0x0, .* P4 0x[0-9a-f]+\)$/m,
    );
  });

  test('without x2APIC the local APIC is written by registers of the hypervisor', async () => {
    const report = 'dmesg | grep -E "enlightened APIC|Call Trace|unchecked"; cat /proc/interrupts; sleep 0.1';
    const { status, stdout, stderr } = await run('hyperv', report, '--append', 'nox2apic');
    assert.equal(status, 0, stderr);
    assert.match(stdout, /Using enlightened APIC \(xapic mode\)/);
    assert.doesNotMatch(stdout, /Call Trace|unchecked/);
    assert.match(stdout, /HVS: +\d{2,} +Hyper-V stimer0 interrupts/);
  });
});

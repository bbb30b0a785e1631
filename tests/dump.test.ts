/** Debian's gdb opens the core of a guest that has panicked: where its processors are, what the kernel says of itself, its log. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { parseKernel } from '../src/boot/image.ts';
import { readKallsyms } from '../src/boot/kallsyms.ts';
import { tinyKernel } from '../src/conformance/tiny-elf.ts';
import { ensureGuest } from '../src/host/node/index.ts';
import { createMachine } from '../src/index.ts';
import { polyvisor } from './command.ts';

const hasGdb = spawnSync('gdb', ['--version']).status === 0;

test('--dump: the core of a kernel that has panicked', { skip: hasGdb ? false : 'there is no gdb here' }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'polyvisor-'));
  const [core, log] = ['core', 'log'].map(name => join(folder, name)) as [string, string];
  try {
    const command = 'echo 1 >/proc/sys/kernel/sysrq; echo c >/proc/sysrq-trigger';
    const options = ['--cpus', '2', '--append', 'nokaslr', '--timeout', '500'];
    const result = await polyvisor(['run', '-H', 'kvm', ...options, '--dump', core, '--exec', command], { limit: 600 });
    assert.equal(result.status, 120, result.stderr);
    assert.match(result.stderr, /^polyvisor: saved .*core: 256 MiB, at/m);
    const guest = await ensureGuest();
    const { elf } = await parseKernel(readFileSync(guest.kernel));
    const symbols = new Map(readKallsyms(elf!.bytes, true).map(({ name, address }) => [name, address]));
    const at = (name: string) => `0x${symbols.get(name)!.toString(16)}`;
    const asked = [
      'info threads',
      'p/x $rip',
      `x/s ${at('linux_banner')}`,
      `dump binary memory ${log} ${at('__log_buf')} ${at('__log_buf')}+0x20000`,
    ];
    const gdb = spawnSync('gdb', ['-q', '-nx', '-batch', ...asked.flatMap(line => ['-ex', line]), '-c', core], {
      encoding: 'utf8',
      env: { ...process.env, LC_ALL: 'C' },
    });
    assert.match(gdb.stdout, /Thread 1|LWP 1/, gdb.stderr);
    assert.match(gdb.stdout, /LWP 2/);
    assert.match(gdb.stdout, /\$1 = 0xffffffff8/);
    assert.match(gdb.stdout, /"Linux version 6\./, gdb.stdout + gdb.stderr);
    assert.match(readFileSync(log, 'latin1'), /sysrq: Trigger a crash/);
    const notes = spawnSync('readelf', ['-n', core], { encoding: 'latin1' }).stdout ?? '';
    assert.match(notes, /VMCOREINFO/);
    assert.match(readFileSync(core, 'latin1').slice(0, 1 << 20), /OSRELEASE=6\./);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test('the core of a guest in 32-bit mode is i386’s', { skip: hasGdb ? false : 'there is no gdb here' }, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'polyvisor-'));
  const core = join(folder, 'core');
  try {
    // mov eax, 0x12345678; mov [0x200000], eax; cli; hlt
    const code = [0xb8, 0x78, 0x56, 0x34, 0x12, 0xa3, 0x00, 0x00, 0x20, 0x00, 0xfa, 0xf4];
    const machine = await createMachine({ kernel: tinyKernel(code), memory: 16 << 20 });
    assert.equal((await machine.run()).kind, 'dead-halt');
    writeFileSync(core, Buffer.concat(machine.core()));
    const asked = ['show architecture', 'p/x $eax', 'p/x $eip', 'x/wx 0x200000'];
    const gdb = spawnSync('gdb', ['-q', '-nx', '-batch', ...asked.flatMap(line => ['-ex', line]), '-c', core], {
      encoding: 'utf8',
      env: { ...process.env, LC_ALL: 'C' },
    });
    assert.match(gdb.stdout, /"i386"/, gdb.stdout + gdb.stderr);
    assert.match(gdb.stdout, /\$1 = 0x12345678\n\$2 = 0x10000c\n0x200000:\s+0x12345678/, gdb.stdout + gdb.stderr);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

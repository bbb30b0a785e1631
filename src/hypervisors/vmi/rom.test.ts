import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { native, nothing } from '../../paravirt/native.ts';
import { Assembler } from './assembler.ts';
import { numberOf, VMI_CALLS } from './calls.ts';
import { buildRom } from './rom.ts';
import { answers } from './rom-code.ts';
import { ROM_ADDRESS, ROM_SIZE } from './shared-page.ts';

const rom = buildRom();
const view = new DataView(rom.bytes.buffer);
const sum = (from: number, length: number) =>
  rom.bytes.subarray(from, from + length).reduce((total, byte) => total + byte, 0) & 0xff;
const string = (at: number) => new TextDecoder().decode(rom.bytes.subarray(at, rom.bytes.indexOf(0, at)));

test('is an option ROM where Linux looks for one', () => {
  assert.ok(ROM_ADDRESS % 2048 === 0 && ROM_ADDRESS >= 0xc0000 && ROM_ADDRESS + ROM_SIZE <= 0xe0000);
  assert.equal(view.getUint16(0, true), 0xaa55);
  assert.equal(rom.bytes[2]! * 512, ROM_SIZE);
  assert.equal(rom.bytes[3], 0xcb, 'a BIOS that calls it gets back');
  assert.equal(sum(0, ROM_SIZE), 0);
});

test('says what Linux reads (check_vmi_rom)', () => {
  assert.equal(view.getUint32(8, true), 0x696d5663);
  assert.deepEqual([rom.bytes[0xd], rom.bytes[0xc]], [3, 0], 'API 3.0');
  assert.equal(string(view.getUint16(0x16, true)), 'GPL');
  const pci = view.getUint16(0x18, true);
  assert.deepEqual([view.getUint16(pci + 4, true), view.getUint16(pci + 6, true)], [0x15ad, 0x0801]);
  assert.deepEqual([rom.bytes[pci + 19], rom.bytes[pci + 18]], [1, 0], 'ROM version');
  const pnp = view.getUint16(0x1a, true);
  assert.equal(string(view.getUint16(pnp + 14, true)), 'Polyvisor');
  assert.equal(string(view.getUint16(pnp + 16, true)), 'VMI');
  assert.equal(sum(pnp, 32), 0);
});

test('numbers its calls as Linux does', () => {
  // The ends of every group in arch/x86/include/asm/vmi.h.
  const known = { CPUID: 0, GetTR: 10, UpdateKernelStack: 14, GetCR4: 22, IRET: 33, SYSEXIT: 34, SetPxE: 38 } as const;
  const more = { SetLinearMapping: 48, SetIOPLMask: 61, IODelay: 65, SetAlarm: 68, SetLazyMode: 73 } as const;
  for (const [name, number] of Object.entries({ ...known, ...more }))
    assert.equal(numberOf(name as keyof typeof known), number);
  assert.equal(VMI_CALLS.length, 74);
});

test('answers every call, and those that Linux cannot do without by code', () => {
  for (const name of VMI_CALLS) {
    const answer = answers[name];
    if (typeof answer === 'object') assert.ok(rom.labels.get(name)! >= 0x100, name);
    else assert.ok(answer === native || answer === nothing, name);
  }
  const iret = answers.IRET;
  const sysexit = answers.SYSEXIT;
  assert.ok(typeof iret === 'object' && typeof sysexit === 'object');
});

test('the listing is what GNU as makes of it', { skip: spawnSync('as', ['--version']).status !== 0 && 'no as' }, () => {
  const folder = mkdtempSync(join(tmpdir(), 'polyvisor-'));
  try {
    writeFileSync(join(folder, 'rom.s'), rom.source);
    execFileSync('as', ['--32', '-o', 'rom.o', 'rom.s'], { cwd: folder });
    execFileSync('objcopy', ['-O', 'binary', '-j', '.text', 'rom.o', 'rom.bin'], { cwd: folder });
    const made = readFileSync(join(folder, 'rom.bin'));
    const start = 0x100;
    assert.ok(made.length > 0x400, `${made.length} bytes`);
    const differs = [...made].findIndex((byte, at) => at >= start && byte !== rom.bytes[at]);
    assert.equal(differs, -1, `differs from 0x${differs.toString(16)} on`);
    assert.ok(
      rom.bytes.subarray(made.length).every(byte => byte === 0),
      'there is no code that it did not see',
    );
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('the assembler refuses what it does not know', () => {
  const asm = new Assembler();
  assert.throws(() => asm.line('9', 'nop'), /no byte/);
  asm.label('far', 1000);
  asm.line('eb >far', 'jmp far');
  assert.throws(() => asm.finish(), /too far/);
  assert.throws(() => asm.label('far'), /twice/);
});

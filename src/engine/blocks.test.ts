/** What a write to code drops, and what it leaves alone: blocks and regions with bytes in the 64-byte chunks that were written to. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CR0_PE, CR0_PG, CR4_PAE, EFER_LMA, EFER_LME } from '../x86/control.ts';
import { FLAT_CODE_64 } from '../x86/descriptors.ts';
import { PTE_A, PTE_P, PTE_PS, PTE_RW } from '../x86/paging.ts';
import { CS } from '../x86/segments.ts';
import { Engine, type EngineEnvironment } from './engine.ts';
import { state } from './x86/state.ts';

const [ROOT, POINTERS, DIRECTORY] = [0x1000, 0x2000, 0x3000];
const RAX = 0;
const HLT = 0xf4;
/** mov eax, 0x11223344 */
const MOV = [0xb8, 0x44, 0x33, 0x22, 0x11];

/** 64-bit code at its own addresses, decoded where `code` begins. */
function guest(code: Record<number, readonly number[]>) {
  const engine = new Engine(2 << 20);
  const { cpu, memory, blocks, core } = engine;
  const environment: Partial<EngineEnvironment> = { boundary: () => {}, halt: () => engine.halt() };
  engine.environment = environment as EngineEnvironment;
  cpu.environment = engine.environment;
  memory.write64(ROOT, BigInt(POINTERS | PTE_A | PTE_P | PTE_RW));
  memory.write64(POINTERS, BigInt(DIRECTORY | PTE_A | PTE_P | PTE_RW));
  memory.write64(DIRECTORY, BigInt(PTE_A | PTE_P | PTE_RW | PTE_PS));
  cpu.set64(state.CR3, BigInt(ROOT));
  cpu.set64(state.CR4, BigInt(CR4_PAE));
  cpu.set64(state.EFER, BigInt(EFER_LME | EFER_LMA));
  cpu.set64(state.CR0, BigInt((CR0_PG | CR0_PE) >>> 0));
  cpu.set32(state.SEGMENT_ATTRIBUTES + 4 * CS, FLAT_CODE_64);
  engine.tlb.flushAll();
  cpu.updateMode();
  cpu.updateBank();
  for (const [at, bytes] of Object.entries(code)) memory.copyIn(Number(at), Uint8Array.from(bytes));
  for (const at of Object.keys(code).map(Number)) assert.ok(blocks.translate(BigInt(at), at, 64, core.source) > 0);
  return { engine, cpu, memory, blocks, isThere: (at: number) => blocks.visits(at, 64) >= 0 };
}

test('a write drops the blocks in its chunk, and no others of the page', () => {
  const { memory, blocks, isThere } = guest({ 0x8100: [...MOV, HLT], 0x8180: [...MOV, HLT] });
  memory.write8(0x8140, 1);
  assert.deepEqual([0x8100, 0x8180].map(isThere), [true, true]);
  memory.write32(0x8101, 0x55667788);
  assert.deepEqual([0x8100, 0x8180].map(isThere), [false, true]);
  assert.ok(blocks.holdsCode(0x8000, 1));
  memory.write8(0x81bf, 1);
  assert.deepEqual([0x8100, 0x8180].map(isThere), [false, false]);
  assert.ok(!blocks.holdsCode(0x8000, 1), 'nothing is left in it');
});

test('a block goes with any byte that it depends on', () => {
  for (const [at, code, written, goes] of [
    [0x823e, [...MOV, HLT], 0x8240, true],
    [0x823e, [...MOV, HLT], 0x8200, true],
    [0x823e, [...MOV, HLT], 0x8280, false],
    // Its tail is in the next page.
    [0x8ffe, MOV, 0x9001, true],
    [0x8ffe, MOV, 0x9040, false],
    [0x8ffe, MOV, 0x8fff, true],
    // Undefined, for its second byte.
    [0x827f, [0x0f, 0x04], 0x8280, true],
  ] as const) {
    const { memory, isThere } = guest({ [at]: code });
    memory.write8(written, 0x31);
    assert.equal(isThere(at), !goes, `0x${at.toString(16)}, written to at 0x${written.toString(16)}`);
  }
});

test('a region goes with any byte of its code, and with the block that it begins with; what is left is executed', () => {
  /** jmp 0x8380; there: add eax, 1; hlt */
  const code = { 0x8300: [0xeb, 0x7e], 0x8380: [0x83, 0xc0, 1, HLT] };
  const isRegion = ({ blocks }: ReturnType<typeof guest>) => blocks.visits(0x8300, 64) === Number.POSITIVE_INFINITY;
  const result = ({ engine, cpu }: ReturnType<typeof guest>) => {
    cpu.setGpr(RAX, 10n);
    cpu.rip = 0x8300n;
    engine.vcpu.halted = false;
    // Enough for the region to be entered.
    while (!engine.halted) engine.run(engine.instructions + 1000);
    return cpu.gpr(RAX);
  };
  for (const [written, value, goes, expected] of [
    [0x8340, 0, false, 11n],
    [0x8382, 5, true, 15n],
    [0x8300, 0xeb, true, 11n],
  ] as const) {
    const made = guest(code);
    assert.ok(made.engine.jit!.translate(0x8300n, 64));
    assert.ok(isRegion(made));
    assert.equal(result(made), 11n);
    made.memory.write8(written, value);
    assert.equal(isRegion(made), !goes, `written to at 0x${written.toString(16)}`);
    assert.equal(result(made), expected);
  }
});

test('nothing is left of a page that is written anew, nor of anything when all is dropped', () => {
  const { memory, blocks, isThere, engine } = guest({ 0x8100: [...MOV, HLT], 0x8ffe: MOV, 0xa000: [HLT] });
  memory.write8(0x8100, 1);
  memory.copyIn(0x8000, new Uint8Array(4096));
  assert.deepEqual([0x8100, 0x8ffe, 0xa000].map(isThere), [false, false, true]);
  assert.ok(engine.jit!.translate(0xa000n, 64) || isThere(0xa000));
  blocks.flush();
  assert.ok(!isThere(0xa000));
  assert.ok(!blocks.holdsCode(0xa000, 1));
});

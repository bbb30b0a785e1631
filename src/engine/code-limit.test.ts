/** Code goes no further than CS's limit, whether it jumps or walks there (SDM 3A 5.3): a real-mode segment full of NOPs. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CS, SS } from '../x86/segments.ts';
import * as vectors from '../x86/vectors.ts';
import { Engine, type EngineEnvironment } from './engine.ts';
import { state } from './x86/state.ts';

const RAM = 2 << 20;
/** Linear addresses: of the segment, whose start lies within a page, of the handler of #GP, and of the stack's segment. */
const SEGMENT = 0x20050;
const HANDLER = 0x500;
const STACK = 0x8000;
const TOP = 0x1000;
const RSP = 4;
const NOP = 0x90;
const HLT = 0xf4;
/** mov ax, imm16: three bytes. */
const MOV = 0xb8;

/** Walks from `start` in a segment of the limit. @returns instructions executed, and the IP that #GP pushes */
function walk(start: number, limit: number, wide: readonly number[] = []) {
  const engine = new Engine(RAM, { jit: false });
  const { cpu, memory } = engine;
  const environment: Partial<EngineEnvironment> = { boundary: () => {}, halt: () => engine.halt() };
  engine.environment = environment as EngineEnvironment;
  cpu.environment = engine.environment;
  engine.reset();
  memory.fill(SEGMENT, 0x20000, NOP);
  for (const offset of wide) memory.write8(SEGMENT + offset, MOV);
  memory.write32(4 * vectors.GP, HANDLER);
  memory.write8(HANDLER, HLT);
  const from = (): { executed: number; ip: number } => {
    cpu.set64(state.SEGMENT_BASE + 8 * CS, BigInt(SEGMENT));
    cpu.set32(state.SEGMENT_LIMIT + 4 * CS, limit);
    cpu.set64(state.SEGMENT_BASE + 8 * SS, BigInt(STACK));
    cpu.setGpr(RSP, BigInt(TOP));
    cpu.updateMode();
    cpu.ip = BigInt(start);
    engine.wake();
    const before = engine.instructions;
    while (!engine.halted) engine.run(before + 100_000);
    return { executed: engine.instructions - before, ip: memory.read16(STACK + TOP - 6) };
  };
  const first = from();
  assert.deepEqual(from(), first, 'the same when its blocks are known');
  return first;
}

test('the end of 64 KiB is the end, in the middle of a page', () => {
  // The NOPs, the fault and the HLT.
  assert.deepEqual(walk(0xff80, 0xffff), { executed: 0x80 + 2, ip: 0x0000 });
});

test('a limit within a block, at its first instruction and at its last', () => {
  for (const count of [1, 2, 63, 64, 65])
    assert.deepEqual(walk(0x700, 0x700 + count - 1), { executed: count + 2, ip: 0x700 + count }, `${count} NOPs`);
});

test('an instruction that reaches beyond the limit faults, one that ends there does not', () => {
  assert.deepEqual(walk(0x7f0, 0x800, [0x7ff]), { executed: 0xf + 2, ip: 0x7ff });
  assert.deepEqual(walk(0x7f0, 0x801, [0x7ff]), { executed: 0x10 + 2, ip: 0x802 });
});

test('whatever starts beyond the limit faults at once', () => {
  assert.deepEqual(walk(0x900, 0x7ff), { executed: 2, ip: 0x900 });
});

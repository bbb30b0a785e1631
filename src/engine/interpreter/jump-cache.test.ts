/** The jump cache leads from region to region only while the code at a linear address is what it was. */

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { CS } from '../../x86/segments.ts';
import { Engine, type EngineEnvironment } from '../engine.ts';
import { JUMP_CACHE, JUMP_ENTRY, JUMP_SETS } from '../layout.ts';
import { state } from '../x86/state.ts';

const RAM = 1 << 20;
const [DIRECTORY, TABLE, CODE, FUNCTION, OTHER] = [0x1000, 0x2000, 0x8000, 0x20000, 0x30000] as const;
/** 32-bit: mov ebx, FUNCTION; call ebx; jmp CODE. The call leaves the region, since nobody has been at FUNCTION yet. */
const LOOP = [0xbb, 0, 0, 2, 0, 0xff, 0xd3, 0xeb, 0xf7];
const RETURN = CODE + 7;
/** add eax, N; ret */
const adding = (n: number) => Uint8Array.of(0x83, 0xc0, n, 0xc3);
/** Present, writable, and executed before: what has not been is not translated. */
const ACCESSED = 0x23;
/** Instructions of a turn, with the function's. */
const TURN = 5;

/**
 * A machine whose loop calls FUNCTION from one region to another, and `turns` that tells by how much EAX grows in each.
 */
function loop() {
  const engine = new Engine(RAM, { jit: true });
  const { cpu, memory } = engine;
  const environment: Partial<EngineEnvironment> = { boundary: () => {}, interruptPending: () => false };
  engine.environment = environment as EngineEnvironment;
  cpu.environment = engine.environment;
  memory.copyIn(CODE, Uint8Array.from(LOOP));
  memory.copyIn(FUNCTION, adding(1));
  memory.copyIn(OTHER, adding(3));
  const map = (linear: number, physical: number) => memory.write32(TABLE + (linear >>> 12) * 4, physical | ACCESSED);
  memory.write32(DIRECTORY, TABLE | ACCESSED);
  for (let page = 0; page < RAM; page += 4096) map(page, page);
  for (let segment = 0; segment < 6; segment++) {
    cpu.set32(state.SEGMENT_LIMIT + 4 * segment, 0xffffffff);
    cpu.set32(state.SEGMENT_ATTRIBUTES + 4 * segment, segment === CS ? 0xcf9b00 : 0xcf9300);
  }
  cpu.set64(state.CR3, BigInt(DIRECTORY));
  cpu.set64(state.CR0, 0x80000011n);
  cpu.updateMode();
  engine.tlb.flushAll();
  cpu.setGpr(4, 0x7000n);
  cpu.rip = BigInt(CODE);
  engine.run(1); // not yet the call
  cpu.rip = BigInt(CODE);
  for (const start of [CODE, RETURN, FUNCTION]) assert.ok(engine.jit!.translate(BigInt(start), 32));
  const turns = (count: number) => {
    cpu.setGpr(0, 0n);
    engine.run(engine.instructions + count * TURN);
    return cpu.gpr32(0) / count;
  };
  assert.equal(turns(1000), 1);
  return { engine, map, turns };
}

describe('the jump cache', () => {
  test('forgets a page that INVLPG names', () => {
    const { engine, map, turns } = loop();
    map(FUNCTION, OTHER);
    engine.tlb.invalidate(BigInt(FUNCTION));
    assert.equal(turns(1000), 3);
  });
  test('forgets what a flush takes', () => {
    const { engine, map, turns } = loop();
    map(FUNCTION, OTHER);
    engine.tlb.flush(false);
    assert.equal(turns(1000), 3);
  });
  test('is another for each address space', () => {
    const { engine, map, turns } = loop();
    map(FUNCTION, OTHER);
    engine.tlb.select(7);
    engine.cpu.updateBank();
    assert.equal(turns(1000), 3);
    map(FUNCTION, FUNCTION);
    engine.tlb.select(-1);
    engine.cpu.updateBank();
    assert.equal(turns(1000), 1);
  });
  test('has two addresses at a place', () => {
    const { engine, turns } = loop();
    const { cpu, memory } = engine;
    const place = (linear: number) => JUMP_CACHE + ((linear ^ (linear / JUMP_SETS)) % JUMP_SETS) * 2 * JUMP_ENTRY;
    const neighbour = OTHER + 0x20;
    assert.equal(place(FUNCTION), place(neighbour));
    // The loop is to call both: its jump back leads to another call.
    memory.copyIn(neighbour, adding(2));
    memory.copyIn(CODE, Uint8Array.of(...LOOP.slice(0, 7), 0xbb, 0x20, 0, 3, 0, 0xff, 0xd3, 0xeb, 0xf0));
    for (const start of [CODE, RETURN, RETURN + 7, neighbour]) assert.ok(engine.jit!.translate(BigInt(start), 32));
    cpu.rip = BigInt(CODE);
    assert.equal(turns(1800), 3 * (1000 / 1800));
    const noted = [0, JUMP_ENTRY].map(entry =>
      Number(new DataView(cpu.bytes.buffer).getBigUint64(place(FUNCTION) + entry, true)),
    );
    assert.deepEqual(noted.sort(), [FUNCTION, neighbour]);
  });
  test('forgets regions whose code is written to', () => {
    const { engine, turns } = loop();
    engine.memory.copyIn(FUNCTION, adding(5));
    assert.equal(turns(1000), 5);
  });
});

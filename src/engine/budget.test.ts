/** How many instructions a run takes: as many as it was given, or nearly. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Engine, type EngineEnvironment } from './engine.ts';
import { REGION_LIMIT } from './jit/region.ts';

const CODE = 0x8000;
/** jmp CODE */
const LOOP = Uint8Array.of(0xeb, 0xfe);

test('a run executes what it was given; one that need not be exact leaves a region at most', () => {
  const engine = new Engine(1 << 20, { jit: true });
  engine.environment = {
    boundary: () => {},
    interruptPending: () => false,
  } as Partial<EngineEnvironment> as EngineEnvironment;
  engine.cpu.environment = engine.environment;
  engine.memory.copyIn(CODE, LOOP);
  engine.cpu.rip = BigInt(CODE);
  for (const count of [1, 63, 64, 1000, 50_001]) {
    const until = engine.instructions + count;
    assert.equal(engine.run(until), 'budget');
    assert.equal(engine.instructions, until);
  }
  for (const count of [1, 1000, 50_001]) {
    const until = engine.instructions + count;
    assert.equal(engine.run(until, false), 'budget');
    assert.ok(engine.instructions <= until && engine.instructions >= until - REGION_LIMIT, `${count} instructions`);
  }
});

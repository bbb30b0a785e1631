/** How many instructions a run takes: as many as it was given, or nearly. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Engine, type EngineEnvironment } from './engine.ts';
import { REGION_LIMIT } from './layout.ts';

const CODE = 0x8000;
/** jmp CODE */
const LOOP = Uint8Array.of(0xeb, 0xfe);

/** A machine that turns in a loop, and how often it looked for interrupts. */
function loop() {
  const engine = new Engine(1 << 20, { jit: true });
  let boundaries = 0;
  const environment: Partial<EngineEnvironment> = {
    boundary: () => void boundaries++,
    interruptPending: () => false,
  };
  engine.environment = environment as EngineEnvironment;
  engine.cpu.environment = engine.environment;
  engine.memory.copyIn(CODE, LOOP);
  engine.cpu.rip = BigInt(CODE);
  return { engine, boundaries: () => boundaries };
}

test('a run executes what it was given; one that need not be exact leaves a region at most', () => {
  const { engine } = loop();
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

test('interrupts come when the guest does something or a run begins, not when we look for translated code', () => {
  const { engine, boundaries } = loop();
  engine.run(200_000);
  // The run's beginning, and its last instructions, which are counted out.
  assert.ok(boundaries() <= 2, `${boundaries()} times in 200,000 instructions`);
});

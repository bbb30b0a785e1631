import assert from 'node:assert/strict';
import { test } from 'node:test';
import { createRandom } from '../../conformance/random.ts';
import { canBeTyped, resumeMessage } from './resume-program.ts';

// hvc_console.c takes a 0x0f and what follows it out of the input. Each of these numbers has one: seconds, nanoseconds, the length.
const SYSRQ = 0x0f;
const TIMES = [0x0f00_0f0fn * 1_000_000_000n, 0x0f0f0fn, 0x0fn * 1_000_000_000n + 0x0fn];

test('no message has the byte that a paravirtual console takes for a SysRq', () => {
  const { below } = createRandom(1n);
  for (let round = 0; round < 300; round++) {
    const seed = Uint8Array.from({ length: 32 }, (_, at) => (round === 0 ? at : below(256)));
    const command = 'x'.repeat(round < 30 ? round : 0xf00 + round);
    const message = resumeMessage({
      time: TIMES[round % 3]!,
      tsc: TIMES[(round + 1) % 3]!,
      seed,
      mark: '0123456789abcdef',
      command,
    });
    assert.ok(!message.includes(SYSRQ), `round ${round}`);
  }
});

test('a command with that byte is not typed', () => {
  assert.ok(canBeTyped('echo \x0e\x10'));
  assert.ok(!canBeTyped('echo \x0f'));
});

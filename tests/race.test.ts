/** A guest with a planted race: seeds find it, the fair schedule does not, and the seed that found it finds it again. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tinyKernel } from '../src/conformance/tiny-elf.ts';
import { createMachine } from '../src/index.ts';
import { assembled } from './assembled.ts';

const kernel = tinyKernel([...assembled('race')]);

async function run(schedule: 'fair' | number) {
  let shown = '';
  const machine = await createMachine({
    kernel,
    memory: 16 << 20,
    cpus: 2,
    schedule,
    console: { write: data => void (shown += Buffer.from(data)), onInput: () => {} },
  });
  const { kind } = await machine.run({ instructions: 20_000_000 });
  return { kind, shown, instructions: machine.statistics.instructions };
}

test('is found within 50 seeds, and again by its seed; the fair schedule does not find it', async () => {
  assert.deepEqual(pick(await run('fair')), { kind: 'power-off', shown: 'no update lost\n' });
  let found = 1;
  while (found <= 50 && (await run(found)).kind === 'power-off') found++;
  assert.ok(found > 1 && found <= 50, `seed ${found} is the first red one`);
  const first = await run(found);
  assert.deepEqual(pick(first), { kind: 'dead-halt', shown: 'an update was lost\n' });
  for (let again = 1; again <= 10; again++) assert.deepEqual(await run(found), first);
});

const pick = ({ kind, shown }: Awaited<ReturnType<typeof run>>) => ({ kind, shown });

/** 32-bit code is translated for flat segments, and translated code is entered under no others (guests/flat-segments). */
import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { tinyKernel } from '../src/conformance/tiny-elf.ts';
import { createMachine, type Machine } from '../src/index.ts';
import { assembled } from './assembled.ts';

const EXIT_PORT = 0x501;
/** As the guest has it: it counts the time once a turn, every other turn under flat segments. */
const TURNS = 0x30000;

/** Counts the helpers that translated code calls: its modules import `bulkMovs`, the interpreter has that itself. */
function countCalls(): { calls: number; restore(): void } {
  const { Instance } = WebAssembly;
  const counted = {
    calls: 0,
    restore() {
      WebAssembly.Instance = Instance;
    },
  };
  WebAssembly.Instance = new Proxy(Instance, {
    construct(target, [module, imports]: [WebAssembly.Module, { env: Record<string, unknown> }]) {
      const { bulkMovs, helper } = imports.env;
      if (!bulkMovs) return new target(module, imports as never);
      const counting = (id: number) => {
        counted.calls++;
        return (helper as (id: number) => number)(id);
      };
      return new target(module, { env: { ...imports.env, helper: counting } } as never);
    },
  });
  return counted;
}

describe('32-bit code under segments that change', () => {
  let machine: Machine;
  let counted: ReturnType<typeof countCalls>;
  before(async () => {
    counted = countCalls();
    machine = await createMachine({
      kernel: tinyKernel([...assembled('flat-segments')]),
      memory: 16 << 20,
      engine: 'both',
      devices: slot => {
        slot.ports('exit port', EXIT_PORT, 1, {
          read: () => 0,
          write: (_offset, _width, value) => slot.request('power-off', value),
        });
        return [];
      },
    });
  });
  after(() => counted.restore());

  test('does the same in both tiers, faults included', async () => {
    assert.deepEqual(await machine.run({ instructions: 100_000_000 }), { kind: 'power-off', status: 0 });
  });
  test('is executed translated where they are flat', () => {
    assert.ok(counted.calls > TURNS / 3, `${counted.calls} of ${TURNS} turns were translated`);
    assert.ok(counted.calls < TURNS * 0.8, `${counted.calls} of ${TURNS} turns were: more than have flat segments`);
  });
});

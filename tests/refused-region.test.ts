/** A region that cannot be entered, because a trap is due, has to leave RIP where it is (guests/refused-region). */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { tinyKernel } from '../src/conformance/tiny-elf.ts';
import { createMachine } from '../src/index.ts';

const source = fileURLToPath(new URL('../../guests/refused-region/start.S', import.meta.url));
const EXIT_PORT = 0x501;

function assembled(): Uint8Array {
  const folder = mkdtempSync(join(tmpdir(), 'polyvisor-'));
  try {
    const [object, binary] = [join(folder, 'start.o'), join(folder, 'start.bin')];
    execFileSync('gcc', ['-c', '-m64', '-o', object, source]);
    execFileSync('objcopy', ['-O', 'binary', '-j', '.text', object, binary]);
    return readFileSync(binary);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test('a translated function that must raise #NM raises it', async () => {
  const machine = await createMachine({
    kernel: tinyKernel([...assembled()]),
    memory: 16 << 20,
    engine: 'jit',
    devices: slot => {
      slot.ports('exit port', EXIT_PORT, 1, {
        read: () => 0,
        write: (_offset, _width, value) => slot.request('power-off', value),
      });
      return [];
    },
  });
  const exit = await machine.run({ instructions: 100_000_000 });
  const { regions = 0 } = machine.statistics.translation ?? {};
  assert.ok(regions > 0, 'nothing became hot: the test shows nothing');
  assert.deepEqual(exit, { kind: 'power-off', status: 0 });
});

/** Two recordings are compared: what differs is found at its instruction, whatever it is. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tinyKernel } from '../conformance/tiny-elf.ts';
import { portableClock } from '../host/portable-clock.ts';
import { Recorder } from '../replay/door.ts';
import { Divergence } from '../replay/journal.ts';
import { recordedInputs } from '../replay/recorded-inputs.ts';
import { compareRecordings, type RecordedRun } from './compare-recordings.ts';
import { assemble } from './machine.ts';
import type { MachineOptions } from './options.ts';

const MEMORY = 16 << 20;
const DATA = 0x800000;
const u32 = (value: number) => [0, 8, 16, 24].map(shift => (value >>> shift) & 0xff);
/** More than a stretch that is compared at once. */
const ROUNDS = 800_000;
const LOOP = [0xb9, ...u32(ROUNDS), 0xff, 0xc9, 0x75, 0xfc]; // mov ecx; dec ecx; jnz
/** Executed when it is done. */
const LOOPED = 1 + 2 * ROUNDS;
const out = (value: number) => [0x66, 0xba, 0xf8, 0x03, 0xb0, value, 0xee];
/** Waits for a letter (COM1). */
const READ = [0x66, 0xba, 0xfd, 0x03, 0xec, 0xa8, 0x01, 0x74, 0xfb, 0x66, 0xba, 0xf8, 0x03, 0xec];
const END = [0xf4];

async function recorded(
  name: string,
  code: readonly number[],
  options: Partial<MachineOptions> = {},
  typed = '',
): Promise<RecordedRun> {
  const first = await assemble({ memory: MEMORY, kernel: tinyKernel([...code]), engine: 'interpreter', ...options });
  const machineOptions = { memory: MEMORY, ...options, snapshot: first.machine.snapshot() };
  const pieces: Uint8Array[] = [];
  const { machine } = await assemble({ ...machineOptions, door: new Recorder(bytes => pieces.push(bytes)) });
  if (typed) machine.type(typed);
  const exit = await machine.run();
  assert.equal(exit.kind, 'dead-halt', JSON.stringify(exit));
  return { name, options: machineOptions, journal: Buffer.concat(pieces) };
}

/** The entries that are whole in the first half. */
function firstHalf(journal: Uint8Array): Uint8Array {
  for (let end = journal.length >> 1; ; end--)
    try {
      const part = journal.subarray(0, end);
      recordedInputs(part);
      return part;
    } catch (error) {
      assert.ok(error instanceof Divergence && end > 0, `${error}`);
    }
}

test('two tiers of one run are alike to the end', async () => {
  const code = [...LOOP, ...out(0x61), ...READ, ...END];
  const older = await recorded('old', code, { engine: 'interpreter' }, 'x');
  const newer = await recorded('new', code, { engine: 'jit' }, 'x');
  const { difference, ended, instructions } = await compareRecordings(older, newer);
  assert.deepEqual([difference, ended], [undefined, 'in both it ends (dead-halt)']);
  assert.ok(instructions > LOOPED);
  const shown = await compareRecordings(older, newer, { until: 'a' });
  assert.equal(shown.ended, 'both have shown "a"');
  const half = { ...newer, journal: firstHalf(newer.journal) };
  assert.match((await compareRecordings(older, half)).ended, /in new its recording ends$/);
});

test('a register: at the instruction that writes it, of two kernels and of two hypervisors', async () => {
  const [one, other] = await Promise.all(
    [1, 2].map(value => recorded(`value${value}`, [...LOOP, 0xbb, ...u32(value), ...END])),
  );
  const { difference, instructions, rips } = await compareRecordings(one!, other!);
  assert.match(difference!, /^RBX is 0x1 in value1, 0x2 in value2 /);
  assert.equal(instructions, LOOPED);
  assert.equal(rips[0], rips[1]);
  const asking = [...LOOP, 0xb8, ...u32(0x40000000), 0x0f, 0xa2, ...END];
  const [bare, guest] = await Promise.all(
    ['bare', 'kvm'].map(hypervisor => recorded(hypervisor, asking, { hypervisor })),
  );
  const answered = await compareRecordings(bare!, guest!);
  assert.match(answered.difference!, /^R(AX|BX|CX|DX) is .* in bare, .* in kvm/);
  assert.equal(answered.instructions, LOOPED + 1);
});

test('memory that differs while all registers are alike is found, too', async () => {
  // rdrand eax; mov [DATA], eax; xor eax, eax: random numbers differ on a host's clock.
  const code = [0x0f, 0xc7, 0xf0, 0xa3, ...u32(DATA), 0x31, 0xc0, ...LOOP, ...END];
  const [older, newer] = [
    await recorded('old', code, { clock: portableClock }),
    await recorded('new', code, { clock: portableClock }),
  ];
  const { difference, instructions } = await compareRecordings(older, newer);
  assert.match(difference!, /^RAX is 0x.* in old, 0x.* in new/);
  assert.equal(instructions, 0);
});

test('what came from outside, and what was shown', async () => {
  const [x, y] = await Promise.all(['x', 'y'].map(letter => recorded(letter, [...READ, ...END], {}, letter)));
  const input = await compareRecordings(x!, y!);
  assert.equal(input.difference, 'input is typed "x" in x, typed "y" in y');
  const say = (letter: number) => [...LOOP, ...out(letter), 0xb0, 0x00, ...END];
  const [a, b] = await Promise.all([0x61, 0x62].map(letter => recorded(String.fromCharCode(letter), say(letter))));
  const shown = await compareRecordings(a!, b!);
  assert.match(shown.difference!, /^RAX is 0x.*61 in a, 0x.*62 in b/);
  assert.equal(shown.instructions, LOOPED + 1);
});

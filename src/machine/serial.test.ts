/** A machine's second serial port: what it is joined to, where there is none, and that it goes on after a snapshot and in a replay. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tinyKernel } from '../conformance/tiny-elf.ts';
import { NoSuchBusError } from '../host/back-ends.ts';
import type { Console } from '../host/console.ts';
import { Player, Recorder } from '../replay/door.ts';
import { SnapshotError } from '../snapshot/snapshot-error.ts';
import { createMachine } from './machine.ts';
import type { MachineOptions } from './options.ts';

/** Sends back what arrives at COM2, up to a q. */
const ECHO = tinyKernel([
  ...[0x66, 0xba, 0xfd, 0x02, 0xec, 0xa8, 0x01, 0x74, 0xf7], // in al, LSR; test al, 1; jz
  ...[0x66, 0xba, 0xf8, 0x02, 0xec, 0xee, 0x3c, 0x71, 0x75, 0xed], // in al, RBR; out THR, al; cmp al, q; jne
  0xf4,
]);
const OPTIONS: MachineOptions = { memory: 16 << 20, engine: 'interpreter' };

function line() {
  let take = (_data: Uint8Array) => {};
  let text = '';
  const end: Console = {
    write: data => void (text += Buffer.from(data).toString('latin1')),
    onInput: given => void (take = given),
  };
  return { end, send: (given: string) => take(Buffer.from(given, 'latin1')), text: () => text };
}

test('what is sent arrives, what comes back is its own, and the console has nothing of it', async () => {
  const [serial, console] = [line(), line()];
  const machine = await createMachine({ ...OPTIONS, kernel: ECHO, serial: serial.end, console: console.end });
  serial.send('abcq');
  assert.equal((await machine.run()).kind, 'dead-halt');
  assert.deepEqual([serial.text(), console.text()], ['abcq', '']);
});

test('without it the ports are empty, and nobody is told of that', async () => {
  const machine = await createMachine({ ...OPTIONS, kernel: ECHO });
  await machine.run({ instructions: 100_000 });
  assert.deepEqual(machine.statistics.ports['in 0x2f8']! > 0, true);
  assert.deepEqual(machine.log, []);
});

test('where the guest has no PC’s serial ports, and where everything runs twice, it is refused', async () => {
  for (const hypervisor of ['xen-pv', 'xen-pvh', 'xen-on-bare'])
    await assert.rejects(
      createMachine({ ...OPTIONS, kernel: ECHO, hypervisor, serial: line().end }),
      (error: Error) =>
        error instanceof NoSuchBusError &&
        error.kind === 'serial' &&
        error.message === `the guest has no second serial port under ${hypervisor}`,
    );
  const twice = createMachine({ ...OPTIONS, kernel: ECHO, engine: 'both', serial: line().end });
  await assert.rejects(twice, /sends nothing twice/);
});

test('a snapshot has the port, with what waits there', async () => {
  const serial = line();
  const machine = await createMachine({ ...OPTIONS, kernel: ECHO, serial: serial.end });
  serial.send('ab');
  await machine.run({ instructions: 1_000_000 });
  serial.send('c'.repeat(40));
  const snapshot = machine.snapshot();
  assert.equal(serial.text(), 'ab');

  const other = line();
  const restored = await createMachine({ ...OPTIONS, snapshot, serial: other.end });
  other.send('q');
  assert.equal((await restored.run()).kind, 'dead-halt');
  assert.equal(other.text(), `${'c'.repeat(40)}q`);
  // Nobody looks any more: the guest does not notice.
  const alone = await createMachine({ ...OPTIONS, snapshot });
  await alone.run({ instructions: 20_000_000 });
  assert.equal(alone.statistics.ports['out 0x2f8'], 40);

  const without = (await createMachine({ ...OPTIONS, kernel: ECHO })).snapshot();
  await assert.rejects(createMachine({ ...OPTIONS, snapshot: without, serial: line().end }), SnapshotError);
});

test('what was sent to it is recorded, and comes again', async () => {
  const first = await createMachine({ ...OPTIONS, kernel: ECHO, serial: line().end });
  const options: MachineOptions = { ...OPTIONS, snapshot: first.snapshot() };
  const pieces: Uint8Array[] = [];
  const serial = line();
  const recorded = await createMachine({
    ...options,
    serial: serial.end,
    door: new Recorder(bytes => pieces.push(bytes)),
  });
  for (const [index, text] of ['a', 'bc', 'q'].entries()) setTimeout(() => serial.send(text), 30 * (index + 1));
  assert.equal((await recorded.run()).kind, 'dead-halt');
  assert.equal(serial.text(), 'abcq');
  for (const engine of ['interpreter', 'jit'] as const) {
    const again = line();
    const machine = await createMachine({
      ...options,
      engine,
      serial: again.end,
      door: new Player(Buffer.concat(pieces)),
    });
    assert.equal((await machine.run()).kind, 'dead-halt');
    assert.deepEqual([again.text(), machine.instructions], ['abcq', recorded.instructions]);
  }
});

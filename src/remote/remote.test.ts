/** A machine at the other end of a channel. */
import assert from 'node:assert/strict';
import { after, test } from 'node:test';
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import { ImageError } from '../boot/image-error.ts';
import { tinyKernel } from '../conformance/tiny-elf.ts';
import { portableClock } from '../host/portable-clock.ts';
import { portableCompression } from '../host/portable-compression.ts';
import { SnapshotError } from '../snapshot/snapshot-error.ts';
import { createRemoteMachine } from './client.ts';
import type { RemoteOptions } from './machine-protocol.ts';
import type { RemotePort } from './port.ts';
import { serveMachine } from './server.ts';

const MEMORY = 4 << 20;
/** Writes a character to the console again and again, and asks CPUID on the way. */
const LOOP = [0xb8, 0, 0, 0, 0x40, 0x0f, 0xa2, 0x66, 0xba, 0xf8, 0x03, 0xb0, 0x2e, 0xee];
const KERNEL = tinyKernel([...LOOP, 0xeb, 256 - LOOP.length - 2]);

const ends: MessagePort[] = [];
after(() => ends.forEach(port => port.close()));

/** Both ends in this thread: what lies between them copies as it does between threads. */
async function remote(options: RemoteOptions) {
  const { port1, port2 } = new MessageChannel();
  const [near, far] = [port1, port2].map(port => {
    ends.push(port);
    port.start();
    return port as unknown as RemotePort;
  });
  const extras: unknown[] = [];
  serveMachine(far!, given => {
    extras.push(given);
    return { clock: portableClock, compression: portableCompression };
  });
  const heard = { text: '', crossings: [] as string[], reports: 0 };
  const machine = await createRemoteMachine(
    near!,
    { memory: MEMORY, clock: 'virtual', ...options },
    {
      console: data => void (heard.text += new TextDecoder().decode(data)),
      report(_statistics, crossings) {
        heard.reports++;
        heard.crossings.push(...crossings.map(({ operation }) => operation));
      },
    },
  );
  return { machine, heard, extras };
}

test('it runs, is stopped, and says what it wrote and what crossed', async () => {
  const { machine, heard, extras } = await remote({ kernel: KERNEL, hypervisor: 'kvm', crossings: 5, extras: 'these' });
  assert.deepEqual(extras, ['these']);
  assert.deepEqual(await machine.run({ instructions: 6000 }), { kind: 'stopped' });
  assert.equal(machine.statistics.instructions, 6000);
  assert.equal(heard.text, '.'.repeat(1000));
  assert.equal(machine.statistics.operations['cpu.cpuid'], 1000, 'all are counted');
  assert.ok(heard.crossings.length >= 5 && heard.crossings.length <= 5 * heard.reports, 'the latest are told');
  assert.deepEqual([...new Set(heard.crossings)], ['cpu.cpuid']);

  const running = machine.run();
  await assert.rejects(machine.run(), /runs already/);
  machine.stop();
  assert.deepEqual(await running, { kind: 'stopped' });
  assert.match(await machine.describe(), /rip/i);
});

test('a snapshot goes out while it runs, and another machine is made of it', async () => {
  const { machine } = await remote({ kernel: KERNEL, hypervisor: 'kvm' });
  const running = machine.run();
  const bytes = await machine.snapshot();
  machine.stop();
  await running;
  const { machine: restored, heard } = await remote({ snapshot: bytes });
  assert.equal(restored.statistics.hypervisor, 'kvm');
  const { instructions } = restored.statistics;
  await restored.run({ instructions: 600 });
  assert.equal(restored.statistics.instructions, instructions + 600);
  assert.equal(heard.text, '.'.repeat(100));
});

test('errors arrive as what they are', async () => {
  await assert.rejects(remote({ kernel: new Uint8Array(5000) }), ImageError);
  await assert.rejects(remote({ snapshot: new Uint8Array(50) }), SnapshotError);
  await assert.rejects(remote({ kernel: KERNEL, hypervisor: 'none' }), /no hypervisor none/);
  await assert.rejects(remote({ kernel: KERNEL, memory: 5 }), /memory: 5 bytes/);
});

test('reports come while it runs', async () => {
  const { machine, heard } = await remote({ kernel: KERNEL });
  const running = machine.run();
  while (heard.reports < 3) await new Promise(resolve => setTimeout(resolve, 20));
  machine.stop();
  await running;
  assert.ok(heard.text.length > 0);
});

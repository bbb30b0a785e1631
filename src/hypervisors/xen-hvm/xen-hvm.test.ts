/** What stands on a PC for Xen's drivers: the platform device, and RAM that ends below Xen's own pages. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseKernel } from '../../boot/image.ts';
import { fakeContext, fakeProcessors, noFirmware } from '../../conformance/fake-processor.ts';
import { tinyKernel } from '../../conformance/tiny-elf.ts';
import { xenHvm } from './index.ts';

const RAM = 16 << 20;
const MIB = 1 << 20;
const kernel = parseKernel(tinyKernel([0xf4, 0xeb, 0xfd]));

function makeGuest() {
  const [cpu] = fakeProcessors(1, RAM);
  const asked: ((classCode: number) => boolean)[] = [];
  const context = {
    ...fakeContext(cpu),
    unplug: (matches: (classCode: number) => boolean) => void asked.push(matches),
  };
  return { cpu, context, asked, table: xenHvm.make(context) };
}

test('the ports of the unplug protocol', () => {
  const { cpu, context, asked, table } = makeGuest();
  const { ports } = context;
  assert.equal(ports.read(0x10, 2, cpu), 0x49d2);
  assert.equal(ports.read(0x12, 1, cpu), 1, "the protocol's version");
  // The driver's product and version: not refused.
  ports.write(0x12, 2, 3, cpu);
  ports.write(0x10, 4, 1, cpu);
  assert.equal(ports.read(0x10, 2, cpu), 0x49d2);
  assert.equal(asked.length, 0);

  const NIC = 0x020000;
  const [SCSI, IDE, NVME, SOUND] = [0x010000, 0x010180, 0x010802, 0x040100];
  const taken = (value: number) => {
    asked.length = 0;
    ports.write(0x10, 2, value, cpu);
    return [NIC, SCSI, IDE, NVME, SOUND].filter(code => asked.some(matches => matches(code)));
  };
  assert.deepEqual(taken(0), []);
  assert.deepEqual(taken(1), [SCSI, IDE]);
  assert.deepEqual(taken(2), [NIC]);
  assert.deepEqual(taken(4), []);
  assert.deepEqual(taken(8), [NVME]);
  assert.deepEqual(taken(3), [NIC, SCSI, IDE]);

  const [card] = table.boot.cards!;
  assert.deepEqual([card!.identity.vendor, card!.identity.device], [0x5853, 1]);
  assert.ok(card!.memory! >= 64 * 4096, 'room for the grant table');
  ports.write(0x10, 1, 0xff, cpu);
  assert.equal(ports.read(0x10, 1, cpu), 1);
  assert.equal(card!.ports!.handler.read(0, 1, cpu), 1);
});

test('what the driver has to say goes to the log, for as long as that is not much', () => {
  const { cpu, context } = makeGuest();
  const say = (text: string) => {
    for (const letter of Buffer.from(text)) context.ports.write(0x12, 1, letter, cpu);
  };
  say('hello\n');
  for (let line = 0; line < 1000; line++) say(`${line}\n`);
  say('x'.repeat(10_000));
  const lines = context.log.lines.filter(line => line.includes('Xen platform device'));
  assert.match(lines[0]!, /: hello$/);
  assert.equal(lines.length, 64);
});

test('the guest is a PC whose firmware knows nothing of Xen’s pages, and is not entered as a PVH guest', async () => {
  const { cpu, context, table } = makeGuest();
  const { load, firmwareRam, platform, console } = table.boot;
  assert.ok(typeof load === 'function');
  assert.deepEqual([platform, console], ['pc', 'ttyS0']);
  assert.equal(firmwareRam!(context.memory).size, RAM - MIB);
  let without: readonly string[] | undefined;
  const { memory, log } = context;
  const natively = (entries?: readonly string[]) => {
    without = entries;
    return noFirmware();
  };
  load({ image: await kernel, initrd: undefined, commandLine: '', memory, log, natively }, context);
  assert.deepEqual(without, ['pvh']);

  // HVM_PARAM_STORE_PFN and HVM_PARAM_CONSOLE_PFN lie behind that.
  const { hypercall } = table.cpu;
  assert.ok(typeof hypercall === 'function');
  for (const index of [1, 17]) {
    memory.fill(0x2000, 16);
    memory.write16(0x2000, 0x7ff0);
    memory.write32(0x2004, index);
    for (const [name, value] of [
      ['rax', 34n],
      ['rdi', 1n],
      ['rsi', 0x2000n],
    ] as const)
      cpu.set(name, value);
    hypercall(cpu);
    assert.equal(cpu.get('rax'), 0n);
    const address = Number(memory.read64(0x2008)) * 4096;
    assert.ok(address >= RAM - MIB && address < RAM, address.toString(16));
  }
});

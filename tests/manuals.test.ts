/** Lists of checks written from the processors' manuals alone (guests/manuals), each a kernel, in both tiers. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { tinyKernel } from '../src/conformance/tiny-elf.ts';
import type { Disk } from '../src/host/disk.ts';
import { createMachine } from '../src/index.ts';
import { linked } from './assembled.ts';

const EXIT_PORT = 0x501;
/** Where a BIOS loads a disk's first sector. */
const BOOT_SECTOR = 0x7c00;

/** Where a PV guest sees the code that tinyKernel puts at its physical address. */
const PV_ADDRESS = 0xffffffff80100000;

/** A disk of 1 MiB that begins with `code`. */
function bootDisk(code: Uint8Array): Disk {
  const bytes = new Uint8Array(1 << 20);
  bytes.set(code);
  return {
    name: 'boot',
    size: bytes.length,
    readOnly: true,
    read: (offset, into) => into.set(bytes.subarray(offset, offset + into.length)),
    write: () => assert.fail('nobody writes'),
    flush() {},
    discard() {},
    close() {},
  };
}

/** Of each list: how many checks one round has, and how many tens of rounds make it hot (0: one round). */
const LISTS = [
  { name: 'exceptions', checks: 473, tens: 30, cpus: 1 },
  { name: 'paging', checks: 156, tens: 50, cpus: 1 },
  { name: 'segments', checks: 266, tens: 0, cpus: 1 },
  { name: 'apic', checks: 72, tens: 0, cpus: 1 },
  { name: 'icr', checks: 53, tens: 0, cpus: 2 },
  { name: 'tasks', checks: 652, tens: 3, cpus: 1 },
  { name: 'virtual-8086', checks: 756, tens: 10, cpus: 1 },
  { name: 'debugging', checks: 757, tens: 3, cpus: 1 },
  { name: 'real-mode', checks: 288, tens: 0, cpus: 1 },
] as const;

for (const engine of ['interpreter', 'jit'] as const)
  test(`xen-pv-abi (${engine})`, async () => {
    let text = '';
    const machine = await createMachine({
      kernel: tinyKernel([...linked('manuals/xen-pv-abi', PV_ADDRESS)]),
      memory: 64 << 20,
      engine,
      hypervisor: 'xen-pv',
      console: { write: data => void (text += new TextDecoder().decode(data)), onInput() {} },
    });
    const exit = await machine.run({ instructions: 100_000_000 });
    assert.equal(text, 'ok 289\n');
    assert.equal(exit.kind, 'power-off');
  });

for (const { name, checks, tens, cpus } of LISTS)
  for (const engine of ['interpreter', 'jit'] as const)
    test(`${name} (${engine})`, async () => {
      let text = '';
      const rounds = engine === 'jit' ? tens : 0;
      const machine = await createMachine({
        ...(name === 'real-mode'
          ? { disks: [bootDisk(linked(`manuals/${name}`, BOOT_SECTOR))] }
          : { kernel: tinyKernel([...linked(`manuals/${name}`)]) }),
        memory: 64 << 20,
        engine,
        cpus,
        console: { write: data => void (text += new TextDecoder().decode(data)), onInput() {} },
        devices: slot => {
          slot.ports('exit port', EXIT_PORT, 1, {
            read: () => rounds,
            write: (_offset, _width, value) => slot.request('power-off', value),
          });
          return [];
        },
      });
      const exit = await machine.run({ instructions: 400_000_000 });
      assert.deepEqual(text.match(/(FAIL|failed|ok ).*/g), [`ok ${checks * Math.max(1, rounds * 10)}`]);
      assert.deepEqual(exit, { kind: 'power-off', status: 0 });
      const { regions = 0 } = machine.statistics.translation ?? {};
      if (rounds > 0) assert.ok(regions > 0, 'nothing became hot: the test shows nothing');
    });

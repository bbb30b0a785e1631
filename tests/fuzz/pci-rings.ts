/**
 * Devices on the PCI bus that take their work from rings in the guest's memory, with a hostile driver: rings as a driver makes them,
 * with a field or two changed, and registers written to at any time. Whatever happens, nothing is thrown, nobody is killed, nothing
 * is written but RAM, no disk is asked for what it must not be; and the device serves a driver that resets it.
 */
import type { Device } from '../../src/devices/device.ts';
import type { PciFunction } from '../../src/devices/pci.ts';
import { testSlot } from '../../src/devices/test-slot.ts';
import { e1000Driver } from './e1000-driver.ts';
import type { StrictDisk } from './fake-machine.ts';
import { caseFuzzer, type Fuzzer, type Random } from './fuzzer.ts';
import { nvmeDriver } from './nvme-driver.ts';
import { pvscsiDriver } from './pvscsi-driver.ts';
import { vmxnet3Driver } from './vmxnet3-driver.ts';

export const PAGE = 4096;
export const RAM = 256 * PAGE;
const STEPS = 200;

export type TestMachine = ReturnType<typeof testSlot>;

/** A driver of one kind of device, all of whose moves are made from numbers. */
export interface RingDriver {
  readonly device: Device & { readonly function: PciFunction };
  readonly disk?: StrictDisk;
  /** Registers that a driver writes to. */
  readonly registers: readonly number[];
  /** Resets the device and begins anew. */
  start(numbers: readonly number[]): void;
  /** Asks for something that makes sense but for what the numbers say. */
  ask(numbers: readonly number[]): void;
  /** Where rings are, for stores anywhere in them. */
  readonly rings: readonly number[];
  /** After a start: true if the device does what is asked of it. */
  works(): boolean;
}

const DRIVERS: Readonly<Record<string, (machine: TestMachine) => RingDriver>> = {
  e1000: e1000Driver,
  nvme: nvmeDriver,
  pvscsi: pvscsiDriver,
  vmxnet3: vmxnet3Driver,
};

/** Numbers that are at the edge of something. */
export const EDGES = [
  ...[0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 63, 64, 127, 128, 255, 256, 511, 512, 1514, 4095, 4096, 0x7fff, 0xffff],
  ...[RAM - 1, RAM, 0x7fffffff, 0x80000000, 0xfffff000, 0xffffffff],
];

interface Input {
  kind: string;
  steps: readonly (readonly number[])[];
}

function makeStep(random: Random): number[] {
  return Array.from({ length: 12 }, () => (random.below(3) === 0 ? random.of(EDGES) : random.below(65536)));
}

function judge({ kind, steps }: Input): string | undefined {
  const machine = testSlot(RAM);
  const driver = DRIVERS[kind](machine);
  const { memory } = machine;
  let wrong: string | undefined;
  memory.onWrite = (address, length) => {
    if (!memory.has(address, length)) wrong ??= `writes ${length} bytes to 0x${address.toString(16)}`;
  };
  driver.start([]);
  for (const numbers of steps) {
    const [what, a, b] = numbers;
    if (what % 23 === 0) driver.start(numbers.slice(1));
    else if (what % 7 === 0) machine.write(driver.registers[a % driver.registers.length], b);
    else if (what % 5 === 0) memory.write32(driver.rings[a % driver.rings.length] + (numbers[2] & 0xffc), numbers[3]);
    else if (what % 29 === 0) machine.write(4 * (a % 0x10000), b);
    else driver.ask(numbers.slice(1));
    machine.clock.advance(numbers[11] * 1000);
    wrong ??= driver.disk?.violation ?? machine.kills[0];
    if (wrong !== undefined) return wrong;
  }
  machine.states.save();
  driver.start([]);
  return driver.works() ? undefined : 'does not serve a driver that has reset it';
}

export const pciRings: Fuzzer = caseFuzzer<Input>({
  name: 'pci-rings',
  description: `${Object.keys(DRIVERS).join(', ')} with a hostile driver; ${STEPS} steps a case`,
  make: random => ({
    kind: random.of(Object.keys(DRIVERS)),
    steps: Array.from({ length: STEPS }, () => makeStep(random)),
  }),
  judge,
  *smaller({ kind, steps }) {
    for (let size = steps.length >> 1; size >= 1; size >>= 1)
      for (let at = 0; at + size <= steps.length; at += size)
        yield { kind, steps: [...steps.slice(0, at), ...steps.slice(at + size)] };
  },
  show: ({ kind, steps }) => `${kind}\n${steps.map(step => step.join(' ')).join('\n')}`,
});

/**
 * A hypervisor's whole machine on a processor without an engine: board, buses, registers, hypercalls, as machine/parts.ts connects
 * them. What the guest asks is a method each.
 */

import { parseKernel } from '../../src/boot/image.ts';
import { type FakeContext, FakeProcessor, fakeContext, noFirmware } from '../../src/conformance/fake-processor.ts';
import { tinyKernel } from '../../src/conformance/tiny-elf.ts';
import { type Board, createPcBoard } from '../../src/devices/board.ts';
import { createLocalApicBoard } from '../../src/devices/local-apic-board.ts';
import type { Disk } from '../../src/host/disk.ts';
import { Bus, type BusHandler } from '../../src/memory/bus.ts';
import type { HypervisorModule, Paravirt } from '../../src/paravirt/operations.ts';
import type { RegisterName, SegmentName } from '../../src/paravirt/processor.ts';

const MEMORY = 16 << 20;
const PHYSICAL_ADDRESS_BITS = 40;
const kernel = parseKernel(tinyKernel([0xf4, 0xeb, 0xfd]));

/** Refuses, and remembers, what a disk's contract forbids to ask of it: a device may make an error for the guest of a refusal. */
export class StrictDisk implements Disk {
  readonly name = 'strict';
  readonly bytes: Uint8Array;
  readonly readOnly: boolean;
  violation: string | undefined;

  constructor(sectors: number, readOnly = false) {
    this.bytes = new Uint8Array(sectors * 512);
    this.readOnly = readOnly;
  }
  get size(): number {
    return this.bytes.length;
  }
  #refuse(violation: string): never {
    this.violation ??= violation;
    throw new TypeError(violation);
  }
  #check(offset: number, length: number): void {
    if (!Number.isInteger(offset) || offset < 0 || !(length >= 0) || offset + length > this.size)
      this.#refuse(`the disk is asked for ${length} bytes at ${offset} of ${this.size}`);
  }
  #checkWrite(offset: number, length: number): void {
    this.#check(offset, length);
    if (this.readOnly) this.#refuse('a disk that is read only is written to');
  }
  read(offset: number, into: Uint8Array): void {
    this.#check(offset, into.length);
    into.set(this.bytes.subarray(offset, offset + into.length));
  }
  write(offset: number, from: Uint8Array): void {
    this.#checkWrite(offset, from.length);
    this.bytes.set(from, offset);
  }
  flush(): void {}
  discard(offset: number, length: number): void {
    this.#checkWrite(offset, length);
    this.bytes.fill(0, offset, offset + length);
  }
  close(): void {}
}

/** Remembers who has claimed what. */
class SeenBus extends Bus {
  readonly claimed: { start: number; size: number }[] = [];
  override map(name: string, start: number, size: number, handler: BusHandler): () => void {
    this.claimed.push({ start, size });
    return super.map(name, start, size, handler);
  }
}

export interface FakeMachine {
  cpu: FakeProcessor;
  table: Paravirt;
  board: Board | undefined;
  context: FakeContext & { ports: SeenBus; mmio: SeenBus };
  disks: readonly StrictDisk[];
  /** Why the guest is not run any more. */
  ended(): boolean;
  /** What everybody knows is saved and restored. */
  saveAndRestore(): string | undefined;
}

export async function fakeMachine(module: HypervisorModule): Promise<FakeMachine> {
  const cpu = new FakeProcessor({ memory: MEMORY });
  const disks = [new StrictDisk(2048), new StrictDisk(1024, true)];
  const context = {
    ...fakeContext(cpu),
    ports: new SeenBus('port', cpu.log),
    mmio: new SeenBus('mmio', cpu.log),
    backEnds: { disks, networks: [], folders: [] },
    edge: (gsi: number) => board?.edge(gsi),
  };
  let board: Board | undefined;
  const table = module.make(context);
  const common = {
    ports: context.ports,
    mmio: context.mmio,
    clock: cpu.clock,
    states: cpu.states,
    memory: cpu.memory,
    log: cpu.log,
    tscs: [cpu.tsc],
    physicalAddressBits: PHYSICAL_ADDRESS_BITS,
    kill: context.kill,
    request: context.request as (what: 'power-off' | 'reset') => void,
  };
  if (table.boot.platform === 'pc')
    board = createPcBoard({ ...common, console: context.console, backEnds: context.backEnds, random: () => 1n });
  else if (table.boot.platform === 'local-apic') board = createLocalApicBoard(common);
  const { load } = table.boot;
  if (typeof load === 'function') {
    const { memory, log } = cpu;
    const entry = load(
      { image: await kernel, initrd: undefined, natively: noFirmware, commandLine: '', memory, log },
      context,
    );
    for (const [name, value] of Object.entries(entry.registers)) cpu.set(name as RegisterName, value);
    for (const [name, value] of Object.entries(entry.segments)) cpu.setSegment(name as SegmentName, value);
  }
  return {
    cpu,
    table,
    board,
    context,
    disks,
    ended: () => cpu.kills.length + cpu.requests.length > 0,
    saveAndRestore() {
      const before = cpu.states.save();
      board?.restoring();
      table.restoring?.();
      cpu.states.restore(before);
      cpu.clock.restored();
      board?.restored();
      table.restored?.();
      const after = cpu.states.save();
      for (const [name, { value }] of Object.entries(before))
        if (show(value) !== show(after[name]!.value))
          return `state ${name} is ${show(after[name]!.value)} after it was restored, and was ${show(value)}`;
      return undefined;
    },
  };
}

const show = (value: unknown): string =>
  JSON.stringify(value, (_, member: unknown) => {
    if (typeof member === 'bigint') return `${member}n`;
    if (member instanceof Map || member instanceof Set) return [...member];
    if (ArrayBuffer.isView(member)) return [...(member as Uint8Array)];
    return member;
  });

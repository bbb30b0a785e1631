/** For tests: a place on a bus without a board. Registers and messages are there; the interrupt line remembers what happened to it. */
import { FakeProcessor } from '../conformance/fake-processor.ts';
import { createLog } from '../host/log.ts';
import { Bus, type Width } from '../memory/bus.ts';
import { GuestMemory } from '../memory/memory.ts';
import { StateStore } from '../state/state.ts';
import type { Slot } from './device.ts';
import { ManualClock, RecordingLine } from './manual-clock.ts';
import { PCI_MEMORY, PCI_PORTS } from './pc-layout.ts';
import type { PciFunction, PciPlace } from './pci.ts';

/** @param ram in bytes */
export function testSlot(ram: number) {
  const cpu = new FakeProcessor();
  const log = createLog();
  const states = new StateStore();
  const clock = new ManualClock(0n, states);
  const memory = new GuestMemory(new ArrayBuffer(ram), 0, ram);
  const [ports, mmio] = [new Bus('port', log), new Bus('mmio', log)];
  const line = new RecordingLine();
  const messages: number[] = [];
  const kills: string[] = [];
  const slot: Slot = {
    state: (name, version, initial) => states.state(name, version, initial),
    ports: (name, start, size, handler) => ports.map(name, start, size, handler),
    mmio: (name, start, size, handler) => mmio.map(name, start, size, handler),
    line: () => line,
    message: (_address, data) => void messages.push(data),
    kill: reason => void kills.push(reason),
    request: () => {},
    ...{ clock, memory, log },
  };
  const place: PciPlace = { address: PCI_MEMORY.start, port: PCI_PORTS, wiring: { line, lineNumber: 11 } };
  return {
    ...{ slot, place, states, clock, memory, log, line, messages, kills },
    /** Registers, by their distance from the first BAR. */
    read: (offset: number, width: Width = 4) => mmio.read(PCI_MEMORY.start + offset, width, cpu),
    write: (offset: number, value: number, width: Width = 4) =>
      mmio.write(PCI_MEMORY.start + offset, width, value, cpu),
    readPort: (offset: number, width: Width = 4) => ports.read(PCI_PORTS + offset, width, cpu),
    writePort: (offset: number, value: number, width: Width = 4) => ports.write(PCI_PORTS + offset, width, value, cpu),
    /** Switches MSI-X on, whose table is at `table`: message n is sent as the number 100 + n. */
    enableMessages(device: { readonly function: PciFunction }, table: number, vectors: number): void {
      for (let vector = 0; vector < vectors; vector++)
        for (const [word, value] of [0xfee00000, 0, 100 + vector, 0].entries())
          mmio.write(PCI_MEMORY.start + table + 16 * vector + 4 * word, 4, value, cpu);
      let at = device.function.readConfig(0x34, 1);
      while (at !== 0 && device.function.readConfig(at, 1) !== 0x11) at = device.function.readConfig(at + 1, 1);
      device.function.writeConfig(at + 2, 2, 0x8000);
    },
  };
}

/**
 * The contract of a device. A device knows offsets, not addresses: the board (board.ts) says where it sits and which
 * line it pulls. It never sees the processor or the engine, only what a chip's pins see.
 */

import type { Clock } from '../host/clock.ts';
import type { Log } from '../host/log.ts';
import type { BusHandler } from '../memory/bus.ts';
import type { GuestMemory } from '../memory/memory.ts';
import type { States } from '../state/state.ts';

export interface Device {
  readonly name: string;
  /** Back to the state after power-on. */
  reset(): void;
  /** The states of all devices are about to be replaced: gives back what follows from them (where BARs are mapped). */
  restoring?(): void;
  /** The states of all devices have been replaced: derives anew what `restoring` gave back. */
  restored?(): void;
  /** The host wants the guest to make do with so many bytes of RAM. @returns false if this device cannot ask it to */
  requestMemory?(bytes: number): boolean;
}

/** One interrupt wire. A level: a device that wants an edge lowers and raises it. */
export interface InterruptLine {
  set(high: boolean): void;
}

/** What the board gives a device to stand on. A device names its states and timers after itself. */
export interface Slot extends States {
  /** Claims I/O ports; returns the function that gives them back. */
  ports(name: string, start: number, size: number, handler: BusHandler): () => void;
  /** Claims memory-mapped registers. */
  mmio(name: string, start: number, size: number, handler: BusHandler): () => void;
  /** The global system interrupt `gsi` (0-15 are the ISA lines, wired to the 8259s and the I/O APIC alike). */
  line(gsi: number): InterruptLine;
  /** A message-signalled interrupt: a write of `data` to `address` in the local APICs' window (SDM 3A 11.11). */
  message(address: number, data: number): void;
  readonly clock: Clock;
  /** Guest RAM, for devices that master the bus. All addresses a guest hands over are hostile: check with `has`. */
  readonly memory: GuestMemory;
  readonly log: Log;
  /** The guest did what ends its life: `machine.kill`. The first reason wins. */
  kill(reason: string): void;
  /** The guest asked for power-off or reset, or wrote an exit status to a port of the embedder's. */
  request(what: 'power-off' | 'reset', status?: number): void;
}

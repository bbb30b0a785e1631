/**
 * The BIOS: services of a PC's firmware for code in real mode, such as the set-up code of Linux's boot protocol. The ROM that
 * image.ts writes traps to here; which services there are is the table of `createBios`. Function numbers are those of Ralf
 * Brown's Interrupt List. What is asked for and not there fails as on a BIOS that does not know it.
 */
import type { Clock } from '../../host/clock.ts';
import type { Console } from '../../host/console.ts';
import type { Log } from '../../host/log.ts';
import type { BusHandler } from '../../memory/bus.ts';
import type { GuestMemory } from '../../memory/memory.ts';
import type { Processor } from '../../paravirt/processor.ts';
import type { MemoryRange } from '../e820.ts';
import { BiosCall } from './call.ts';
import { createKeyboard, video } from './console.ts';
import { BDA, ROM_SEGMENT } from './image.ts';
import { memoryServices } from './memory-services.ts';
import { clockServices, createWait } from './time-services.ts';

/** Answers a call. True: it is not over, and the service is to be asked again. */
export type Service = (call: BiosCall) => unknown;
/** Services of one vector by function number, in AH. */
export type Functions = Readonly<Record<number, Service>>;

export interface BiosOptions {
  processor: Processor;
  memory: GuestMemory;
  memoryMap: readonly MemoryRange[];
  clock: Clock;
  console: Console;
  log: Log;
  request(what: 'reset'): void;
}

/** AH of INT 13h and INT 15h for a function that is not there. */
const DISK_BAD_COMMAND = 0x01;
const UNSUPPORTED_FUNCTION = 0x86;
const WAIT = 0x86;
const PCI_BIOS = 0xb1;
const PCI_UNSUPPORTED = 0x81;
/** INT 14h and 17h: nobody answered. */
const SERIAL_TIME_OUT = 0x80;
const PRINTER_TIME_OUT = 0x01;

/** What answers at TRAP_PORT. */
export function createBios({ processor, memory, memoryMap, clock, console, log, request }: BiosOptions): BusHandler {
  const refuse = (status: number) => (call: BiosCall) => {
    call.ah = status;
    call.carry = true;
  };
  const byFunction =
    (functions: Functions, otherwise: Service): Service =>
    call =>
      (functions[call.ah] ?? otherwise)(call);
  const ignored: Service = () => {};

  const vectors: Readonly<Record<number, Service>> = {
    16: byFunction(video(console), ignored),
    17: call => void (call.ax = memory.read16(BDA.equipment)),
    18: call => void (call.ax = memory.read16(BDA.baseMemory)),
    19: refuse(DISK_BAD_COMMAND),
    20: call => void (call.ah = SERIAL_TIME_OUT),
    21: byFunction({ ...memoryServices(memory, memoryMap), [WAIT]: createWait(clock) }, refuse(UNSUPPORTED_FUNCTION)),
    22: byFunction(createKeyboard(console), ignored),
    23: call => void (call.ah = PRINTER_TIME_OUT),
    24: () => request('reset'),
    25: () => request('reset'),
    26: byFunction({ ...clockServices(clock), [PCI_BIOS]: refuse(PCI_UNSUPPORTED) }, call => void (call.carry = true)),
  };

  return {
    read: () => 0xff,
    write() {
      // Anybody may write to a port: only the ROM's code, in real or virtual-8086 mode, means a call.
      const code = processor.segment('cs');
      if (processor.mode !== 16 || code.base !== BigInt(ROM_SEGMENT << 4)) return;
      const call = new BiosCall(processor);
      const { vector } = call;
      if (vector === undefined) return;
      const service = vectors[vector];
      if (!service) log.once(`bios-${vector}`, `interrupt ${vector.toString(16)}h in real mode: no BIOS service`);
      call.again(service?.(call) === true);
    },
  };
}

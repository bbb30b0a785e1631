/**
 * The BIOS: services of a PC's firmware for code in real mode, such as the set-up code of Linux's boot protocol. The ROM that
 * image.ts writes traps to here; which services there are is the table of `createBios`. Function numbers are those of Ralf
 * Brown's Interrupt List. What is asked for and not there fails as on a BIOS that does not know it.
 */
import type { Clock } from '../../host/clock.ts';
import type { Console } from '../../host/console.ts';
import type { Log } from '../../host/log.ts';
import type { Bus, BusHandler } from '../../memory/bus.ts';
import type { GuestMemory } from '../../memory/memory.ts';
import { type States, scoped } from '../../state/state.ts';
import * as vectors from '../../x86/vectors.ts';
import type { MemoryRange } from '../e820.ts';
import { loadBootCode } from './boot-sector.ts';
import { BiosCall } from './call.ts';
import { diskServices } from './disk-services.ts';
import { createDisplay } from './display.ts';
import type { Drive } from './drives.ts';
import { BDA, ROM_SEGMENT, TIMER } from './image.ts';
import { endDeviceInterrupt, faultOf } from './interrupts.ts';
import { createKeyboard } from './keyboard.ts';
import { memoryServices } from './memory-services.ts';
import { clockServices, createWait, tick } from './time-services.ts';

/** Answers a call. True: it is not over, and the service is to be asked again. */
export type Service = (call: BiosCall) => unknown;
/** Services of one vector by function number, in AH. */
export type Functions = Readonly<Record<number, Service>>;

export interface BiosOptions {
  memory: GuestMemory;
  memoryMap: readonly MemoryRange[];
  drives: readonly Drive[];
  clock: Clock;
  console: Console;
  ports: Bus;
  states: States;
  log: Log;
  kill(reason: string): void;
  request(what: 'reset'): void;
}

/** AH of INT 15h for a function that is not there. */
const UNSUPPORTED_FUNCTION = 0x86;
const WAIT = 0x86;
const PCI_BIOS = 0xb1;
const PCI_UNSUPPORTED = 0x81;
/** INT 14h and 17h: nobody answered. */
const SERIAL_TIME_OUT = 0x80;
const PRINTER_TIME_OUT = 0x01;
/** Debug exceptions, which return, and INT 1Ch and 4Ah, which are there to be taken over. */
const SILENT: readonly number[] = [vectors.DB, vectors.NMI, vectors.BP, vectors.OF, vectors.BR, 0x1c, 0x4a];

/** What answers at TRAP_PORT. */
export function createBios(options: BiosOptions): BusHandler {
  const { ports, log, kill } = options;
  const services = servicesOf(options);
  return {
    read: () => 0xff,
    write(_offset, _width, _value, from) {
      // Anybody may write to a port: only the ROM's code, in real or virtual-8086 mode, means a call.
      const code = from.segment('cs');
      if (from.mode !== 16 || code.base !== BigInt(ROM_SEGMENT << 4)) return;
      const call = new BiosCall(from);
      const { vector } = call;
      if (vector === undefined) return;
      if (vector === TIMER) {
        tick(options.memory);
        endDeviceInterrupt(ports, vector, from);
        return call.again(false);
      }
      const isDevice = endDeviceInterrupt(ports, vector, from);
      const fault = isDevice ? undefined : faultOf(call, vector);
      const service = services[vector];
      const number = `${vector.toString(16)}h`;
      if (fault) {
        const { cs, ip } = call.frame;
        kill(`${fault} at ${hex(cs)}:${hex(ip)} in real mode, without a handler for vector ${number}`);
      } else if (isDevice) log.once(`bios-irq-${vector}`, `interrupt of a device at vector ${number}: no handler`);
      else if (!service) log.once(`bios-${vector}`, `interrupt ${number} in real mode: no BIOS service`);
      call.again(!isDevice && !fault && service?.(call) === true);
    },
  };
}

const hex = (value: number) => value.toString(16).padStart(4, '0');

/** The services by vector. */
function servicesOf(options: BiosOptions): Readonly<Record<number, Service>> {
  const { memory, memoryMap, drives, clock, console, kill, request } = options;
  const states = scoped(options.states, 'bios');
  const refuse = (status: number) => (call: BiosCall) => {
    call.ah = status;
    call.carry = true;
  };
  const byFunction =
    (functions: Functions, otherwise: Service): Service =>
    call =>
      (functions[call.ah] ?? otherwise)(call);
  const ignored: Service = () => {};

  return {
    ...Object.fromEntries(SILENT.map(vector => [vector, ignored])),
    16: byFunction(createDisplay(console, memory, states), ignored),
    17: call => void (call.ax = memory.read16(BDA.equipment)),
    18: call => void (call.ax = memory.read16(BDA.baseMemory)),
    19: diskServices(memory, drives),
    20: call => void (call.ah = SERIAL_TIME_OUT),
    21: byFunction(
      { ...memoryServices(memory, memoryMap), [WAIT]: createWait(clock, states) },
      refuse(UNSUPPORTED_FUNCTION),
    ),
    22: byFunction(createKeyboard(console, states), ignored),
    23: call => void (call.ah = PRINTER_TIME_OUT),
    24: () => kill('INT 18h: the boot loader found nothing to boot'),
    25: call => {
      const code = loadBootCode(memory, drives);
      if (!code) return request('reset');
      call.dl = code.drive;
      call.frame = code;
    },
    26: byFunction({ ...clockServices(clock), [PCI_BIOS]: refuse(PCI_UNSUPPORTED) }, call => void (call.carry = true)),
  };
}

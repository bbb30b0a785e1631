/**
 * The synthetic interrupt controller (TLFS chapter 11): sixteen sources (SINTs) a processor, each with a slot for one
 * message in a page of the guest's, and an interrupt vector. A message that finds its slot taken waits for the guest to
 * empty it.
 */
import type { HypervisorContext, Msr } from '../../paravirt/operations.ts';
import { perProcessor } from '../../paravirt/per-processor.ts';
import type { Processor } from '../../paravirt/processor.ts';
import { PAGE_SIZE } from '../../x86/paging.ts';
import { FLAGS, HVMSG_NONE, MESSAGE_PENDING, MESSAGE_SIZE, type Message, slotOf } from './messages.ts';
import { isUsable, pageOf } from './pages.ts';
import { referenceTime } from './reference-time.ts';

const HV_X64_MSR_SCONTROL = 0x40000080;
const HV_X64_MSR_SVERSION = 0x40000081;
const HV_X64_MSR_SIEFP = 0x40000082;
const HV_X64_MSR_SIMP = 0x40000083;
const HV_X64_MSR_EOM = 0x40000084;
const HV_X64_MSR_SINT0 = 0x40000090;

export const SINTS = 16;
const SYNIC_VERSION = 1n;

/** A SINT register: the vector in bits 0-7, and these. */
const SINT_MASKED = 1n << 16n;
const SINT_AUTO_EOI = 1n << 17n;
const SINT_POLLING = 1n << 18n;
const FIRST_VECTOR = 16;

/** A SINT's event flags, in bytes: 2048 flags. */
const EVENT_FLAGS_SIZE = 256;

/** The most messages that wait for one slot, so that a guest that does not read cannot make us keep more. */
const LONGEST_QUEUE = 64;

export interface Synic {
  readonly msrs: Readonly<Record<number, Msr>>;
  /** Sends a message, now or when its slot is empty. @returns false if too many wait already. */
  post(cpu: Processor, sint: number, message: Message): boolean;
  /** How many more messages may wait for a slot. */
  room(cpu: Processor, sint: number): number;
  /** Sets an event flag of a SINT, and raises its interrupt unless the flag was set already (TLFS 11.10). */
  signal(cpu: Processor, sint: number, flag: number): void;
  /** True if a message of `timer` still waits for its slot. */
  waits(cpu: Processor, sint: number, timer: number): boolean;
  /** True if interrupts of this vector need no end. */
  endsItself(cpu: Processor, vector: number): boolean;
}

export function createSynic(context: HypervisorContext): Synic {
  const { memory, clock } = context;
  const states = perProcessor(context, 'hyperv/synic', 1, () => ({
    control: 0n,
    messagePage: 0n,
    eventPage: 0n,
    sints: new BigUint64Array(SINTS).fill(SINT_MASKED),
    /** By SINT: messages that have not found their slot empty yet. */
    queues: Array.from({ length: SINTS }, (): Message[] => []),
  }));

  const interrupt = (cpu: Processor, sint: number): void => {
    const register = states[cpu.id].sints[sint];
    const vector = Number(register & 0xffn);
    if (!(register & (SINT_MASKED | SINT_POLLING)) && vector >= FIRST_VECTOR) cpu.interrupts?.request(vector);
  };

  /** The event flags of a SINT, where they are switched on. */
  const flagsOf = (cpu: Processor, sint: number): number | undefined => {
    const { control, eventPage } = states[cpu.id];
    const page = control & 1n ? pageOf(eventPage) : undefined;
    return page === undefined ? undefined : page + sint * EVENT_FLAGS_SIZE;
  };

  /** An interrupt for flags that were set while the SINT was masked. */
  const remind = (cpu: Processor, sint: number): void => {
    const flags = flagsOf(cpu, sint);
    if (flags === undefined) return;
    if (memory.bytes.subarray(flags, flags + EVENT_FLAGS_SIZE).some(byte => byte !== 0)) interrupt(cpu, sint);
  };

  /** Puts the oldest message into the slot if that is empty; else the guest will tell when it is. */
  const deliver = (cpu: Processor, sint: number): void => {
    const { control, messagePage, queues } = states[cpu.id];
    const page = pageOf(messagePage);
    const message = queues[sint][0];
    if (!(control & 1n) || page === undefined || !message) return;
    const slot = page + sint * MESSAGE_SIZE;
    if (memory.read32(slot) !== HVMSG_NONE) {
      memory.write8(slot + FLAGS, memory.read8(slot + FLAGS) | MESSAGE_PENDING);
      return;
    }
    queues[sint].shift();
    memory.copyIn(slot, slotOf(message, referenceTime(clock), queues[sint].length > 0));
    memory.write32(slot, message.type);
    interrupt(cpu, sint);
  };
  const deliverAll = (cpu: Processor): void => {
    for (let sint = 0; sint < SINTS; sint++) deliver(cpu, sint);
  };

  /** A register with a page of its own, which is empty when it appears. */
  const pageRegister = (name: string, member: 'messagePage' | 'eventPage'): Msr => ({
    name,
    read: cpu => states[cpu.id][member],
    write(cpu, value) {
      if (!isUsable(memory, value)) return false;
      const state = states[cpu.id];
      const before = pageOf(state[member]);
      const page = pageOf(value);
      state[member] = value;
      if (page !== undefined && page !== before) memory.fill(page, PAGE_SIZE);
      deliverAll(cpu);
      return true;
    },
  });

  const sintRegister = (sint: number): Msr => ({
    name: `HV_X64_MSR_SINT${sint}`,
    read: cpu => states[cpu.id].sints[sint],
    write(cpu, value) {
      if (!(value & SINT_MASKED) && Number(value & 0xffn) < FIRST_VECTOR) return false;
      states[cpu.id].sints[sint] = value;
      deliver(cpu, sint);
      remind(cpu, sint);
      return true;
    },
  });

  const msrs: Record<number, Msr> = {
    [HV_X64_MSR_SCONTROL]: {
      name: 'HV_X64_MSR_SCONTROL',
      read: cpu => states[cpu.id].control,
      write(cpu, value) {
        states[cpu.id].control = value;
        deliverAll(cpu);
        return true;
      },
    },
    [HV_X64_MSR_SVERSION]: { name: 'HV_X64_MSR_SVERSION', read: () => SYNIC_VERSION },
    [HV_X64_MSR_SIEFP]: pageRegister('HV_X64_MSR_SIEFP', 'eventPage'),
    [HV_X64_MSR_SIMP]: pageRegister('HV_X64_MSR_SIMP', 'messagePage'),
    [HV_X64_MSR_EOM]: {
      name: 'HV_X64_MSR_EOM',
      read: () => 0n,
      write(cpu) {
        deliverAll(cpu);
        return true;
      },
    },
    ...Object.fromEntries(
      Array.from({ length: SINTS }, (_, sint) => [HV_X64_MSR_SINT0 + sint, sintRegister(sint)] as const),
    ),
  };

  return {
    msrs,
    post(cpu, sint, message) {
      const queue = states[cpu.id].queues[sint];
      if (queue.length >= LONGEST_QUEUE) return false;
      queue.push(message);
      deliver(cpu, sint);
      return true;
    },
    room: (cpu, sint) => LONGEST_QUEUE - states[cpu.id].queues[sint].length,
    signal(cpu, sint, flag) {
      const flags = flagsOf(cpu, sint);
      if (flags === undefined) return;
      const address = flags + (flag >> 3);
      const [before, bit] = [memory.read8(address), 1 << (flag & 7)];
      if (before & bit) return;
      memory.write8(address, before | bit);
      interrupt(cpu, sint);
    },
    waits: (cpu, sint, timer) => states[cpu.id].queues[sint].some(message => message.timer === timer),
    endsItself: (cpu, vector) =>
      states[cpu.id].sints.some(
        sint => Number(sint & 0xffn) === vector && (sint & (SINT_AUTO_EOI | SINT_MASKED)) === SINT_AUTO_EOI,
      ),
  };
}

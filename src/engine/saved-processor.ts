/**
 * A processor as data: the architecture's fields (x86/fields.ts), and what its loop keeps. All else in the state is derived
 * from these, is the engine's own, or means nothing between two instructions.
 */
import { checkedCopy, type Data } from '../state/state.ts';
import type { Vcpu } from './vcpu.ts';
import { updateWatching } from './x86/control.ts';
import { ELEMENTS, readElement, writeElement } from './x86/registers.ts';

const KEPT = ELEMENTS.filter(({ role }) => role === 'architecture');

/** What a processor's loop keeps besides the fields of its state. */
export interface LoopState {
  halted: boolean;
  /** Something may be delivered before the next instruction. */
  boundary: boolean;
  /** ATTENTION: something may be pending. */
  attention: boolean;
  /** It has given the rest of its turn away. */
  paused: boolean;
  /** Instructions. */
  executed: number;
  /** Faults in a row that a hypervisor has dealt with, and the instructions executed before them. */
  handled: number;
  handledAt: number;
}

interface SavedProcessor {
  readonly [name: string]: Data;
  /** By the elements' names. */
  registers: ReadonlyMap<string, bigint>;
  /** The name of the address space in the TLB. */
  space: number;
  loop: { [Name in keyof LoopState]: LoopState[Name] };
}

export function saveProcessor({ cpu, tlb, loop }: Vcpu): Data {
  const registers = new Map(KEPT.map(element => [element.name, readElement(cpu, element)]));
  const saved: SavedProcessor = { registers, space: tlb.space, loop: { ...loop } };
  return saved;
}

/**
 * @param data may come from anywhere: there is no value that a guest could not bring about, or that harms more than the guest
 * @throws Error naming what is missing or is not of the right type; nothing has changed then
 */
export function restoreProcessor(vcpu: Vcpu, data: unknown, path: string): void {
  const { cpu, tlb } = vcpu;
  const { registers, space, loop } = checkedCopy(data, saveProcessor(vcpu) as SavedProcessor, path);
  if (registers.size > KEPT.length) throw new Error(`${path}: ${registers.size} registers instead of ${KEPT.length}`);
  const values = KEPT.map(({ name, bytes }) => {
    const value = registers.get(name);
    if (typeof value !== 'bigint') throw new Error(`${path}: ${name} is missing`);
    if (BigInt.asUintN(8 * bytes, value) !== value) throw new Error(`${path}: ${name} has more than ${8 * bytes} bits`);
    return value;
  });
  const counts = { space, executed: loop.executed, handled: loop.handled, handledAt: loop.handledAt };
  for (const [name, value] of Object.entries(counts))
    if (!Number.isSafeInteger(value) || value < -1) throw new Error(`${path}: ${name} is ${value}`);
  for (const [index, element] of KEPT.entries()) writeElement(cpu, element, values[index]!);
  tlb.flushAll();
  tlb.select(space);
  cpu.updateMode();
  cpu.updateUnits();
  cpu.updateBank();
  cpu.noteSegments();
  updateWatching(cpu);
  // Last, for the others ask for an exit.
  vcpu.loop = loop;
}

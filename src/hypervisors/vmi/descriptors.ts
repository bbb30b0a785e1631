/**
 * The calls about descriptor tables and selectors: checks before the ROM's code or the guest's next instruction uses
 * them.
 */
import type { Processor } from '../../paravirt/processor.ts';
import {
  DESCRIPTOR_CODE,
  DESCRIPTOR_DPL,
  DESCRIPTOR_P,
  DESCRIPTOR_S,
  DESCRIPTOR_WRITABLE,
  TYPE_LDT,
  TYPE_TSS,
} from '../../x86/descriptors.ts';
import { SELECTOR_INDEX, SELECTOR_TI } from '../../x86/segments.ts';
import { type Call, hex, type VmiCallEntry } from './call.ts';

const DESCRIPTOR_SIZE = 8;
/** A system descriptor's type (SDM 3A table 3-2). */
const typeOf = (high: number) => (high >>> 8) & 0xf;

/** Entries of a GDT or LDT, and of an IDT (SDM 3A 3.5.1, 6.10). */
const TABLE_ENTRIES = 8192;
const IDT_ENTRIES = 256;

/** A descriptor of the GDT at `base`: its two words; undefined where the table does not reach or is not there. */
export function readDescriptor(
  cpu: Processor,
  selector: number,
  base: bigint,
  limit: number,
): { low: number; high: number } | undefined {
  const offset = selector & SELECTOR_INDEX;
  if (selector & SELECTOR_TI || offset + DESCRIPTOR_SIZE - 1 > limit) return undefined;
  const bytes = cpu.read(base + BigInt(offset), DESCRIPTOR_SIZE);
  if (!bytes) return undefined;
  const view = new DataView(bytes.buffer);
  return { low: view.getUint32(0, true), high: view.getUint32(4, true) };
}

/** The second word of a descriptor in the processor's GDT. */
function highWord(cpu: Processor, selector: number): number {
  return readDescriptor(cpu, selector, cpu.get('gdtBase'), Number(cpu.get('gdtLimit')))?.high ?? 0;
}

/** A system descriptor of that type that is present. */
const isSystem = (high: number, type: number) =>
  (high & (DESCRIPTOR_P | DESCRIPTOR_S)) === DESCRIPTOR_P && typeOf(high) === type;
/** A code or data segment that is present. */
const isSegment = (high: number) => (high & (DESCRIPTOR_P | DESCRIPTOR_S)) === (DESCRIPTOR_P | DESCRIPTOR_S);
export const isCode = (high: number) => isSegment(high) && (high & DESCRIPTOR_CODE) !== 0;
export const isWritable = (high: number) =>
  isSegment(high) && (high & (DESCRIPTOR_CODE | DESCRIPTOR_WRITABLE)) === DESCRIPTOR_WRITABLE;

function writer(name: 'WriteGDTEntry' | 'WriteLDTEntry' | 'WriteIDTEntry', entries: number): VmiCallEntry {
  return {
    name,
    arguments: ['table', 'index', 'low', 'high'],
    status: 'done',
    run(call: Call) {
      const { cpu, eax: table, edx: index, ecx: low } = call;
      const high = call.stack(0);
      if (index >= entries) return call.kill(`entry ${index} of ${entries}`);
      const bytes = new Uint8Array(Uint32Array.of(low, high).buffer);
      const at = (table + index * DESCRIPTOR_SIZE) >>> 0;
      return cpu.write(BigInt(at), bytes) ? undefined : call.kill(`a table at ${hex(table)}, which cannot be written`);
    },
  };
}

export const descriptorCalls = {
  SetLDT: {
    name: 'SetLDT',
    arguments: ['selector'],
    status: 'done',
    run(call: Call) {
      const selector = call.eax & 0xffff;
      // The null selector is no table at all.
      return selector < SELECTOR_TI || isSystem(highWord(call.cpu, selector), TYPE_LDT)
        ? undefined
        : call.kill(`selector ${hex(selector)} is no local descriptor table`);
    },
  },
  SetTR: {
    name: 'SetTR',
    arguments: ['selector'],
    status: 'done',
    run(call: Call) {
      const selector = call.eax & 0xffff;
      return isSystem(highWord(call.cpu, selector), TYPE_TSS)
        ? undefined
        : call.kill(`selector ${hex(selector)} is no available task state segment`);
    },
  },
  WriteGDTEntry: writer('WriteGDTEntry', TABLE_ENTRIES),
  WriteLDTEntry: writer('WriteLDTEntry', TABLE_ENTRIES),
  WriteIDTEntry: writer('WriteIDTEntry', IDT_ENTRIES),
  UpdateKernelStack: {
    name: 'UpdateKernelStack',
    arguments: ['selector', 'stack'],
    status: 'done',
    /** The processor takes the stack from the guest's task state segment, where the guest has put it already. */
    run(call: Call) {
      const selector = call.eax & 0xffff;
      const high = highWord(call.cpu, selector);
      return isWritable(high) && (high & DESCRIPTOR_DPL) === 0
        ? undefined
        : call.kill(`selector ${hex(selector)} is no segment for a kernel's stack`);
    },
  },
  SetDR: { name: 'SetDR', arguments: ['register', 'value'], status: 'done', run: noSuchDebugRegister },
  GetDR: { name: 'GetDR', arguments: ['register'], status: 'done', run: noSuchDebugRegister },
} satisfies Record<string, VmiCallEntry>;

/** The ROM has dealt with the debug registers that exist. */
function noSuchDebugRegister(call: Call): undefined {
  return call.kill(`debug register ${call.eax}`);
}

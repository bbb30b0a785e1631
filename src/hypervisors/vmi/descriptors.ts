/** The calls about descriptor tables and selectors: looked at before the ROM's code, or the guest's next instruction, uses them. */
import type { Processor } from '../../paravirt/processor.ts';
import { type Call, hex, type VmiCallEntry } from './call.ts';

const DESCRIPTOR_SIZE = 8;
/** Selectors: requested privilege level, and which table (SDM 3A 3.4.2). */
const RPL = 3;
const TABLE = 4;
/** A descriptor's second word: present, an ordinary segment rather than a system one, and its type (SDM 3A 3.4.5). */
const PRESENT = 1 << 15;
const ORDINARY = 1 << 12;
const PRIVILEGE = 3 << 13;
const typeOf = (high: number) => (high >>> 8) & 0xf;
/** SDM 3A table 3-2. */
const TYPE_LDT = 2;
const TYPE_TSS_AVAILABLE = 9;
/** Of an ordinary segment: 1 is code; of data, bit 1 is writable. */
const CODE = 8;
const WRITABLE = 2;

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
  const offset = selector & ~(RPL | TABLE);
  if (selector & TABLE || offset + DESCRIPTOR_SIZE - 1 > limit) return undefined;
  const bytes = cpu.read(base + BigInt(offset), DESCRIPTOR_SIZE);
  if (!bytes) return undefined;
  const view = new DataView(bytes.buffer);
  return { low: view.getUint32(0, true), high: view.getUint32(4, true) };
}

/** The second word of a descriptor in the processor's GDT. */
function highWord(cpu: Processor, selector: number): number {
  return readDescriptor(cpu, selector, cpu.get('gdtBase'), Number(cpu.get('gdtLimit')))?.high ?? 0;
}

const isSystem = (high: number, type: number) => (high & (PRESENT | ORDINARY)) === PRESENT && typeOf(high) === type;
export const isCode = (high: number) =>
  (high & (PRESENT | ORDINARY)) === (PRESENT | ORDINARY) && !!(typeOf(high) & CODE);
export const isWritable = (high: number) =>
  (high & (PRESENT | ORDINARY)) === (PRESENT | ORDINARY) && (typeOf(high) & (CODE | WRITABLE)) === WRITABLE;

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
      return selector < TABLE || isSystem(highWord(call.cpu, selector), TYPE_LDT)
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
      return isSystem(highWord(call.cpu, selector), TYPE_TSS_AVAILABLE)
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
      return isWritable(high) && (high & PRIVILEGE) === 0
        ? undefined
        : call.kill(`selector ${hex(selector)} is no segment for a kernel's stack`);
    },
  },
  SetDR: { name: 'SetDR', arguments: ['register', 'value'], status: 'done', run: noSuchDebugRegister },
  GetDR: { name: 'GetDR', arguments: ['register'], status: 'done', run: noSuchDebugRegister },
} satisfies Record<string, VmiCallEntry>;

/** The ROM has dealt with those that there are. */
function noSuchDebugRegister(call: Call): undefined {
  return call.kill(`debug register ${call.eax}`);
}

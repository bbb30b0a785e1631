/**
 * The state in which another processor is to start, as SetInitialAPState has it in the guest's memory (struct
 * vmi_ap_state).
 */
import type { EntryState } from '../../boot/entry.ts';
import type { Processor, Segment, SegmentName } from '../../paravirt/processor.ts';
import { CR0_PE, CR0_PG } from '../../x86/control.ts';
import { DESCRIPTOR_ATTRIBUTES, DESCRIPTOR_G } from '../../x86/descriptors.ts';
import { hex } from './call.ts';
import { isCode, isWritable, readDescriptor } from './descriptors.ts';

/** struct vmi_ap_state: offsets. */
const AP_STATE = {
  registers: {
    cr0: 0x00,
    cr2: 0x04,
    cr3: 0x08,
    cr4: 0x0c,
    rip: 0x18,
    flags: 0x1c,
    rax: 0x20,
    rbx: 0x24,
    rcx: 0x28,
    rdx: 0x2c,
  },
  pointers: { rsp: 0x30, rbp: 0x34, rsi: 0x38, rdi: 0x3c, gdtBase: 0x50, idtBase: 0x54 },
  efer: 0x10,
  segments: { cs: 0x40, ss: 0x42, ds: 0x44, es: 0x46, fs: 0x48, gs: 0x4a },
  ldtr: 0x4c,
  gdtLimit: 0x4e,
  idtLimit: 0x58,
} as const;

/** Its size, as far as it is used. */
export const AP_STATE_SIZE = 0x5c;

/** What a null selector loads (SDM 3A 3.4.2). */
const NULL: Segment = { selector: 0, base: 0n, limit: 0, attributes: 0 };

/** The hidden part of a segment register, from the descriptor. */
function segmentOf(selector: number, { low, high }: { low: number; high: number }): Segment {
  const limit = (high & 0xf0000) | (low & 0xffff);
  return {
    selector,
    base: BigInt((((high & 0xff000000) | ((high & 0xff) << 16)) >>> 0) + (low >>> 16)),
    limit: high & DESCRIPTOR_G ? ((limit << 12) | 0xfff) >>> 0 : limit,
    attributes: high & DESCRIPTOR_ATTRIBUTES,
  };
}

/** The state in `bytes` as loaders describe one, or why no processor can be in it. */
export function parseApState(cpu: Processor, bytes: Uint8Array): EntryState | string {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const word = (offset: number) => BigInt(view.getUint32(offset, true));
  const registers: EntryState['registers'] = {
    efer: view.getBigUint64(AP_STATE.efer, true),
    gdtLimit: BigInt(view.getUint16(AP_STATE.gdtLimit, true)),
    idtLimit: BigInt(view.getUint16(AP_STATE.idtLimit, true)),
  };
  for (const [name, offset] of Object.entries({ ...AP_STATE.registers, ...AP_STATE.pointers }))
    registers[name as keyof typeof AP_STATE.registers] = word(offset);
  const { cr0, cr3, gdtBase, gdtLimit } = registers as Record<string, bigint>;
  if (!(cr0! & BigInt(CR0_PE))) return `CR0 ${hex(cr0!)} is real mode`;
  if (cr0! & BigInt(CR0_PG) && !cpu.memory.has(Number(cr3! & ~31n), 32)) return `CR3 ${hex(cr3!)} is not RAM`;

  const segments: EntryState['segments'] = { ldtr: NULL };
  const load = (name: SegmentName, offset: number, fits: (high: number) => boolean): string | undefined => {
    const selector = view.getUint16(offset, true);
    if (selector < 4 && name !== 'cs' && name !== 'ss') {
      segments[name] = { ...NULL, selector };
      return undefined;
    }
    const descriptor = readDescriptor(cpu, selector, gdtBase!, Number(gdtLimit));
    if (!descriptor || !fits(descriptor.high)) return `${name} ${hex(selector)} is no such segment`;
    segments[name] = segmentOf(selector, descriptor);
    return undefined;
  };
  for (const [name, offset] of Object.entries(AP_STATE.segments)) {
    const fits =
      name === 'cs' ? isCode : name === 'ss' ? isWritable : (high: number) => isCode(high) || isWritable(high);
    const reason = load(name as SegmentName, offset, fits);
    if (reason) return reason;
  }
  if (view.getUint16(AP_STATE.ldtr, true) >= 4) return 'an LDT before there is a processor';
  return { registers, segments };
}

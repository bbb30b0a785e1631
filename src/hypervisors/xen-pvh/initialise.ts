/**
 * VCPUOP_initialise of a PVH guest: another processor's first registers, as struct vcpu_hvm_context has them
 * (public/hvm/hvm_vcpu.h): for 64-bit code with flat segments, or for 16- and 32-bit code with those that it says.
 */
import type { Processor, RegisterName, Segment, SegmentName } from '../../paravirt/processor.ts';
import {
  CR0_CD,
  CR0_NW,
  CR0_PE,
  CR0_PG,
  CR4_DE,
  CR4_FSGSBASE,
  CR4_MCE,
  CR4_OSFXSR,
  CR4_OSXMMEXCPT,
  CR4_OSXSAVE,
  CR4_PAE,
  CR4_PGE,
  CR4_PSE,
  CR4_SMAP,
  CR4_SMEP,
  CR4_TSD,
  CR4_UMIP,
  EFER_LMA,
  EFER_LME,
  EFER_NXE,
  EFER_SCE,
} from '../../x86/control.ts';
import { VM } from '../../x86/flags.ts';
import { EFAULT, EINVAL } from '../xen/constants.ts';
import type { Vcpu } from '../xen/domain.ts';
import type { Call } from '../xen/hypercall.ts';

/** Bytes of the structure: the mode, padding, and a union. */
const SIZE = 128;
const MODE_32B = 0;
const MODE_64B = 1;
const UNION = 8;

/** struct vcpu_hvm_x86_32: 13 registers of 4 bytes, padding, EFER, and five segments' bases, limits and rights. */
// biome-ignore format: a table
const REGISTERS_32: readonly RegisterName[] =
  ['rax', 'rcx', 'rdx', 'rbx', 'rsp', 'rbp', 'rsi', 'rdi', 'rip', 'flags', 'cr0', 'cr3', 'cr4'];
const PAD_1 = UNION + 52;
const EFER_32 = UNION + 56;
const SEGMENTS_32: readonly SegmentName[] = ['cs', 'ds', 'ss', 'es', 'tr'];
const BASES = UNION + 64;
const LIMITS = BASES + 20;
const RIGHTS = LIMITS + 20;
const PAD_2 = RIGHTS + 10;

/** struct vcpu_hvm_x86_64: the same registers and EFER, 8 bytes each. */
export const REGISTERS_64: readonly RegisterName[] = [...REGISTERS_32, 'efer'];

/** What the processor and the guest may have of CR4 and EFER. */
const CR4_KNOWN = BigInt(
  CR4_TSD |
    CR4_DE |
    CR4_PSE |
    CR4_PAE |
    CR4_MCE |
    CR4_PGE |
    CR4_OSFXSR |
    CR4_OSXMMEXCPT |
    CR4_UMIP |
    CR4_FSGSBASE |
    CR4_OSXSAVE |
    CR4_SMEP |
    CR4_SMAP,
);
const EFER_KNOWN = BigInt(EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE);

/** Rights as the structure has them: type 0-3, S 4, DPL 5-6, P 7, AVL 8, L 9, D/B 10, G 11. */
const AR_TYPE = 0xf;
const AR_CODE = 1 << 3;
/** Of code: readable; of data: writable. */
const AR_READ_OR_WRITE = 1 << 1;
const AR_S = 1 << 4;
const AR_DPL_SHIFT = 5;
const AR_P = 1 << 7;
const AR_ACCESSED = 1;
const AR_TSS_BUSY = 0xb;

/** Rights of flat 64-bit code, of data beside it, and of a busy TSS. */
const CODE_64 = 0xa9b;
const DATA_64 = 0xc93;
const TSS_64 = 0x8b;
const TSS_LIMIT = 0x67;

const none: Segment = { selector: 0, base: 0n, limit: 0, attributes: 0 };

interface State {
  registers: Map<RegisterName, bigint>;
  segments: Map<SegmentName, Segment>;
}

/** 0 or -errno. */
export function initialisePvh(call: Call, vcpu: Vcpu, argument: bigint): number {
  const bytes = call.read(argument, SIZE);
  if (!bytes) return -EFAULT;
  const view = new DataView(bytes.buffer, bytes.byteOffset, SIZE);
  if (view.getUint32(4, true) !== 0) return -EINVAL;
  const mode = view.getUint32(0, true);
  const state = mode === MODE_32B ? state32(view) : mode === MODE_64B ? state64(view) : undefined;
  if (!state || !hasValidControl(state.registers)) return -EINVAL;
  enter(vcpu.cpu, state);
  return 0;
}

/** Undefined for -EINVAL, as below. */
function state64(view: DataView): State | undefined {
  const registers = new Map(REGISTERS_64.map((name, i) => [name, view.getBigUint64(UNION + 8 * i, true)]));
  const { rip, cr0, cr4, efer } = Object.fromEntries(registers) as Record<string, bigint>;
  if (BigInt.asUintN(64, BigInt.asIntN(48, rip!)) !== rip) return undefined;
  if (!(cr0! & BigInt(CR0_PG)) || !(cr4! & BigInt(CR4_PAE)) || !(efer! & BigInt(EFER_LME))) return undefined;
  const flat = (rights: number): Segment => ({ ...none, limit: 0xffffffff, attributes: attributesOf(rights) });
  const segments = new Map<SegmentName, Segment>([
    ['cs', flat(CODE_64)],
    ['ds', flat(DATA_64)],
    ['ss', flat(DATA_64)],
    ['es', flat(DATA_64)],
    ['tr', { ...none, limit: TSS_LIMIT, attributes: attributesOf(TSS_64) }],
  ]);
  return { registers, segments };
}

function state32(view: DataView): State | undefined {
  const pads = [PAD_2, PAD_2 + 2, PAD_2 + 4].map(at => view.getUint16(at, true));
  if (view.getUint32(PAD_1, true) !== 0 || pads.some(pad => pad !== 0)) return undefined;
  const registers = new Map(REGISTERS_32.map((name, i) => [name, BigInt(view.getUint32(UNION + 4 * i, true))]));
  registers.set('efer', view.getBigUint64(EFER_32, true));
  const segments = new Map<SegmentName, Segment>();
  const levels = new Map<SegmentName, number>();
  for (const [i, name] of SEGMENTS_32.entries()) {
    const rights = view.getUint16(RIGHTS + 2 * i, true);
    if (!isValidSegment(name, rights)) return undefined;
    const shown = rights === 0 || name === 'tr' ? rights : rights | AR_ACCESSED;
    const base = BigInt(view.getUint32(BASES + 4 * i, true));
    const limit = view.getUint32(LIMITS + 4 * i, true);
    segments.set(name, { selector: 0, base, limit, attributes: attributesOf(shown) });
    if (rights !== 0) levels.set(name, (rights >>> AR_DPL_SHIFT) & 3);
  }
  // A processor's privilege is that of its stack; data is for it or for less privileged code.
  const level = levels.get('cs')!;
  if (level !== 0 || levels.get('ss') !== level) return undefined;
  if (Number(registers.get('rip')) > segments.get('cs')!.limit) return undefined;
  return { registers, segments };
}

/** @param rights 0: the segment register is null */
function isValidSegment(name: SegmentName, rights: number): boolean {
  if (rights === 0) return name === 'ds' || name === 'es';
  if (!(rights & AR_P)) return false;
  if (name === 'tr') return !(rights & AR_S) && (rights & AR_TYPE) === AR_TSS_BUSY;
  if (!(rights & AR_S)) return false;
  const code = (rights & AR_CODE) !== 0;
  const readOrWrite = (rights & AR_READ_OR_WRITE) !== 0;
  if (name === 'cs') return code;
  return name === 'ss' ? !code && readOrWrite : !code || readOrWrite;
}

/** As the second word of a descriptor has them: the lower eight from bit 8 on, the upper four from bit 20 on. */
const attributesOf = (rights: number): number => ((rights & 0xff) << 8) | ((rights & 0xf00) << 12);

/** True if the processor can be in such a mode. */
function hasValidControl(registers: ReadonlyMap<RegisterName, bigint>): boolean {
  const [cr0, cr4, efer, flags] = (['cr0', 'cr4', 'efer', 'flags'] as const).map(name => registers.get(name)!);
  const has = (value: bigint | undefined, bit: number) => (value! & BigInt(bit >>> 0)) !== 0n;
  if (cr0! >> 32n || cr4! & ~CR4_KNOWN || efer! & ~EFER_KNOWN) return false;
  if (has(cr0, CR0_PG) && !has(cr0, CR0_PE)) return false;
  if (has(cr0, CR0_NW) && !has(cr0, CR0_CD)) return false;
  if (has(efer, EFER_LMA) && !has(efer, EFER_LME)) return false;
  if (has(cr0, CR0_PG) && has(efer, EFER_LME) && !has(cr4, CR4_PAE)) return false;
  return !has(flags, VM);
}

function enter(cpu: Processor, { registers, segments }: State): void {
  // Paging comes last of these: what it needs stands already. LMA follows from it.
  cpu.set('efer', registers.get('efer')! & ~BigInt(EFER_LMA));
  for (const name of ['cr4', 'cr3', 'cr0'] as const) cpu.set(name, registers.get(name)!);
  for (const name of ['fs', 'gs', 'ldtr'] as const) cpu.setSegment(name, none);
  // CS comes last: it decides the mode.
  for (const name of ['ds', 'ss', 'es', 'tr', 'cs'] as const) cpu.setSegment(name, segments.get(name)!);
  for (const [name, value] of registers) if (!/^(cr|efer)/.test(name)) cpu.set(name, value);
}

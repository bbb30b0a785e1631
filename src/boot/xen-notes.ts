/**
 * What a kernel says about itself to Xen, and through PHYS32_ENTRY to anybody who knows the PVH entry: ELF notes with the
 * owner "Xen" (xen/include/public/elfnote.h) or, in old guests, a section `__xen_guest` of KEY=VALUE pairs.
 */
import { type Elf, elfNotes, sectionData } from './elf.ts';

export interface XenNotes {
  /** Whether there are any: notes, the old section, or none. */
  source: 'notes' | '__xen_guest' | 'none';
  entry?: bigint;
  hypercallPage?: bigint;
  virtBase?: bigint;
  paddrOffset?: bigint;
  xenVersion?: string;
  guestOs?: string;
  guestVersion?: string;
  loader?: string;
  paeMode?: string;
  /** Feature names; a leading `!` means the kernel cannot do without. */
  features: string[];
  hvStartLow?: bigint;
  /** Pairs of mask and value. */
  l1MfnValid?: [mask: bigint, value: bigint][];
  suspendCancel?: number;
  initP2m?: bigint;
  modStartPfn?: boolean;
  /** Bitmap of XENFEAT numbers. */
  supportedFeatures?: number;
  /** Where the PVH entry is, guest-physical. */
  phys32Entry?: number;
}

/** XEN_ELFNOTE_* */
const NOTE = {
  ENTRY: 1,
  HYPERCALL_PAGE: 2,
  VIRT_BASE: 3,
  PADDR_OFFSET: 4,
  XEN_VERSION: 5,
  GUEST_OS: 6,
  GUEST_VERSION: 7,
  LOADER: 8,
  PAE_MODE: 9,
  FEATURES: 10,
  HV_START_LOW: 12,
  L1_MFN_VALID: 13,
  SUSPEND_CANCEL: 14,
  INIT_P2M: 15,
  MOD_START_PFN: 16,
  SUPPORTED_FEATURES: 17,
  PHYS32_ENTRY: 18,
} as const;

export function xenNotes(elf: Elf): XenNotes {
  const byType = new Map<number, Uint8Array>();
  for (const { owner, type, description } of elfNotes(elf)) if (owner === 'Xen') byType.set(type, description);
  return byType.size > 0 ? fromNotes(byType) : fromSection(sectionData(elf, '__xen_guest'));
}

function fromNotes(notes: ReadonlyMap<number, Uint8Array>): XenNotes {
  const number = (type: number): bigint | undefined => {
    const bytes = notes.get(type);
    return bytes && bytes.length >= 4 ? readNumber(bytes, 0, bytes.length >= 8 ? 8 : 4) : undefined;
  };
  const text = (type: number): string | undefined => {
    const bytes = notes.get(type);
    return bytes && new TextDecoder('latin1').decode(bytes).replace(/\0.*$/s, '');
  };
  const small = (type: number): number | undefined => {
    const value = number(type);
    return value === undefined ? undefined : Number(BigInt.asUintN(32, value));
  };
  return {
    source: 'notes',
    entry: number(NOTE.ENTRY),
    hypercallPage: number(NOTE.HYPERCALL_PAGE),
    virtBase: number(NOTE.VIRT_BASE),
    paddrOffset: number(NOTE.PADDR_OFFSET),
    xenVersion: text(NOTE.XEN_VERSION),
    guestOs: text(NOTE.GUEST_OS),
    guestVersion: text(NOTE.GUEST_VERSION),
    loader: text(NOTE.LOADER),
    paeMode: text(NOTE.PAE_MODE),
    features: splitFeatures(text(NOTE.FEATURES)),
    hvStartLow: number(NOTE.HV_START_LOW),
    l1MfnValid: pairs(notes.get(NOTE.L1_MFN_VALID)),
    suspendCancel: small(NOTE.SUSPEND_CANCEL),
    initP2m: number(NOTE.INIT_P2M),
    modStartPfn: notes.has(NOTE.MOD_START_PFN) ? small(NOTE.MOD_START_PFN) !== 0 : undefined,
    supportedFeatures: small(NOTE.SUPPORTED_FEATURES),
    phys32Entry: small(NOTE.PHYS32_ENTRY),
  };
}

/** The old section: comma-separated, ended by a NUL. Its HYPERCALL_PAGE is a page number, not an address. */
function fromSection(bytes: Uint8Array): XenNotes {
  if (bytes.length === 0) return { source: 'none', features: [] };
  const text = new TextDecoder('latin1').decode(bytes).replace(/\0.*$/s, '');
  const values = new Map(text.split(',').map(pair => [pair.replace(/=.*$/s, ''), pair.replace(/^[^=]*=?/, '')]));
  const number = (key: string): bigint | undefined => {
    const value = values.get(key);
    return value !== undefined && /^(0x[0-9a-f]{1,16}|\d{1,20})$/i.test(value) ? BigInt(value) : undefined;
  };
  const virtBase = number('VIRT_BASE');
  const page = number('HYPERCALL_PAGE');
  return {
    source: '__xen_guest',
    entry: number('VIRT_ENTRY'),
    hypercallPage: page === undefined ? undefined : (page << 12n) + (virtBase ?? 0n),
    virtBase,
    paddrOffset: number('ELF_PADDR_OFFSET') ?? virtBase,
    xenVersion: values.get('XEN_VER'),
    guestOs: values.get('GUEST_OS'),
    guestVersion: values.get('GUEST_VER'),
    loader: values.get('LOADER'),
    paeMode: values.get('PAE'),
    features: splitFeatures(values.get('FEATURES')),
  };
}

function splitFeatures(text: string | undefined): string[] {
  return (text ?? '').split('|').filter(Boolean);
}

function pairs(bytes: Uint8Array | undefined): [bigint, bigint][] | undefined {
  if (!bytes) return undefined;
  const size = bytes.length % 16 === 0 ? 8 : 4;
  const out: [bigint, bigint][] = [];
  for (let at = 0; at + 2 * size <= bytes.length; at += 2 * size)
    out.push([readNumber(bytes, at, size), readNumber(bytes, at + size, size)]);
  return out;
}

function readNumber(bytes: Uint8Array, at: number, size: 4 | 8): bigint {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return size === 8 ? view.getBigUint64(at, true) : BigInt(view.getUint32(at, true));
}

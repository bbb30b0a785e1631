/**
 * The ROM that is the interface: an option ROM with a header of its own kind, two entries at fixed places, and a table
 * of where the code of every call is. Linux 2.6.21 to 2.6.36 looks for it (arch/x86/kernel/vmi_32.c, check_vmi_rom).
 */
import { native, nothing } from '../../paravirt/native.ts';
import { Assembler } from './assembler.ts';
import {
  VMI_CALLS,
  VMI_RELOCATION_CALL_REL,
  VMI_RELOCATION_JUMP_REL,
  VMI_RELOCATION_NONE,
  VMI_RELOCATION_NOP,
} from './calls.ts';
import { type Answer, answers, emitHypercall } from './rom-code.ts';
import { ROM_ADDRESS, ROM_SIZE, SHARED, UPDATE } from './shared-page.ts';

const API_VERSION = { major: 3, minor: 0 };
const ROM_VERSION = { major: 1, minor: 0 };
/** VMware's PCI device of this name; Linux only warns of others. */
const PCI = { vendor: 0x15ad, device: 0x0801 };
const MANUFACTURER = 'Polyvisor';
const PRODUCT = 'VMI';
/** Linux uses no ROM under another licence. Ours is MIT's, by which anybody may have it under this one. */
const LICENSE = 'GPL';

/** struct vrom_header. */
const HEADER = {
  signature: 0x00,
  length: 0x02,
  entry: 0x03,
  vromSignature: 0x08,
  versionMinor: 0x0c,
  versionMajor: 0x0d,
  jumpSlots: 0x0e,
  virtualTop: 0x10,
  licenseOffset: 0x16,
  pciHeaderOffset: 0x18,
  pnpHeaderOffset: 0x1a,
  initialize: 0x80,
  getRelocation: 0x88,
  end: 0x90,
} as const;
const PCI_HEADER = 0x90;
const PNP_HEADER = 0xb0;
const STRINGS = 0xd0;
/** The byte before the code makes the sum of all 0, as option ROMs have it (PnP BIOS Specification 1.0A, 3.1). */
const CHECKSUM = 0xff;
const CODE = 0x100;

/** Bytes of a far return: all that a BIOS finds to do here. */
const RETF = 0xcb;

export interface Rom {
  bytes: Uint8Array;
  /** The code, for people and for GNU as. */
  listing: string;
  source: string;
  /** Offsets of the code by call, and of each place after a VMCALL. */
  labels: ReadonlyMap<string, number>;
}

function relocationOf(answer: Answer): keyof typeof WORDS {
  if (answer === native) return VMI_RELOCATION_NONE;
  if (answer === nothing) return VMI_RELOCATION_NOP;
  return answer.how === 'call' ? VMI_RELOCATION_CALL_REL : VMI_RELOCATION_JUMP_REL;
}

/**
 * get_reloc: a call's number in EAX; answers with an address and a type, as {u32 eip; u8 type; u8 reserved[3]} in
 * EDX:EAX.
 */
function emitGetRelocation(asm: Assembler): void {
  asm.label('get_reloc');
  asm.line(`83 f8 ${VMI_CALLS.length.toString(16)}`, `cmp eax, ${VMI_CALLS.length}`);
  asm.line('73 >get_reloc.none', 'jae get_reloc.none');
  asm.line('e8 >>get_reloc.here', 'call get_reloc.here');
  asm.label('get_reloc.here');
  asm.line('59', 'pop ecx');
  asm.line('8b 94 c1 [types-get_reloc.here]', 'mov edx, [ecx + 8 * eax + types - get_reloc.here]');
  asm.line('8b 84 c1 [offsets-get_reloc.here]', 'mov eax, [ecx + 8 * eax + offsets - get_reloc.here]');
  // An offset of 0 is no code.
  asm.line('85 c0', 'test eax, eax');
  asm.line('74 >get_reloc.done', 'je get_reloc.done');
  asm.line('81 e9 [get_reloc.here]', 'sub ecx, get_reloc.here - start');
  asm.line('01 c8', 'add eax, ecx');
  asm.label('get_reloc.done');
  asm.line('c3', 'ret');
  asm.label('get_reloc.none');
  asm.line('31 c0', 'xor eax, eax');
  asm.line('31 d2', 'xor edx, edx');
  asm.line('c3', 'ret');
}

/** vmi_init: lets the hypervisor start anew; 0 in EAX is success. */
function emitInitialize(asm: Assembler): void {
  asm.label('vmi_init');
  emitHypercall(asm, 'Initialize');
}

const WORDS = {
  [VMI_RELOCATION_NONE]: 'native',
  [VMI_RELOCATION_CALL_REL]: 'called',
  [VMI_RELOCATION_JUMP_REL]: 'jumped to',
  [VMI_RELOCATION_NOP]: 'nothing',
};

function emitTable(asm: Assembler): void {
  asm.label('offsets');
  asm.label('types', asm.offset + 4);
  for (const [number, name] of VMI_CALLS.entries()) {
    const answer = answers[name];
    const type = relocationOf(answer);
    const has = typeof answer === 'object';
    const text = `.long ${has ? `${name} - start` : 0}, ${type}`;
    asm.line(`${has ? `[${name}]` : '=0'} =${type}`, `${text.padEnd(36)} # ${number} ${name}: ${WORDS[type]}`);
  }
}

export function buildRom(): Rom {
  const asm = new Assembler();
  for (const [name, offset] of [
    ['mode', SHARED.lazyMode],
    ['count', SHARED.count],
  ] as const)
    asm.label(name, ROM_SIZE + offset);
  asm.label('slotStart', ROM_SIZE + SHARED.slotStart);
  asm.label('slotSize', ROM_SIZE + SHARED.slotSize);
  for (const offset of Object.values(UPDATE)) asm.label(`queue${offset}`, ROM_SIZE + SHARED.queue + offset);

  asm.skipTo(HEADER.initialize);
  asm.line('e9 >>vmi_init', 'jmp vmi_init');
  asm.skipTo(HEADER.getRelocation);
  asm.line('e9 >>get_reloc', 'jmp get_reloc');
  asm.skipTo(CODE);
  emitInitialize(asm);
  emitGetRelocation(asm);
  emitTable(asm);
  for (const name of VMI_CALLS) {
    const answer = answers[name];
    if (typeof answer !== 'object') continue;
    asm.label(name);
    answer.emit(asm);
  }
  asm.skipTo(ROM_SIZE);
  const bytes = asm.finish();
  writeHeaders(bytes);
  const listing = `${describe(bytes)}\n\n${asm.listing(bytes, ROM_ADDRESS)}`;
  return { bytes, listing, source: asm.source(), labels: asm.labels };
}

function describe(bytes: Uint8Array): string {
  const used = bytes.findLastIndex(byte => byte !== 0) + 1;
  return `${MANUFACTURER} ${PRODUCT}, API ${API_VERSION.major}.${API_VERSION.minor}, ROM ${ROM_VERSION.major}.${ROM_VERSION.minor}, licence ${LICENSE}
at 0x${ROM_ADDRESS.toString(16)}, ${bytes.length} bytes, ${used} used, checksum byte 0x${bytes[CHECKSUM]!.toString(16).padStart(2, '0')}`;
}

/** Puts texts, each ended by a zero, one after the other. @returns their offsets in the ROM */
function placeStrings(bytes: Uint8Array, texts: readonly string[]): number[] {
  const offsets: number[] = [];
  let at = STRINGS;
  for (const text of texts) {
    offsets.push(at);
    bytes.set(new TextEncoder().encode(`${text}\0`), at);
    at += text.length + 1;
  }
  return offsets;
}

function writeHeaders(bytes: Uint8Array): void {
  const view = new DataView(bytes.buffer);
  const [license, manufacturer, product] = placeStrings(bytes, [LICENSE, MANUFACTURER, PRODUCT]);
  const letters = (at: number, text: string) => bytes.set(new TextEncoder().encode(text), at);

  view.setUint16(HEADER.signature, 0xaa55, true);
  bytes[HEADER.length] = ROM_SIZE / 512;
  bytes[HEADER.entry] = RETF;
  letters(HEADER.vromSignature, 'cVmi');
  bytes[HEADER.versionMinor] = API_VERSION.minor;
  bytes[HEADER.versionMajor] = API_VERSION.major;
  bytes[HEADER.jumpSlots] = 2;
  // No linear addresses are wanted: the processor keeps us apart from the guest.
  view.setUint32(HEADER.virtualTop, 0, true);
  view.setUint16(HEADER.licenseOffset, license, true);
  view.setUint16(HEADER.pciHeaderOffset, PCI_HEADER, true);
  view.setUint16(HEADER.pnpHeaderOffset, PNP_HEADER, true);

  letters(PCI_HEADER, 'PCIR');
  view.setUint16(PCI_HEADER + 4, PCI.vendor, true);
  view.setUint16(PCI_HEADER + 6, PCI.device, true);
  view.setUint16(PCI_HEADER + 10, 24, true); // Length of this structure.
  bytes[PCI_HEADER + 15] = 0xff; // Class: none of the others.
  view.setUint16(PCI_HEADER + 16, ROM_SIZE / 512, true);
  bytes[PCI_HEADER + 18] = ROM_VERSION.minor;
  bytes[PCI_HEADER + 19] = ROM_VERSION.major;
  bytes[PCI_HEADER + 21] = 0x80; // The last image.

  letters(PNP_HEADER, '$PnP');
  bytes[PNP_HEADER + 4] = 1;
  bytes[PNP_HEADER + 5] = 2; // Length in 16 bytes.
  view.setUint16(PNP_HEADER + 14, manufacturer, true);
  view.setUint16(PNP_HEADER + 16, product, true);
  bytes[PNP_HEADER + 9] = negatedSum(bytes.subarray(PNP_HEADER, PNP_HEADER + 32));

  bytes[CHECKSUM] = negatedSum(bytes);
}

/** What makes the sum of the bytes 0 in their width. */
function negatedSum(bytes: Uint8Array): number {
  return -bytes.reduce((sum, byte) => sum + byte, 0) & 0xff;
}

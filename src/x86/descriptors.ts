/**
 * Bits of a segment descriptor's second word, where `attributes` of a segment register has them, too (SDM 3A 3.4.5, 3.5;
 * AMD APM 2, 4.7).
 */
export const DESCRIPTOR_ACCESSED = 1 << 8;
/** Data: may be written. */
export const DESCRIPTOR_WRITABLE = 1 << 9;
/** Code: may be read. */
export const DESCRIPTOR_READABLE = 1 << 9;
/** Data: grows downwards. */
export const DESCRIPTOR_EXPAND_DOWN = 1 << 10;
/** Code: conforming. */
export const DESCRIPTOR_CONFORMING = 1 << 10;
export const DESCRIPTOR_CODE = 1 << 11;
/** Code or data; clear in system descriptors. */
export const DESCRIPTOR_S = 1 << 12;
export const DESCRIPTOR_DPL = 3 << 13;
export const DESCRIPTOR_DPL_SHIFT = 13;
export const DESCRIPTOR_P = 1 << 15;
/** 64-bit code. */
export const DESCRIPTOR_L = 1 << 21;
/** 32-bit code; a stack pointer of 32 bits; an upper bound of 4 GiB for data that grows downwards. */
export const DESCRIPTOR_DB = 1 << 22;
/** The limit counts pages. */
export const DESCRIPTOR_G = 1 << 23;
/** All of the second word that is not base or limit. */
export const DESCRIPTOR_ATTRIBUTES = 0xf0ff00;

/** Types of system descriptors and gates (S clear). */
export const TYPE_LDT = 2;
export const TYPE_CALL_GATE_16 = 4;
export const TYPE_INTERRUPT_GATE_16 = 6;
export const TYPE_TRAP_GATE_16 = 7;
export const TYPE_TSS = 9;
export const TYPE_BUSY_TSS = 11;
export const TYPE_CALL_GATE = 12;
export const TYPE_INTERRUPT_GATE = 14;
export const TYPE_TRAP_GATE = 15;
export const TYPE_TASK_GATE = 5;
/** 16-bit TSS, not busy and busy. */
export const TYPE_TSS_16 = 1;
export const TYPE_BUSY_TSS_16 = 3;
/** In the type of a TSS: it is in use; it has 32 bits. */
export const TSS_BUSY = 2;
export const TSS_32 = 8;

/** Attributes of flat segments, as SYSCALL and SYSENTER load them and loaders hand them to kernels. */
export const FLAT_CODE_64 = 0xa09b00;
export const FLAT_CODE_32 = 0xc09b00;
export const FLAT_DATA = 0xc09300;
/** Attributes of a segment in real mode, CS included: code may write through it (SDM 3A 9.1.4, table 9-1; 20.1.1). */
export const REAL_SEGMENT = 0x9300;
/** Attributes of a TSS in use. */
export const BUSY_TSS = 0x8b00;
export const LDT = 0x8200;

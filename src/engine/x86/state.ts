/**
 * Where one processor's registers stand in the WebAssembly memory: the only place that knows. Offsets are bytes from the
 * processor's base, STATE. Everything a decoded record names by one byte (general registers, the always-zero slot, the
 * scratch address, segment bases) lies in the first 256 bytes; the SSE registers in the 256 after that.
 */

/** Absolute address of processor 0's state. Page 0 stays empty: a stray null address then hits nothing of ours. */
export const STATE = 0x1000;

/** General registers, 8 bytes each, in the manual's numbering: RAX RCX RDX RBX RSP RBP RSI RDI R8-R15. */
export const GPR = 0x000;
/** Always zero: the base or index of an address that has none. */
export const ZERO = 0x080;
/** An address computed by an earlier record (16-bit and 0x67-prefixed addressing). */
export const SCRATCH = 0x088;
/** Segment bases, 8 bytes each: ES CS SS DS FS GS. In 64-bit mode the first four stay 0. */
export const SEGMENT_BASE = 0x090;
export const RIP = 0x0c0;
/** Lazy flags (see builder.ts): the last result, sign-extended to 64 bits… */
export const FLAG_RESULT = 0x0c8;
/** …and what it does not tell: CF bit 31, CF^OF bit 30, AF bit 3, parity difference bits 8-15, sign difference bit 0. */
export const FLAG_AUX = 0x0d0;
/** RFLAGS without CF PF AF ZF SF OF, which the two fields above hold. Bit 1 is always set. u32. */
export const FLAGS_REST = 0x0d4;
/** Linear address of the page that the current block lies in. */
export const PAGE = 0x0d8;
/** Instructions left before the engine must return, i32. */
export const FUEL = 0x0e0;
/** The decoded record being executed, u32; stored before every call that may ask for the time or fault. */
export const RECORD = 0x0e4;
/** Not 0: an interrupt waits for IF, or the machine wants attention. u32. */
export const ATTENTION = 0x0e8;
/** Base address of the TLB bank in use, u32. */
export const TLB_BASE = 0x0ec;
/** A fault that a slow path raised: vector | FAULT_SET, or 0. u32. The error code and address follow. */
export const FAULT = 0x0f0;
/** Set in FAULT with the vector, because 0 is a vector, too. */
export const FAULT_SET = 0x100;
export const FAULT_CODE = 0x0f4;
export const CR2 = 0x0f8;

/** XMM0-XMM15, 16 bytes each. */
export const XMM = 0x100;

/** x87 (SDM 1, 8.1). Physical registers R0-R7, 16 bytes each: u64 significand, u16 sign and exponent, padding. */
export const FPU_REGISTERS = 0x200;
/** Control word u16. */
export const FPU_CONTROL = 0x280;
/** Status word u16, with TOP (bits 11-13) always current. */
export const FPU_STATUS = 0x282;
/** u8: bit n set = physical register n is not empty (FXSAVE's abridged tag word). */
export const FPU_TAGS = 0x284;
export const FPU_OPCODE = 0x286;
/** Last instruction and data pointer, u64 each, and their selectors, u16 each. */
export const FPU_IP = 0x288;
export const FPU_DP = 0x290;
export const FPU_CS = 0x298;
export const FPU_DS = 0x29a;
/** u32. */
export const MXCSR = 0x29c;

/** Control and system registers, 8 bytes each unless said. */
export const CR0 = 0x2a0;
export const CR3 = 0x2a8;
export const CR4 = 0x2b0;
export const CR8 = 0x2b8;
export const EFER = 0x2c0;
export const XCR0 = 0x2c8;
export const DR = 0x2d0; // DR0-DR3, then DR6, DR7: six of them
export const KERNEL_GS_BASE = 0x300;
export const STAR = 0x308;
export const LSTAR = 0x310;
export const CSTAR = 0x318;
export const FMASK = 0x320;
export const SYSENTER_CS = 0x328;
export const SYSENTER_ESP = 0x330;
export const SYSENTER_EIP = 0x338;
export const TSC_AUX = 0x340;
export const PAT = 0x348;
export const GDT_BASE = 0x350;
export const IDT_BASE = 0x358;
export const GDT_LIMIT = 0x360; // u32
export const IDT_LIMIT = 0x364; // u32
/** Current privilege level, u32. */
export const CPL = 0x368;
/** Code size of the current CS: 16, 32 or 64, u32. */
export const MODE = 0x36c;
/** Stack-pointer mask: 0xffff, 0xffffffff or all ones, u64. */
export const STACK_MASK = 0x370;
/** Segment selectors, u16 each at a stride of 4: ES CS SS DS FS GS LDTR TR. */
export const SELECTOR = 0x380;
/** Segment limits in bytes, u32 each, same order: ES CS SS DS FS GS LDTR TR. */
export const SEGMENT_LIMIT = 0x3a0;
/**
 * Attributes, u32 each, same order, as a descriptor's second word has them (type bits 8-11, S 12, DPL 13-14, P 15, L 21,
 * D/B 22, G 23); 0 in a null segment.
 */
export const SEGMENT_ATTRIBUTES = 0x3c0;
/** Lowest and highest offset that may be written or read through a segment: u32 each; an expand-down one has low > 0. */
export const LDT_BASE = 0x3e0;
export const TR_BASE = 0x3e8;
/** Arguments and result of a helper call, 8 bytes each. */
export const ARGUMENT = 0x3f0; // six of them
export const RESULT = 0x420; // two of them
/** A 16-byte scratch for vector helpers: three operands and the result. */
export const VECTOR = 0x430; // four of them
/** Between the two halves of an x87 store (x87/transfer.ts): the status word to come, and whether memory is written. u32. */
export const FPU_PENDING = 0x480;
export const FPU_WRITES = 0x484;
/** Not 0: the last careful float operation (careful.ts) met or made a denormal number. u32. */
export const FLOAT_DENORMAL = 0x488;
/** Where helpers put, or find, an image that goes to or comes from memory (FNSTENV, FNSAVE, FXSAVE …): 512 bytes. */
export const FPU_IMAGE = 0x500;
/** A 16-byte scratch for 128-bit accesses on the slow path. */
export const SLOW_VECTOR = 0x470;
// 0x480-0x6ff: see x87 (environment images).
/** TLB bank bases by access class, u32 each: user; kernel; kernel with RFLAGS.AC set (equal to the second without SMAP). */
export const CLASS_BASE = 0x700;
/** Base address of the block table of the current code size, u32. */
export const BLOCK_BASE = 0x70c;
/** Not 0: an instruction of that unit raises #NM (7) or #UD (6) first; u32 each: x87, MMX, SSE. */
export const UNIT_TRAP = 0x710;
/** Not 0: data breakpoints are armed, so no access may take the fast path. u32. */
export const WATCHING = 0x71c;
/** Guest-physical address of the last slow translation, u64. */
export const PHYSICAL = 0x720;
/** RIP after the last STI: interrupts wait until the instruction there has been executed. u64. */
export const STI_SHADOW = 0x748;
/** The engine is told (EXIT_HOT) when none of these bits is set in the number of times that a block has been entered. u32. */
export const HEAT_MASK = 0x750;
/** Not 0: the budget's last instructions are to be executed, by the interpreter; 0: stop a little early. u32. */
export const EXACT = 0x770;
/** Bit n: segment n (ES to GS) is flat (cpu.ts, noteSegment), so that translated 32-bit code may use it unchecked. u32. */
export const FLAT = 0x788;
/** Which events translated code may deal with itself, since nobody wants to see them first: NATIVE_ bits, u32. */
export const NATIVE = 0x754;
export const NATIVE_EXCEPTIONS = 1;
export const NATIVE_SYSCALLS = 2;
/** Not 0: NMI is held off until IRET. u32. */
export const NMI_BLOCKED = 0x758;
/** Events delivered so far, interrupts included, u32. */
export const DELIVERIES = 0x75c;
/** f64: instructions executed once FUEL has come down to 0. Less FUEL: those executed so far. */
export const GOAL = 0x760;
/** Exceptions delivered so far, u32, and the last of them in a ring: exceptions.ts. */
export const EXCEPTIONS = 0x768;
/** Address of the notes of the set of TLB banks in use (layout.ts), u32. */
export const NOTES = 0x76c;
/** Between two regions of translated code only: what the flags follow from, with FLAG_RESULT (lazy-flags.ts), u32 and u64. */
export const FLAG_KIND = 0x774;
export const FLAG_X = 0x778;
export const RECENT = 0x800;
export const STATE_SIZE = 0x1000;

/** Absolute address of CRC32's tables (crc32.ts), 8 KiB. */
export const CRC_TABLES = 0xe000;

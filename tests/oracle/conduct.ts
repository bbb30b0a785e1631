/** Which rows can run in user mode on a real processor, how often, and what the harness must know to run them. */
import type { Row } from '../../src/engine/x86/instructions/row.ts';
import { type Mode, SS } from './layout.ts';
import type { NativeCase } from './native.ts';

/**
 * Never run: they enter the kernel, or answer what only this machine answers (UMIP makes the kernel invent the answers of
 * SGDT and its like). Rows of these must say why themselves, in `untested`.
 */
const NEVER = new Set([
  'syscall',
  'sysenter',
  'sysexit',
  'sysret',
  'int',
  'int1',
  'vmcall',
  'vmmcall',
  'sgdt',
  'sidt',
  'smsw',
  'sldt',
  'str',
  'rdtsc',
  'rdtscp',
  'rdpmc',
  'cpuid',
  'rdrand',
  'rdseed',
  'rdpid',
  'xgetbv',
  'monitor',
  'mwait',
  'xsave',
  'xsaveopt',
  'xsavec',
]);
/** Besides the privileged ones: these do nothing but fault in user mode. A few cases say it all. */
const REFUSED = /^((rep )?(in|out|ins|outs)|cli|sti|clac|stac)$/;
const REFUSED_CASES = 8;

const CASES: Record<Mode, number> = { 64: 64, 32: 50, 16: 50 };
/** For rows that work the same in all modes. */
const CASES_ALIKE: Record<Mode, number> = { 64: 64, 32: 12, 16: 6 };
/** For those that are made from such rows. */
const CASES_DERIVED: Record<Mode, number> = { 64: 24, 32: 5, 16: 2 };

/** How many vectors a row should have in a mode. */
export function wantedCases(row: Row, mode: Mode): number {
  if (row.mode === (mode === 64 ? 'i64' : 'o64')) return 0;
  if (NEVER.has(row.name)) return 0;
  if (row.privileged || REFUSED.test(row.name)) return REFUSED_CASES;
  if (row.unit === 'avx') return CASES_DERIVED[mode];
  return (row.unit ? CASES_ALIKE : CASES)[mode];
}

/** How the harness must run this instance of a row. */
export function conduct(row: Row, code: Uint8Array): Pick<NativeCase, 'noStep' | 'repeat' | 'shadow'> {
  return {
    noStep: row.name === 'pushf',
    // Under TF a gather that faults at a later element traps before that, and then goes on.
    repeat: /^rep/.test(row.name) || row.vectorIndex === true,
    shadow: row.opcode === 0x17 || (row.operands.startsWith('Sw,') && loadsStackSegment(code)),
  };
}
/** MOV to SS: whatever its prefixes and addressing, the byte after 8E names SS. */
function loadsStackSegment(code: Uint8Array): boolean {
  const modrm = code[code.indexOf(0x8e) + 1]!;
  return ((modrm >> 3) & 7) === SS;
}

/** Rows whose results two processors need not agree on to the bit (masks.ts), or whose effects outlast the image. */
const NOT_IN_SEQUENCES =
  /^(v?r(cp|sqrt)[ps]s|v?dpp[sd]|f2xm1|fyl2x|fyl2xp1|fptan|fpatan|fsin|fcos|fsincos|lar|popf|pushf|xrstor|fxsave|fnsave|fnstenv|fldenv|frstor|arpl)$/;

/** Rows for sequences: what falls through to the next instruction and is defined to the last bit. */
export function isFuzzable(row: Row, mode: Mode): boolean {
  if (row.mode === (mode === 64 ? 'i64' : 'o64')) return false;
  // Bit strings with 16-bit addressing: a known deviation.
  if (mode !== 64 && /^bt[scr]?$/.test(row.name)) return false;
  if (row.ends || row.privileged) return false;
  return !NEVER.has(row.name) && !REFUSED.test(row.name) && !NOT_IN_SEQUENCES.test(row.name);
}

/**
 * Plain stores into write-protected L1 tables. Linux changes single entries so (xchg, lock btr, mov): the store faults,
 * and Xen does it if the entry that it makes passes the same checks as any other. Tables of higher levels get no such
 * help.
 */

import type { RegisterName } from '../../paravirt/processor.ts';
import { PAGE_SHIFT, PAGE_SIZE, PTE_A, PTE_D, PTE_P, PTE_RW } from '../../x86/paging.ts';
import { PAGE_FAULT_ID, PAGE_FAULT_P, PAGE_FAULT_RSVD, PAGE_FAULT_WR } from '../../x86/vectors.ts';
import { instructionBytes } from './emulate.ts';
import { PGT_l1_page_table } from './page-info.ts';
import { pageNumberOf } from './page-table-entry.ts';
import type { PvDomain } from './pv-domain.ts';
import type { PvVcpu } from './pv-vcpu.ts';
import { GENERAL_REGISTERS } from './registers.ts';

/** A write to a page that is present is the only fault of interest. */
const WRITE_TO_PRESENT = PAGE_FAULT_P | PAGE_FAULT_WR;
const RELEVANT = WRITE_TO_PRESENT | PAGE_FAULT_RSVD | PAGE_FAULT_ID;

/** What an instruction may have changed besides memory: any one, and one of those that `extentOf` knows. */
const REGISTERS: readonly RegisterName[] = [...GENERAL_REGISTERS, 'rip', 'flags'];

/** The table, or the part that counts, as it was before the instruction. */
const before = new Uint32Array(PAGE_SIZE / 4);
/** What the walker itself changes in an entry. */
const HARDWARE = PTE_A | PTE_D;

/**
 * A #PF with error code `code` at `linear`. @returns true if it was a store into an L1 table that has now been done.
 */
export function completeTableWrite(pv: PvDomain, v: PvVcpu, linear: bigint, code: number): boolean {
  if (!v.kernelMode || (code & RELEVANT) !== WRITE_TO_PRESENT) return false;
  const table = writtenTable(pv, v, linear);
  return table !== undefined && storeInto(pv, v, table, Number(linear & BigInt(PAGE_SIZE - 1)));
}

/** The L1 table that `linear` shows read-only; undefined if it shows something else. */
function writtenTable(pv: PvDomain, v: PvVcpu, linear: bigint): number | undefined {
  const pageNumber = pageNumberOf(linear);
  const place = pageNumber === undefined ? undefined : pv.updates.walk(v.kernelRoot, pageNumber);
  if (!place) return undefined;
  const low = pv.info.words[place.table * 1024 + 2 * place.index];
  if ((low & (PTE_P | PTE_RW)) !== PTE_P) return undefined;
  const frame = low >>> PAGE_SHIFT;
  return pv.info.typeCount[frame] !== 0 && pv.info.type[frame] === PGT_l1_page_table ? frame : undefined;
}

/** What an instruction may change: words [from, to) of the table, and registers. */
interface Extent {
  from: number;
  to: number;
  registers: readonly RegisterName[];
}

/**
 * Opcodes of one and of two bytes whose only store is of 8 bytes at most, to their ModRM operand, and whose only other effects
 * are on RAX, the register by ModRM.reg and RFLAGS: what kernels change single entries with.
 */
const SMALL_STORES = new Set([0x01, 0x09, 0x21, 0x29, 0x31, 0x80, 0x81, 0x83, 0x86, 0x87, 0x88, 0x89, 0xc6, 0xc7]);
const SMALL_STORES_0F = new Set([0xab, 0xb0, 0xb1, 0xb3, 0xba, 0xbb, 0xc0, 0xc1]);
const LOCK = 0xf0;
const OPERAND_SIZE = 0x66;

/** Of an instruction (its bytes) that has faulted for its store at `offset` in the table. */
function extentOf(bytes: Uint8Array, wide: boolean, offset: number): Extent {
  let at = 0;
  while (bytes[at] === LOCK || bytes[at] === OPERAND_SIZE) at++;
  let rex = 0;
  if (wide && (bytes[at] & 0xf0) === 0x40) rex = bytes[at++];
  const small = bytes[at] === 0x0f ? SMALL_STORES_0F.has(bytes[++at]) : SMALL_STORES.has(bytes[at]);
  if (!small || at + 1 >= bytes.length) return { from: 0, to: before.length, registers: REGISTERS };
  const register = ((bytes[at + 1] >> 3) & 7) | ((rex & 4) << 1);
  // Whole entries: a store that is not aligned touches two.
  const from = (offset >>> 3) * 2;
  // A byte register may be AH to BH.
  const names = [
    GENERAL_REGISTERS[0],
    GENERAL_REGISTERS[register],
    GENERAL_REGISTERS[register & 3],
    'rip',
    'flags',
  ] as const;
  return { from, to: Math.min(from + 4, before.length), registers: names };
}

/**
 * Lets the instruction at RIP write `table`, then takes back what it wrote and does it again as a checked update. An
 * instruction that changes more than one entry, or one to something that is not allowed, has not happened.
 */
function storeInto(pv: PvDomain, v: PvVcpu, table: number, offset: number): boolean {
  if (v.stepping) return false;
  const { cpu } = v;
  const { words } = pv.info;
  const start = table * 1024;
  const { from, to, registers: names } = extentOf(instructionBytes(pv, v), cpu.mode === 64, offset);
  before.set(words.subarray(start + from, start + to), from);
  const registers = names.map(name => cpu.get(name));
  const restore = () => words.set(before.subarray(from, to), start + from);
  const undo = () => {
    restore();
    for (const [i, name] of names.entries()) cpu.set(name, registers[i]);
    return false;
  };
  v.stepping = true;
  try {
    if (!cpu.stepWithWritable(table * PAGE_SIZE)) {
      // It faulted elsewhere, and the guest has been told. What it had stored by then (REP) it will store again.
      restore();
      return true;
    }
  } finally {
    v.stepping = false;
  }

  let changed = -1;
  for (let i = from; i < to; i++) {
    if (words[start + i] === before[i]) continue;
    const index = i >> 1;
    if ((i & 1) === 0 && ((words[start + i] ^ before[i]) & ~HARDWARE) === 0 && words[start + i + 1] === before[i + 1]) {
      // Accessed and dirty bits give and take nothing, whoever changed them; but the TLB has to learn of it.
      pv.updates.dropTranslations(table, index);
      continue;
    }
    if (changed >= 0 && changed !== index) return undo();
    changed = index;
  }
  if (changed < 0) return true;
  const low = words[start + 2 * changed];
  const high = words[start + 2 * changed + 1];
  words[start + 2 * changed] = before[2 * changed];
  words[start + 2 * changed + 1] = before[2 * changed + 1];
  if (pv.updates.modL1(table, changed, low, high, false) === 0) return true;
  // A 32-bit kernel stores entries in two halves. If the upper one alone makes no entry, it is taken to be the first of the
  // two: nothing is present until the lower one comes, as in Xen.
  const upperHalf = pv.abi.long === 4 && low === before[2 * changed] && (low & PTE_P) !== 0;
  if (upperHalf && pv.updates.modL1(table, changed, low & ~PTE_P, high, false) === 0) return true;
  return undo();
}

/**
 * Plain stores into write-protected L1 tables. Linux changes single entries so (xchg, lock btr, mov): the store faults,
 * and Xen does it if the entry that it makes passes the same checks as any other. Tables of higher levels get no such
 * help.
 */

import type { RegisterName } from '../../paravirt/processor.ts';
import { PAGE_SHIFT, PAGE_SIZE, PTE_A, PTE_D, PTE_P, PTE_RW } from '../../x86/paging.ts';
import { PAGE_FAULT_ID, PAGE_FAULT_P, PAGE_FAULT_RSVD, PAGE_FAULT_WR } from '../../x86/vectors.ts';
import { PGT_l1_page_table } from './page-info.ts';
import { pageNumberOf } from './page-table-entry.ts';
import type { PvDomain } from './pv-domain.ts';
import type { PvVcpu } from './pv-vcpu.ts';
import { GENERAL_REGISTERS } from './registers.ts';

/** A write to a page that is present is the only fault of interest. */
const WRITE_TO_PRESENT = PAGE_FAULT_P | PAGE_FAULT_WR;
const RELEVANT = WRITE_TO_PRESENT | PAGE_FAULT_RSVD | PAGE_FAULT_ID;

/** What an instruction may have changed besides memory. */
const REGISTERS: readonly RegisterName[] = [...GENERAL_REGISTERS, 'rip', 'flags'];

/** The table as it was before the instruction. */
const before = new Uint32Array(PAGE_SIZE / 4);
/** What the walker itself changes in an entry. */
const HARDWARE = PTE_A | PTE_D;

/**
 * A #PF with error code `code` at `linear`. @returns true if it was a store into an L1 table that has now been done.
 */
export function completeTableWrite(pv: PvDomain, v: PvVcpu, linear: bigint, code: number): boolean {
  if (!v.kernelMode || (code & RELEVANT) !== WRITE_TO_PRESENT) return false;
  const table = writtenTable(pv, v, linear);
  return table !== undefined && storeInto(pv, v, table);
}

/** The L1 table that `linear` shows read-only; undefined if it shows something else. */
function writtenTable(pv: PvDomain, v: PvVcpu, linear: bigint): number | undefined {
  const pageNumber = pageNumberOf(linear);
  const place = pageNumber === undefined ? undefined : pv.updates.walk(v.state.kernelRoot, pageNumber);
  if (!place) return undefined;
  const low = pv.info.words[place.table * 1024 + 2 * place.index];
  if ((low & (PTE_P | PTE_RW)) !== PTE_P) return undefined;
  const frame = low >>> PAGE_SHIFT;
  return pv.info.typeCount[frame] !== 0 && pv.info.type[frame] === PGT_l1_page_table ? frame : undefined;
}

/**
 * Lets the instruction at RIP write `table`, then takes back what it wrote and does it again as a checked update. An
 * instruction that changes more than one entry, or one to something that is not allowed, has not happened.
 */
function storeInto(pv: PvDomain, v: PvVcpu, table: number): boolean {
  if (v.stepping) return false;
  const { cpu } = v;
  const { words } = pv.info;
  const start = table * 1024;
  before.set(words.subarray(start, start + 1024));
  const registers = REGISTERS.map(name => cpu.get(name));
  const undo = () => {
    words.set(before, start);
    for (const [i, name] of REGISTERS.entries()) cpu.set(name, registers[i]);
    return false;
  };
  v.stepping = true;
  try {
    if (!cpu.stepWithWritable(table * PAGE_SIZE)) {
      // It faulted elsewhere, and the guest has been told. What it had stored by then (REP) it will store again.
      words.set(before, start);
      return true;
    }
  } finally {
    v.stepping = false;
  }

  let changed = -1;
  for (let i = 0; i < 1024; i++) {
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

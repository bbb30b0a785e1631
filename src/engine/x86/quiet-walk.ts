/** Address translation for those who look on: no rights, no accessed flags, no faults, no TLB. The formats are page-walk.ts's. */
import { CR0_PG, CR4_PAE, CR4_PSE, EFER_LMA } from '../../x86/control.ts';
import { PAGE_SHIFT, PTE_P, PTE_PS } from '../../x86/paging.ts';
import { type Cpu, isCanonical } from './cpu.ts';
import { type Format, LONG, PAE, TWO_LEVELS } from './page-walk.ts';
import { state } from './state.ts';

/** Where the page tables of the processor lead from `linear`: a guest-physical address; -1 where nothing is mapped. */
export function lookUp(cpu: Cpu, linear: bigint): number {
  const long = (cpu.get32(state.EFER) & EFER_LMA) !== 0;
  if (!long) linear = BigInt.asUintN(32, linear);
  if (!(cpu.get32(state.CR0) & CR0_PG)) return Number(linear);
  if (long && !isCanonical(linear)) return -1;
  return walk(cpu, linear, long ? LONG : cpu.get32(state.CR4) & CR4_PAE ? PAE : TWO_LEVELS);
}

function walk(cpu: Cpu, linear: bigint, format: Format): number {
  const { memory } = cpu;
  const { entryBits, indexBits, top } = format;
  let table = cpu.get64(state.CR3) & format.root;
  for (let level = top; level >= 0; level--) {
    const shift = BigInt(PAGE_SHIFT + indexBits * level);
    const index = (linear >> shift) & ((1n << BigInt(indexBits)) - 1n);
    const at = Number(table + (index << BigInt(entryBits)));
    if (!memory.has(at, 1 << entryBits)) return -1;
    const low = BigInt(memory.read32(at) >>> 0);
    const entry = entryBits === 3 ? low | (BigInt(memory.read32(at + 4) >>> 0) << 32n) : low;
    if (!(entry & BigInt(PTE_P))) return -1;
    const isLarge =
      format.large[level] !== undefined &&
      (entry & BigInt(PTE_PS)) !== 0n &&
      (format !== TWO_LEVELS || (cpu.get32(state.CR4) & CR4_PSE) !== 0);
    if (level === 0 || isLarge) {
      const size = 1n << shift;
      const high = format === TWO_LEVELS && isLarge ? ((entry >> 13n) & 0xffn) << 32n : 0n; // PSE-36
      return Number((entry & format.address & -size) | (linear & (size - 1n)) | high);
    }
    table = entry & format.address;
  }
  return -1;
}

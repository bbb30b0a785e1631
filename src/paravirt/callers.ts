/**
 * Who called the function that the guest is in, read off its stack: kernels ask their hypervisor through small
 * functions.
 */
import { PAGE_OFFSET, PAGE_SIZE } from '../x86/paging.ts';
import type { Processor } from './processor.ts';

/** Return addresses that are looked for, and how many words of the stack for them. */
const MOST_CALLERS = 4;
const WORDS = 32;
/** The longest CALL without prefixes, in bytes (SDM 2A, CALL): FF /2 with a SIB byte and 32 bits of displacement. */
const LONGEST_CALL = 7;

/**
 * Return addresses on a kernel's stack, the innermost first. A word counts as one if it lies in the kernel's half and a
 * CALL stands before the place it names: what an earlier call has left there passes, too, so farther ones are the less
 * certain.
 */
export function callersOf(cpu: Processor): bigint[] {
  const wide = cpu.mode === 64;
  const inKernel = wide ? (address: bigint) => address >> 63n === 1n : (address: bigint) => address >= 0xc0000000n;
  if (cpu.mode === 16 || !inKernel(cpu.get('rip'))) return [];
  const size = wide ? 8 : 4;
  const access = { user: cpu.cpl === 3 };
  const stack = cpu.get('rsp');
  if (!inKernel(stack)) return [];
  // Not beyond the page: the next one may not be mapped.
  const words = Math.min(WORDS, Math.floor((PAGE_SIZE - Number(stack & BigInt(PAGE_OFFSET))) / size));
  const bytes = cpu.read(stack, words * size, access);
  if (!bytes) return [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found: bigint[] = [];
  for (let index = 0; index < words && found.length < MOST_CALLERS; index++) {
    const word = wide ? view.getBigUint64(index * 8, true) : BigInt(view.getUint32(index * 4, true));
    if (!inKernel(word)) continue;
    const before = cpu.read(word - BigInt(LONGEST_CALL), LONGEST_CALL, access);
    if (before && endsInCall(before)) found.push(word);
  }
  return found;
}

/** E8 rel32, or FF /2 of any length without prefixes. */
function endsInCall(code: Uint8Array): boolean {
  const at = (fromEnd: number) => code[code.length - fromEnd]!;
  if (at(5) === 0xe8) return true;
  return [2, 3, 4, 6, 7].some(length => at(length) === 0xff && lengthOfCall(at(length - 1), at(length - 2)) === length);
}

/** Bytes of FF /2 with this ModR/M byte and the byte after it; 0 if it is no /2 (SDM 2A, table 2-2). */
function lengthOfCall(modrm: number, sib: number): number {
  const [mod, operation, rm] = [modrm >> 6, (modrm >> 3) & 7, modrm & 7];
  if (operation !== 2) return 0;
  if (mod === 3) return 2;
  const withSib = rm === 4 ? 1 : 0;
  const displacement = mod === 1 ? 1 : mod === 2 ? 4 : rm === 5 || (withSib && (sib & 7) === 5) ? 4 : 0;
  return 2 + withSib + displacement;
}

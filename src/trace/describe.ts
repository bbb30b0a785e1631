/** A crossing in words, for people; and in a word that two runs can be compared by. */
import type { TraceRecord } from './format.ts';
import { withoutVariant } from './wrappers.ts';

/** Arguments that say what is asked for, and not where or how much: the same in two boots of one kernel. */
const IDENTIFYING: ReadonlySet<string> = new Set(['leaf', 'index', 'number', 'vector', 'cmd', 'op', 'type']);
/** Beyond this a number is an address, a frame or a time. */
const LARGEST_IDENTITY = 0x1_0000_0000n;

/** The function that asked, or who did where there is no name for it. */
export function functionOf({ place, by }: TraceRecord): string {
  const symbol = place.caller ?? place.symbol;
  if (symbol) return withoutVariant(symbol.replace(/\+0x[0-9a-f]+$/, ''));
  return by === 'kernel' ? 'the kernel' : by === 'entry' ? 'the entry' : 'a program';
}

/** What was asked: `cpu.cpuid leaf=40000000`, `HYPERVISOR_mmu_update`, `cpu.msr write MSR_KVM_STEAL_TIME`. */
export function questionOf(record: TraceRecord): string {
  const { kind, values } = record;
  const words = [kind.operation];
  if (kind.name) words.push(kind.name);
  for (const [index, name] of kind.arguments.entries()) {
    const value = values[index];
    if (value === undefined || !IDENTIFYING.has(name) || value >= LARGEST_IDENTITY) continue;
    // A named register or hypercall needs no number beside its name.
    if (kind.name && (name === 'index' || name === 'number')) continue;
    words.push(`${name}=${value.toString(16)}`);
  }
  return words.join(' ');
}

/** `12,345,678  start_kernel+0x12  cpu.cpuid leaf=1 subleaf=0`. */
export function describeRecord(record: TraceRecord): string {
  const { kind, place, values, instructions, result } = record;
  const args = kind.arguments.map((name, index) => `${name}=${values[index]?.toString(16) ?? '?'}`);
  const where = (place.symbol ?? place.address.toString(16)) + (place.caller ? ` < ${place.caller}` : '');
  const answer = result === undefined ? '' : ` = ${result.toString(16)}`;
  const what = [kind.operation, kind.name, ...args].filter(Boolean).join(' ');
  return `${instructions.toLocaleString('en').padStart(15)}  ${where.padEnd(40)}  ${what}${answer}`;
}

/** What ops of a file's hypervisor answer before its guest starts: the machine relies on its shape. */
import type { EntryState } from '../boot/entry.ts';
import { REGISTERS, SEGMENTS } from '../paravirt/processor.ts';

/** @param answer the word of the op's line (paravirt/operation.ts). @throws Error for a value that is no such answer */
export function checkBeforeStart(answer: string, value: unknown): unknown {
  if (answer === 'entry') return checkedEntry(value);
  if (answer === 'refusal' && value !== undefined && typeof value !== 'string')
    throw new Error('answered what is no text and not undefined');
  return value;
}

function checkedEntry(value: unknown): EntryState {
  const { registers, segments } = membersOf(value, 'an entry state');
  for (const [name, number] of Object.entries(membersOf(registers, 'registers'))) {
    if (!(REGISTERS as readonly string[]).includes(name))
      throw new Error(`answered a register ${name}, which there is not`);
    if (number !== undefined && !isUnsigned(number))
      throw new Error(`answered ${name} that is no unsigned 64-bit number (a bigint)`);
  }
  for (const [name, segment] of Object.entries(membersOf(segments, 'segments'))) {
    if (!(SEGMENTS as readonly string[]).includes(name))
      throw new Error(`answered a segment ${name}, which there is not`);
    const { selector, base, limit, attributes } = membersOf(segment, name);
    if (
      ![selector, limit, attributes].every(part => typeof part === 'number' && part >>> 0 === part) ||
      !isUnsigned(base)
    )
      throw new Error(
        `answered ${name} that is no segment: selector, limit and attributes are numbers, base is a bigint`,
      );
  }
  return value as EntryState;
}

const isUnsigned = (value: unknown): boolean => typeof value === 'bigint' && value === BigInt.asUintN(64, value);

function membersOf(value: unknown, what: string): Record<string, unknown> {
  if (typeof value !== 'object' || value === null) throw new Error(`answered no object where ${what} is wanted`);
  return value as Record<string, unknown>;
}

/**
 * Where the engine knowingly does not as the processor the vectors were made on. Each has its reason; a mismatch that none
 * of these covers fails the test, and so does a deviation that no longer occurs.
 */
import type { Row } from '../../src/engine/x86/instructions/row.ts';
import type { Difference } from './image-text.ts';
import { type Case, RETIRED } from './vectors.ts';

export interface Deviation {
  reason: string;
  covers(row: Row, test: Case, differences: readonly Difference[]): boolean;
}

const UD = 6;
const SS_FAULT = 12;
const GP = 13;
const PAGE_FAULT = 14;
const hex = (vector: number): string => vector.toString(16);

/** The exception the engine raised instead of the expected one; undefined if it raised that one. */
function instead(differences: readonly Difference[]): string | undefined {
  return differences.find(({ field }) => field === 'exception')?.actual;
}
const only = (differences: readonly Difference[], ...fields: string[]): boolean =>
  differences.every(({ field }) => fields.includes(field));
/** The stack, as an instruction's own operand. */
const USES_STACK = /^(push|pop|call|ret|retf|leave|enter|pushf|popf|iret)/;

export const deviations: readonly Deviation[] = [
  {
    reason: 'the limit of CS is not checked, neither by near branches nor by fetches (as in QEMU)',
    covers: (row, test, differences) =>
      /^(j[a-z]+|call|ret|loop[ne]*)$/.test(row.name) &&
      test.mode !== 64 &&
      test.vector === GP &&
      instead(differences) === hex(RETIRED),
  },
  {
    reason: 'of two faults that one instruction earns, the other one is raised',
    covers: (row, test, differences) =>
      (USES_STACK.test(row.name) || row.unit === 'sse') &&
      [GP, SS_FAULT, PAGE_FAULT].includes(test.vector) &&
      [GP, SS_FAULT, PAGE_FAULT].map(hex).includes(instead(differences) ?? '') &&
      only(differences, 'exception'),
  },
  {
    reason: 'POPA changes no register before it has read them all',
    covers: (row, test, differences) =>
      row.name === 'popa' &&
      test.vector === PAGE_FAULT &&
      differences.every(({ field }) => /^(r[a-ds][xip]|rbp|cr2)$/.test(field)),
  },
  {
    reason: 'IRETQ to nowhere with a bad selector: the selector is looked at first',
    covers: (row, test, differences) => row.name === 'iret' && test.vector === GP && only(differences, 'error code'),
  },
  {
    reason: 'MOV to or from a control or debug register that is not there: the privilege is checked first',
    covers: (row, test, differences) =>
      row.privileged === true &&
      test.vector === UD &&
      instead(differences) === hex(GP) &&
      only(differences, 'exception'),
  },
  {
    reason: 'ARPL asks for write access even where nothing changes',
    covers: (row, test, differences) =>
      row.name === 'arpl' &&
      (only(differences, 'error code') || (test.vector === RETIRED && instead(differences) !== undefined)),
  },
  {
    reason: 'REP INS and OUTS do not check the port when the count is 0',
    covers: (row, test, differences) =>
      /^rep (ins|outs)$/.test(row.name) && test.vector === GP && instead(differences) === hex(RETIRED),
  },
  {
    reason: "with 16-bit addressing a bit string's displacement from its base does not wrap at 64 KiB",
    covers: (row, test) =>
      /^bt[scr]?$/.test(row.name) && test.target !== undefined && (test.mode === 16) !== test.code.includes(0x67),
  },
  {
    reason: 'RETF n on a 16-bit stack: SP wraps; the processor at hand carries into the upper half of ESP',
    covers: (row, _test, differences) => row.name === 'retf' && only(differences, 'rsp'),
  },
  {
    reason:
      'a far transfer to compatibility mode with RSP above 4 GiB: the kernel under the harness clears its upper half',
    covers: (row, test, differences) =>
      test.mode === 64 && /^(jmpf|callf)$/.test(row.name) && differences.some(({ field }) => field === 'rsp'),
  },
];

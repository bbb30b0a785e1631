/**
 * Where the manuals let processors differ. The engine does what AMD's do; a host that does otherwise is found out by trying, and
 * sequences on it leave these instructions out. A difference that is not in this list is a finding.
 */
import type { Row } from '../../src/engine/x86/instructions/row.ts';
import type { Encoded } from '../oracle/encode.ts';
import { createImage, makeInitial } from '../oracle/initial.ts';
import {
  DATA,
  DATA_SIZE,
  DS,
  FCW,
  FSW,
  FTW,
  MEMORY,
  type Mode,
  PAGE_SIZE,
  SELECTORS,
  USER_DS,
} from '../oracle/layout.ts';
import { operandBits } from '../oracle/masks.ts';
import type { Native, NativeCase, NativeOutcome } from '../oracle/native.ts';
import { RETIRED } from '../oracle/vectors.ts';

interface Model {
  /** What processors of this kind do, for people. */
  what: string;
  concerns(row: Row, mode: Mode, encoded: Encoded, before: DataView): boolean;
  /** Cases that show it. */
  probe(): NativeCase[];
  shows(cases: readonly NativeCase[], outcomes: readonly NativeOutcome[]): boolean;
}

/** States in which a probe is tried. */
const STATES = 64;
/** The exceptions' masks in the x87's control word. */
const MASKS = 0x3f;

function stateOf(seed: number): { bytes: Uint8Array; view: DataView } {
  const image = createImage();
  makeInitial(image.bytes, image.view, 32, seed);
  return image;
}

const changedBytes = (before: Uint8Array, after: Uint8Array): number => {
  let count = 0;
  for (let at = MEMORY; at < MEMORY + DATA_SIZE; at++) if (before[at] !== after[at]) count++;
  return count;
};

const MODELS: readonly Model[] = [
  {
    // SDM 2B, PUSH: "If the source operand is a segment register (16 bits) and the operand size is 32-bits, either a
    // zero-extended value is pushed on the stack or the segment selector is written on the stack using a 16-bit move."
    what: 'PUSH of a segment register writes 16 bits',
    concerns: (row, mode, { code }) =>
      row.name === 'push' && /^S[vz]$/.test(row.operands) && operandBits(mode, code) !== 16,
    probe: () =>
      Array.from({ length: STATES }, (_, seed) => ({
        code: Uint8Array.of(0x0f, 0xa0), // push fs
        initial: stateOf(seed).bytes,
      })),
    shows(cases, outcomes) {
      const changes = outcomes.flatMap(({ vector, final }, i) =>
        vector === RETIRED ? [changedBytes(cases[i]!.initial, final)] : [],
      );
      return changes.length > STATES / 4 && Math.max(...changes) <= 2;
    },
  },
  {
    // The order of a memory fault and a numeric exception that stores nothing is the maker's.
    what: 'a store of the x87 that ends in an unmasked exception does not look at its memory',
    concerns: (row, _mode, _encoded, before) =>
      /^f(st|bst|ist)/.test(row.name) && (before.getUint16(FCW, true) & MASKS) !== MASKS,
    probe() {
      const { bytes, view } = stateOf(0);
      view.setUint16(SELECTORS + 2 * DS, USER_DS, true);
      view.setUint16(FCW, 0x340, true);
      view.setUint16(FSW, 0, true);
      bytes[FTW] = 0;
      const address = DATA + 2 * PAGE_SIZE;
      return [
        { code: Uint8Array.of(0xdb, 0x1d, ...[0, 8, 16, 24].map(by => (address >>> by) & 0xff)), initial: bytes },
      ]; // fistp
    },
    shows: (_cases, [outcome]) => outcome!.vector === RETIRED,
  },
];

export type DifferingModels = readonly Pick<Model, 'what' | 'concerns'>[];

/** In what this host's processor differs. */
export function differingModels(native: Native): DifferingModels {
  return MODELS.filter(({ probe, shows }) => {
    const cases = probe();
    return shows(cases, native.run(cases));
  });
}

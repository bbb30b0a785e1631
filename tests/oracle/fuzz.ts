/**
 * Random sequences of instructions, engine against the processor underneath: `npm run fuzz -- [SEED] [SECONDS]
 * [WORD] [--jit]`, with the rows whose file or key contains the word, and with the second tier instead for 64- and 32-bit ones. The
 * processor runs a sequence instruction by instruction, each starting where the one before left off; the engine runs it in
 * one go, so that what one instruction leaves for the next (lazy flags, the x87 stack, translated blocks) is tried too.
 * Prints the first difference with its disassembly and ends with status 1.
 */

import { offered } from '../../src/engine/x86/cpuid.ts';
import type { Row } from '../../src/engine/x86/instructions/row.ts';
import { rows } from '../../src/engine/x86/instructions/table.ts';
import { isFuzzable } from './conduct.ts';
import { disassembleAll } from './disassemble.ts';
import { encode } from './encode.ts';
import { OracleGuest } from './guest.ts';
import { differences } from './image-text.ts';
import { createImage, makeInitial } from './initial.ts';
import { FLAGS, MODES, type Mode, RIP, SELECTORS } from './layout.ts';
import { isUndefined } from './masks.ts';
import { memoryChanges, type NativeCase, openNative } from './native.ts';
import { Random } from './random.ts';
import { fileOf, RETIRED, rowKey } from './vectors.ts';

const SEQUENCES = 512;
const LENGTH = 12;
const CODE_ROOM = 15 * LENGTH;
const ATTEMPTS = 200;
/** Bytes of changed memory that the harness surely has room for. */
const MEMORY_ROOM = 600;

interface Sequence {
  mode: Mode;
  random: Random;
  start: Uint8Array;
  /** The state after what has been run so far. */
  now: Uint8Array;
  codes: Uint8Array[];
  /** The row of the instruction that runs next. */
  drawn: Row | undefined;
  /** The last instruction left flags undefined. */
  flagsUndefined: boolean;
  /** Nothing more may follow. */
  over: boolean;
}

/** These leave no flag undefined. */
const DEFINES_FLAGS = /^(add|sub|cmp|neg)$/;

const arguments_ = process.argv.slice(2).filter(argument => argument !== '--jit');
const [seedText = '1', secondsText = '10', word = ''] = arguments_;
const jit = process.argv.includes('--jit');
const isWanted = (row: Row) => fileOf(row).includes(word) || rowKey(row).includes(word) || DEFINES_FLAGS.test(row.name);

const byMode = new Map<Mode, Row[]>(
  MODES.map(mode => [
    mode,
    rows.filter(row => isWanted(row) && isFuzzable(row, mode) && (!row.feature || offered.has(row.feature))),
  ]),
);

function begin(mode: Mode, seed: number): Sequence | undefined {
  const { bytes, view } = createImage();
  makeInitial(bytes, view, mode, seed);
  // Room for the whole sequence in the page.
  if ((view.getUint32(RIP, true) & 0xfff) + CODE_ROOM > 0xfff) return undefined;
  return {
    mode,
    random: new Random(seed ^ 0x2545f491),
    start: bytes,
    now: bytes.slice(),
    codes: [],
    drawn: undefined,
    flagsUndefined: false,
    over: false,
  };
}

/**
 * The next instruction of a sequence; undefined when the dice found none. What leaves flags undefined is followed by one
 * that defines them all.
 */
function draw(sequence: Sequence): NativeCase | undefined {
  const { mode, random, now } = sequence;
  const view = new DataView(now.buffer);
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const row = random.pick(byMode.get(mode)!);
    if (sequence.flagsUndefined && !DEFINES_FLAGS.test(row.name)) continue;
    const encoded = encode({ row, mode, initial: view, random });
    if (!encoded || isUndefined(row, mode, encoded.code, now)) continue;
    sequence.drawn = row;
    return { code: encoded.code, initial: now, repeat: /^rep/.test(row.name) };
  }
  return undefined;
}

function report(sequence: Sequence, seed: number, text: string[]): never {
  console.log(`seed ${seed}, ${sequence.mode}-bit:`);
  for (const line of disassembleAll(sequence.codes, sequence.mode)) console.log(`  ${line}`);
  for (const line of text) console.log(`  ${line}`);
  process.exit(1);
}

const native = openNative();
const guest = new OracleGuest(jit);
const end = Date.now() + Number(secondsText) * 1000;
let seed = Number(seedText);
let instructions = 0;
let sequencesRun = 0;
while (Date.now() < end) {
  const batch: [Sequence, number][] = [];
  while (batch.length < SEQUENCES) {
    const sequence = begin(MODES[seed % (jit ? 2 : 3)]!, seed);
    if (sequence) batch.push([sequence, seed]);
    seed++;
  }
  // All sequences advance together, one instruction of each in a run of the harness.
  for (let step = 0; step < LENGTH; step++) {
    const cases: NativeCase[] = [];
    const owners: Sequence[] = [];
    for (const [sequence] of batch) {
      const next = sequence.over ? undefined : draw(sequence);
      if (!next) continue;
      cases.push(next);
      owners.push(sequence);
    }
    native.run(cases).forEach((outcome, i) => {
      const sequence = owners[i]!;
      // Faults are the vectors' business: a sequence ends before one.
      if (outcome.vector !== RETIRED || leavesTheLine(sequence, outcome.final, cases[i]!.code)) {
        sequence.over = true;
        return;
      }
      sequence.codes.push(cases[i]!.code);
      sequence.now = outcome.final;
      sequence.flagsUndefined = sequence.drawn!.undefined !== undefined;
      if (memoryChanges(sequence.now) > MEMORY_ROOM) sequence.over = true;
    });
  }
  for (const [sequence, number] of batch) {
    if (!sequence.codes.length) continue;
    sequencesRun++;
    instructions += sequence.codes.length;
    const code = Uint8Array.from(sequence.codes.flatMap(piece => [...piece]));
    const actual = sequence.start.slice();
    const image = new DataView(actual.buffer);
    const translated = jit && guest.runTranslated(actual, image, sequence.mode, code, undefined);
    const answer = translated || guest.runThrough(actual, image, sequence.mode, code);
    if (sequence.flagsUndefined) ignoreFlags(sequence.now, actual);
    const found = differences(sequence.start, sequence.now, actual);
    if (answer.vector !== RETIRED || answer.trouble)
      report(sequence, number, [
        `exception ${answer.vector} (${answer.errorCode.toString(16)}) ${answer.cr2.toString(16)} ${answer.trouble ?? ''}`,
      ]);
    if (found.length)
      report(
        sequence,
        number,
        found.map(d => `${d.field}: was ${d.before}, expected ${d.expected}, got ${d.actual}`),
      );
  }
}
native.close();
console.log(`${sequencesRun} sequences, ${instructions} instructions, no difference; next seed ${seed}`);

/** True if the instruction went anywhere but to the next one, or changed a segment. */
function leavesTheLine(sequence: Sequence, final: Uint8Array, code: Uint8Array): boolean {
  const before = new DataView(sequence.now.buffer);
  const after = new DataView(final.buffer);
  if (after.getUint32(RIP, true) !== before.getUint32(RIP, true) + code.length) return true;
  return [0, 2, 4, 6, 8, 10].some(
    at => before.getUint16(SELECTORS + at, true) !== after.getUint16(SELECTORS + at, true),
  );
}
function ignoreFlags(expected: Uint8Array, actual: Uint8Array): void {
  actual.set(expected.subarray(FLAGS, FLAGS + 4), FLAGS);
}
